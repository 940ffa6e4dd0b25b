"""The miniatures took the benchmarks of the rendered world for photographs, and warned of them.

A picture's source in ``meta.json`` tells by its beginning that the world rendered it. The scenes of
the splits had it, the pictures of the benchmarks (interactions, subjects, learned people) did not.
"""

from __future__ import annotations

import pytest
from parts import part

from socialcli.backends import ModelSpec
from socialcli.importers import world
from socialcli.miniature.zoo.cards import WEIGHTS
from socialcli.pipeline import domain
from socialcli.shards import Sample

importer = part("importers", "world")
# Compositions are layouts to be drawn: they have no picture.
SOURCES = [*world.SPLITS, *world.INTERACTIONS, *world.SUBJECTS, *world.IDENTITIES, "eleven"]


@pytest.mark.parametrize("source", SOURCES)
def test_what_the_world_renders_is_known(source):
    spec = ModelSpec("diffusion", "stable-diffusion", str(WEIGHTS / "diffusion"))
    known = domain.limited([spec])
    assert known
    config = importer.Config(source=source, scenes=1, size=48)
    (entry,) = importer.entries(config)
    sample = Sample(entry.key, importer.build(config, entry))
    assert domain.stranger(sample, known) == ""
    other = Sample(
        "x", {"meta.json": b'{"schema": 1, "width": 9, "height": 9, "source": "holiday"}'}
    )
    assert "was trained on rendered scenes" in domain.stranger(other, known)

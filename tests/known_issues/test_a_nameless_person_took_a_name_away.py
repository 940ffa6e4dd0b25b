"""Of two people whom one phrase names ("two women") `generate --match identity` saw the last one
only: where that one is nameless and the other is not, it said that the sample names nobody."""

from __future__ import annotations

import dataclasses

import pytest
import scenes

from socialcli.errors import SampleFailed
from socialcli.generation import references, sample_requests
from socialcli.registry import load
from socialcli.shards import Sample


def sample(*names: str | None) -> Sample:
    """The scene with the woman as several people of her entity, each of whom may have a name."""
    people = scenes.all_records()["people.json"]
    one = dataclasses.replace(people.people[0], gaze=None)
    several = [
        dataclasses.replace(one, id=n, box=1 if n % 2 else None, entity=1, identity=name)
        for n, name in enumerate(names, 1)
    ]
    changed = {
        "people.json": dataclasses.replace(people, people=several),
        "interactions.json": None,
    }
    return Sample("k", scenes.members(0, changed))


@pytest.mark.parametrize(
    ("names", "who"),
    [
        (("Ada",), "Ada"), (("Ada", None), "Ada"), ((None, "Ada"), "Ada"),
        ((None, "Ada", None), "Ada"), (("Ada", "Bea"), "Bea"),
    ],
)  # fmt: skip
def test_whoever_has_a_name_is_seen(names, who):
    (woman, *_) = references.subjects(sample(*names))
    assert (woman.noun, woman.identity) == ("woman", who)
    config = load("methods.generate", "ssr").config_type(match="identity", references=["r.tar"])
    (wanted,) = sample_requests.of_sample(config, sample(*names)).references
    assert (wanted.identity, wanted.query) == (who, "woman")


def test_nobody_is_still_nobody():
    config = load("methods.generate", "ssr").config_type(match="identity", references=["r.tar"])
    with pytest.raises(SampleFailed, match="names nobody"):
        sample_requests.of_sample(config, sample(None, None))

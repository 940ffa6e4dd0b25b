"""`generate` drew DreamBooth's prompts with a placeholder left in them: "a dog {1} in the jungle".
Its files write ``{0} {1}`` for a method's token and the class; both are the subject."""

from __future__ import annotations

import pytest

from socialcli.generation import sample_requests
from socialcli.importers.dreambooth import Config, DreamboothImporter
from socialcli.shards import Sample


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    importer, config = DreamboothImporter(), Config("tests/data/dreambooth")
    return [Sample(e.key, importer.build(config, e)) for e in importer.entries(config)]


def test_no_placeholder_stays(samples: list[Sample]) -> None:
    assert samples
    for sample in samples:
        text = sample_requests.caption(sample, 0)
        assert "{" not in text and text.count("dog") + text.count("stuffed animal") == 1

"""Concept101 had an importer and no way to its table: the prompts stayed in meta.json's extra, and
`generate` asked for captions that such pictures do not have."""

from __future__ import annotations

import pytest

from socialcli.errors import SampleFailed
from socialcli.generation import references, sample_requests
from socialcli.importers.concept101 import Concept101Importer, Config
from socialcli.shards import Sample


def test_a_subjects_prompts_are_its_captions() -> None:
    importer, config = Concept101Importer(), Config("tests/data/concept101")
    entries = list(importer.entries(config))
    assert entries
    for entry in entries:
        sample = Sample(entry.key, importer.build(config, entry))
        concept = entry.work.concept
        for number, prompt in enumerate(concept.prompts):
            text = sample_requests.caption(sample, number)
            assert text == prompt.replace("{}", concept.category) and "{" not in text
        assert references.words(sample, "nouns") == concept.category
        with pytest.raises(SampleFailed, match="prompts has"):
            sample_requests.caption(sample, len(concept.prompts))


def test_a_picture_without_either_still_says_what_is_missing() -> None:
    with pytest.raises(SampleFailed, match="socialcli caption"):
        sample_requests.caption(Sample("s", {}), 0)

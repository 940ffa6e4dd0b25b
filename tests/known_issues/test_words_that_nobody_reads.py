"""`generate SHARDS --method ip-adapter` refused samples without entities.json and without a class.

It asked for the words that name the subject of a reference, which IP-Adapter, InstantID and
PhotoMaker do not read.
"""

from __future__ import annotations

import pytest
import scenes
from parts import part

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.generation import sample_requests
from socialcli.shards import Sample

GENERATE = "methods.generate"


def sample() -> Sample:
    caption = records.dump(records.Caption("A woman on a beach."))
    return Sample("one", {"jpg": scenes.picture(), "caption.json": caption})


@pytest.mark.parametrize("name", ["ip-adapter", "instantid", "photomaker"])
def test_a_picture_with_a_caption_is_enough(name: str) -> None:
    method = part(GENERATE, name)
    stage = method.as_stage()
    (wanted,) = stage._requests(stage.config_type(), sample())
    assert wanted.problem is None
    (reference,) = wanted.work.references
    assert reference.own is not None and reference.query == ""
    (named,) = stage._requests(stage.config_type(query=["woman"]), sample())
    assert named.work.references[0].query == "woman"
    (asked,) = stage._requests(stage.config_type(query=["nouns"]), sample())
    assert "extract-entities" in asked.problem


@pytest.mark.parametrize("name", ["ssr", "fastcomposer", "mip-adapter"])
def test_who_reads_words_still_says_that_they_are_missing(name: str) -> None:
    stage = part(GENERATE, name).as_stage()
    (wanted,) = stage._requests(stage.config_type(), sample())
    assert "extract-entities" in wanted.problem


def test_words_that_are_there_stay_in_the_record() -> None:
    members = {"jpg": scenes.picture()} | {
        name: records.dump(one) for name, one in scenes.all_records().items()
    }
    config = part(GENERATE, "ip-adapter").config_type()
    request = sample_requests.of_sample(config, Sample("one", members), None, queries=False)
    assert request.references[0].query == "woman, dog, man"
    with pytest.raises(SampleFailed, match="extract-entities"):
        sample_requests.of_sample(config, sample())

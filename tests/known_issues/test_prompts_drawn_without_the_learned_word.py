"""`generate --subject-word` drew a prompt that names its subject in words alone, as some of
DreamBench++ do, as it was: without the learned word that was asked for, and without saying so. And
of several ``--captions`` an empty one took the others with it."""

from __future__ import annotations

import pytest
from conftest import picture

from socialcli import records, shards
from socialcli.errors import SampleFailed
from socialcli.generation import sample_requests
from socialcli.registry import load

NAMED = ["a dog and a dog", "a {} here", "the {0} {1}"]
NO_PLACE = "caption 0 of meta.json's prompts has no {} where --subject-word could stand"


def members(**extra):
    meta = records.Meta(16, 12, extra={"subject": "rex", "class": "dog", **extra})
    return {"jpg": picture(1), "meta.json": records.dump(meta)}


def requests(given: dict, **options):
    """(key, prompt or why there is none) as the command makes them of a shard."""
    stage = load("methods.generate", "text").as_stage()
    config = stage.config_type(**options)
    made = stage._requests(config, shards.Sample("k", given))
    return [(one.key, one.problem or one.work.prompt) for one in made]


def test_a_prompt_without_a_place_for_the_word_fails_alone():
    drawn = requests(members(prompts=NAMED), subject_word="<rex>", captions=3)
    (key, why), *others = drawn
    assert key == "k-caption-0" and why.startswith(NO_PLACE) and "--caption" in why
    assert others == [("k-caption-1", "a <rex> here"), ("k-caption-2", "the <rex>")]
    ((_, why),) = requests(members(prompts=NAMED), subject_word="<rex>")
    assert why.startswith(NO_PLACE)


def test_a_word_that_such_a_prompt_has_is_no_reason():
    """The class, as a table's row of no method has it."""
    drawn = requests(members(prompts=NAMED), subject_word="{class}", captions=2)
    assert [prompt for _, prompt in drawn] == ["a dog and a dog", "a dog here"]
    assert requests(members(prompts=NAMED)) == [("k", "a dog and a dog")]


def test_an_empty_caption_fails_alone():
    given = {"caption.json": records.dump(records.Caption("one", ["", "three"]))}
    assert requests(given, captions=3) == [
        ("k-caption-0", "one"), ("k-caption-1", "the caption is empty"), ("k-caption-2", "three"),
    ]  # fmt: skip


def test_where_nothing_can_be_drawn_the_sample_has_failed_once():
    config = load("methods.generate", "text").config_type(caption=1, captions=2)
    empty = {"caption.json": records.dump(records.Caption("one", ["", ""]))}
    with pytest.raises(SampleFailed, match="the caption is empty"):
        sample_requests.all_of_sample(config, shards.Sample("k", empty))

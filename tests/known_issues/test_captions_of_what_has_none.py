"""`generate --captions N` counted the captions of samples whose text is none of them. A layout or a
picture with an instruction failed for want of captions that nobody reads, or was drawn N times from
one text."""

from __future__ import annotations

import pytest
import scenes

from socialcli import records
from socialcli.generation import sample_requests
from socialcli.registry import load
from socialcli.shards import Sample

CAPTIONS = {"caption.json": records.dump(records.Caption("one", ["two", "three"]))}
PICTURE = {"jpg": scenes.picture()}
LAYOUT = {"layout.json": records.dump(scenes.layout())}


def drawn(method: str, members: dict, **options) -> list[tuple[str, str]]:
    config = load("methods.generate", method).config_type(captions=3, **options)
    asked = sample_requests.all_of_sample(config, Sample("k", members))
    return [(key, request.prompt) for key, request in asked]


@pytest.mark.parametrize("captions", [{}, CAPTIONS], ids=["without", "with"])
def test_one_text_is_drawn_once(captions):
    winter = drawn("instruct-pix2pix", PICTURE | captions, instruction="make it winter")
    assert winter == [("k-caption-0", "make it winter")]
    prompt = scenes.layout().prompt
    assert drawn("multidiffusion", LAYOUT | captions) == [("k-caption-0", prompt)]
    twice = drawn("multidiffusion", LAYOUT | captions, caption=1, per_prompt=2)
    assert twice == [("k-caption-1-0", prompt), ("k-caption-1-1", prompt)]
    if not captions:  # a layout is what is left to draw
        assert drawn("text", LAYOUT) == [("k-caption-0", prompt)]


def test_captions_are_what_they_were():
    keys = ["k-caption-0", "k-caption-1", "k-caption-2"]
    all_three = [*zip(keys, ["one", "two", "three"], strict=True)]
    assert drawn("instruct-pix2pix", PICTURE | CAPTIONS) == all_three
    assert drawn("text", LAYOUT | CAPTIONS) == all_three
    assert drawn("multidiffusion", CAPTIONS) == all_three

"""A prompt of `meta.json` that is no text (a number, null) was taken out of the list, so that all
behind it had other numbers: `--caption 2` drew the fourth, under the key of the third."""

from __future__ import annotations

import dataclasses
import json

import pytest

from socialcli.errors import SampleFailed
from socialcli.generation import sample_requests
from socialcli.generation.options import GenerateOptions
from socialcli.shards import Sample

PROMPTS = ["a {} here", 7, None, "the {}, wet"]


def requests(prompts, extra=None, **options):
    """Key and prompt, or why there is none, of all that a sample read from a shard is drawn for."""
    more = {"subject": "rex", "class": "dog"} if extra is None else extra
    meta = {"schema": 1, "width": 8, "height": 8, "extra": {**more, "prompts": prompts}}
    sample = Sample("rex", {"meta.json": json.dumps(meta).encode()})
    config = dataclasses.replace(GenerateOptions(), **options)
    return [
        (key, str(one) if isinstance(one, SampleFailed) else (one.prompt, one.plain_prompt))
        for key, one in sample_requests.all_of_sample(config, sample)
    ]


LEARNED = {"subject_word": "<{name}>"}


@pytest.mark.parametrize(("options", "word"), [({}, "dog"), (LEARNED, "<rex>")])
def test_each_prompt_keeps_its_number(options, word):
    plain = "{}" if options else None

    def drawn(text):
        return text.format(word), plain and text.format("dog")

    assert requests(PROMPTS, caption=3, **options) == [("rex", drawn("the {}, wet"))]
    rows = requests(PROMPTS, captions=9, **options)
    assert [key for key, _ in rows] == [f"rex-caption-{number}" for number in range(4)]
    assert [rows[0][1], rows[3][1]] == [drawn("a {} here"), drawn("the {}, wet")]
    for number in (1, 2):  # these fail alone
        assert f"caption {number} of meta.json's prompts is no text" in rows[number][1]
        with pytest.raises(SampleFailed, match=f"caption {number} of .* is no text"):
            requests(PROMPTS, caption=number, **options)
    with pytest.raises(SampleFailed, match=r"no caption 4: meta\.json's prompts has 4"):
        requests(PROMPTS, caption=4, **options)


def test_where_none_is_a_text_it_says_so():
    with pytest.raises(SampleFailed, match=r"caption 0 of meta\.json's prompts is no text"):
        requests([1, 2])
    assert requests(["a {}"], {"concept": "x"}, subject_word="sks") == [("rex", ("a sks", None))]


def test_an_empty_list_is_still_none():
    with pytest.raises(SampleFailed, match=r"no caption\.json"):
        requests([])
    with pytest.raises(SampleFailed, match=r"meta\.json has no prompts"):
        requests([], subject_word="<x>")

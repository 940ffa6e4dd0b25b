"""Captions with learned words: the first caption says the same in ordinary words."""

from __future__ import annotations

import pytest
from parts import part

from socialcli import records, shards
from socialcli.generation import requests, sample_requests


def request(captions: list[str], number: int) -> requests.Request:
    members = {"caption.json": records.dump(records.Caption(captions[0], captions[1:]))}
    kind = part("methods.generate", "text").Config
    return sample_requests.of_sample(kind(caption=number), shards.Sample("k", members))


@pytest.mark.parametrize(
    ("captions", "number", "plain"),
    [
        (["a dog pushes a cat", "a dog <push> a cat"], 1, "a dog pushes a cat"),
        (["a dog pushes a cat", "a dog <push> a cat"], 0, None),
        (["a dog pushes a cat", "a cat is pushed"], 1, None),
        (["a dog <shove> a cat", "a dog <push> a cat"], 1, None),
        (["2 < 3 and 5 > 4", "a < b > c"], 1, None),
    ],
)
def test_the_first_caption_is_the_plain_prompt_of_one_with_learned_words(captions, number, plain):
    asked = request(captions, number)
    assert asked.prompt == captions[number] and asked.plain_prompt == plain

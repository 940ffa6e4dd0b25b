"""A digit within a word was read as a number: of "3d glasses" the "3" became a thing, and "g8" was
found behind the caption's end. Where a word of the parser covers a number that was spelled out, its
end was looked for in the wrong text; some captions were refused with the name of an exception."""

from __future__ import annotations

import pytest

from socialcli.backends import ModelSpec, load
from socialcli.backends.entities import _mending


@pytest.fixture(scope="module")
def spacy():
    return load(ModelSpec("entities", "spacy", ""))


@pytest.mark.parametrize(
    "text, things",
    [
        ("a man with an mp3 player and 3d glasses", ["a man", "an mp3 player", "glasses"]),
        ("two boys at g8", ["two boys"]),
        ("2 boys and 3 dogs", ["2 boys", "3 dogs"]),  # these are numbers
        ("q\x87\xcb\xdf1", []),
    ],
)
def test_words_with_digits_are_words(spacy, text, things):
    (found,) = spacy.extract([text])
    assert [entity.text for entity in found.entities] == things
    assert [text[entity.start : entity.end] for entity in found.entities] == things


def test_what_covers_a_spelled_out_number_ends_where_the_caption_says():
    mended = _mending.mend("a \xebdog_2 here")
    at = mended.text.index("\xebdog_two")
    assert mended.place(at, at + len("\xebdog_two")) == (2, 8)
    assert mended.place(at + 5, at + 8) == (7, 8)  # "two"
    stop = len(mended.text) - 1
    assert mended.place(stop, stop + 1) is None  # the parser's full stop is none of the caption

"""A caption that is one word of many thousand characters stalled the contact sheet.

The line breaking measured every prefix of what was left of the word, for each of its lines.
"""

from __future__ import annotations

import pace
import pytest

from socialcli.reports import sheet
from socialcli.reports.view import View
from socialcli.vision import text


@pytest.mark.parametrize("word", ["w" * 30_000, "\u0301" * 30_000, "漢" * 30_000, "a " * 15_000])
def test_text_is_broken_in_a_moment(word):
    lines: list = []
    assert pace.loops(lambda: lines.extend(text.wrap([(word, None)], 17.0, 480, 4))) < 80
    assert 1 <= len(lines) <= 4
    assert lines[-1][-1][0].endswith("…")


def test_words_are_broken_where_they_were():
    lines = text.wrap([("x" * 100 + " end", "#112233")], 17.0, 200, 9)
    widths = [text.width("".join(t for t, _ in line).rstrip(), 17.0) for line in lines]
    assert (
        max(widths) <= 200 and "".join(t for line in lines for t, _ in line) == "x" * 100 + " end"
    )
    assert all(width > 180 for width in widths[:-1])


def test_keys_of_any_length_are_cut():
    shown = View("k" * 1_000_000, "a.tar", None)
    assert pace.loops(lambda: list(sheet.pages([shown], 1, 1))) < 150

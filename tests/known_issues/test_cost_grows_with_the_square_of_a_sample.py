"""A few thousand boxes or people in one sample took `inspect` minutes, `compare` hours.

Every box was looked up by walking the list of all boxes, every name tag was held against all
others, and boxes were paired by searching the whole table of overlaps for each pair.
"""

from __future__ import annotations

import json

import pace
import pytest
import scenes

from socialcli import records
from socialcli.evaluation import agreement
from socialcli.reports import overlay, sheet
from socialcli.reports.view import MOST_THINGS, decode, view
from socialcli.shards import Sample
from socialcli.validation.members import check, read_members

MANY = 3000


def crowded(name: str) -> Sample:
    members = scenes.members()
    body = json.loads(members[f"{name}.json"])
    items = body[name]
    body[name] = [{**items[n % len(items)], "id": n + 1} for n in range(MANY)]
    if name == "masks":  # of which a box has one
        for item in body[name][len(items) :]:
            item.pop("box")
    return Sample("k", {**members, f"{name}.json": json.dumps(body).encode()})


@pytest.mark.parametrize("name", ["entities", "boxes", "masks", "people", "interactions"])
def test_validate_and_inspect_take_seconds(name):
    sample = crowded(name)

    def validate_and_inspect() -> None:
        check(sample)
        parsed, problems = read_members(sample)
        assert problems == []
        shown = view(sample, "a.tar", parsed, problems)
        assert f"{name}: {MOST_THINGS[name]} of {MANY:,} are drawn" in shown.problems
        overlay.card(shown, decode(shown, 300))
        list(sheet.pages([shown], 1, 1))

    assert pace.loops(validate_and_inspect) < 200  # boxes took some 7000


def test_boxes_are_paired_in_seconds():
    boxes = [(n / MANY, 0.0, (n + 1) / MANY, 1.0) for n in range(MANY)]
    pairs: list[tuple[int, int]] = []
    assert pace.loops(lambda: pairs.extend(agreement.matched(boxes, boxes[::-1]))) < 150
    assert sorted(pairs) == [(n, MANY - 1 - n) for n in range(MANY)]


def test_the_best_pairs_come_first_as_before():
    boxes = [(0.0, 0.0, 0.5, 0.5), (0.0, 0.0, 0.5, 0.6), (0.6, 0.6, 0.9, 0.9)]
    truth = [(0.0, 0.0, 0.5, 0.58), (0.0, 0.0, 0.5, 0.49), (0.6, 0.6, 0.9, 0.7)]
    assert agreement.matched(boxes, truth) == [(0, 1), (1, 0)]
    assert agreement.matched(boxes, []) == agreement.matched([], truth) == []


def test_masks_are_compared_by_their_runs():
    """A short code may claim a hundred megapixels: no array of that size is made of it."""
    full = {"size": [10_000, 10_000], "counts": "0PXh[o2"}
    huge = records.Masks(10_000, 10_000, [records.Mask(n, dict(full)) for n in range(1, 200)])
    counts: dict[str, float] = {}
    assert pace.loops(lambda: counts.update(agreement.masks(huge, huge))) < 150
    assert counts["iou"] == len(huge.masks)

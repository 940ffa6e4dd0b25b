"""`socialcli compare` measured a keypoint's distance in shares of the picture's sides, so that in a
wide picture it let pass sideways what was too far by half. A label of several words, as "dining
table", was never named rightly, whatever the other side called it, and an interaction whose subject
the truth names by a box alone was found by whoever did the same somewhere else."""

from __future__ import annotations

import pytest

from socialcli import records
from socialcli.evaluation import agreement

WIDE = (0.0, 0.0, 1.0, 1.0)


def person(x: float, y: float) -> records.Person:
    points = [(x, y, 2.0)] * 17
    return records.Person(1, keypoints=records.Keypoints(points), xyxy=WIDE)


@pytest.mark.parametrize(
    ("moved", "right"),
    [((0.04, 0), 17), ((0.06, 0), 0), ((0, 0.09), 17), ((0, 0.11), 0), ((0.03, 0.09), 0)],
)
def test_keypoints_in_a_picture_twice_as_wide_as_high(moved, right):
    """A tenth of the height of somebody as high as the picture is a twentieth of its width."""
    both = agreement.Agreement()
    found, truth = person(0.5 + moved[0], 0.5 + moved[1]), person(0.5, 0.5)
    sides = [{records.People: records.People(200, 100, [one])}.get for one in (found, truth)]
    both.add(*sides)
    assert both.counts["keypoints"] == {"wanted": 17, "right": right}


@pytest.mark.parametrize(
    ("found", "label", "right"),
    [
        ("dining table", "dining table", 1), ("Dining  Table", "dining table", 1),
        ("old man", "man", 1), ("a big dining table", "dining table", 1), ("table", "table", 1),
        ("table", "dining table", 0), ("woman", "man", 0), ("man", "", 0), ("", "", 0),
    ],
)  # fmt: skip
def test_a_label_may_have_several_words(found, label, right):
    sides = [records.Boxes(9, 9, [records.Box(1, WIDE, name)]) for name in (found, label)]
    assert agreement.boxes(*sides)["named"] == right


def test_a_subject_that_is_a_box_is_the_same_where_the_boxes_overlap():
    act = records.Interaction(1, "ride", subject_box=1, object=2)
    acts = records.Interactions([act])
    here = {1: (0.0, 0.0, 0.4, 1.0), 2: (0.5, 0.0, 1.0, 1.0)}
    there = {1: (0.45, 0.0, 0.5, 1.0), 2: (0.5, 0.0, 1.0, 1.0)}
    assert agreement.interactions(acts, acts, here, here, [])["right"] == 1
    assert agreement.interactions(acts, acts, there, here, [])["right"] == 0

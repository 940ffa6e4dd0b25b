"""`compare --found-source estimate`, as the documentation says to measure a detector, had a recall
of 0 in interactions that a stage found among people whom the data set has: those people were no
estimates and so were not there. So had a side without people.json against one that names people.
And which interactions were paired depended on their order."""

from __future__ import annotations

import itertools

import pytest

from socialcli import records
from socialcli.evaluation import agreement

MAN, HORSE = (0.0, 0.0, 0.4, 1.0), (0.5, 0.5, 1.0, 1.0)
BOXES = records.Boxes(
    9, 9, [records.Box(1, MAN, "person", source="annotation"),
           records.Box(2, HORSE, "horse", source="annotation")],
)  # fmt: skip


def side(source: str, people: bool = True, box: int | None = 1, thing: int = 2):
    act = records.Interaction(1, "ride", subject=1, subject_box=box, object=thing, source=source)
    members = {records.Boxes: BOXES, records.Interactions: records.Interactions([act])}
    if people:
        man = records.Person(1, box=1, source="annotation")
        members[records.People] = records.People(9, 9, [man])
    return members.get


@pytest.mark.parametrize(
    "sources", list(itertools.product(("any", "estimate"), ("any", "annotation")))
)
def test_estimated_acts_of_annotated_people(sources):
    both = agreement.Agreement(*sources)
    both.add(side("cmmp"), side("annotation"))
    assert both.counts["interactions"] == {"found": 1, "wanted": 1, "right": 1}


@pytest.mark.parametrize(
    ("found", "truth", "right"),
    [
        (side("cmmp", people=False), side("annotation"), 1),
        (side("cmmp"), side("annotation", people=False), 1),
        (side("cmmp", box=None), side("annotation", people=False), 1),
        (side("cmmp", people=False, thing=1), side("annotation"), 0),
        (side("cmmp", people=False, box=None), side("annotation"), 0),  # nobody knows who
    ],
)
def test_a_side_that_says_nothing_of_people(found, truth, right):
    both = agreement.Agreement()
    both.add(found, truth)
    assert both.counts["interactions"]["right"] == right


def test_the_order_of_interactions_says_nothing():
    """Box 2 is where both true boxes are, box 3 where the first one is."""
    found = {1: MAN, 2: (0.0, 0.0, 1.0, 1.0), 3: (0.0, 0.0, 0.8, 1.0)}
    truth = {1: MAN, 2: (0.0, 0.0, 0.9, 1.0), 3: (0.0, 0.0, 0.45, 1.0)}

    def acts(things):
        return records.Interactions(
            [records.Interaction(n + 1, "ride", None, 1, thing) for n, thing in enumerate(things)]
        )

    orders = itertools.permutations((2, 3))
    for one, other in itertools.product(orders, itertools.permutations((2, 3))):
        counts = agreement.interactions(acts(one), acts(other), found, truth, [])
        assert counts == {"found": 2, "wanted": 2, "right": 2}, (one, other)

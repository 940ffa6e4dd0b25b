"""`socialcli compare` found no interaction again whose object has no place ("smile", or "look at" a
dog without a box), and none whose people one side names by their box and the other by their number:
annotations disagreed with themselves."""

from __future__ import annotations

import json

import pytest

from socialcli import records, shards
from socialcli.records import Interaction

BOXES = records.Boxes(
    100, 50, [records.Box(1, (0, 0, 0.4, 1), "person"), records.Box(2, (0.6, 0, 1, 1), "person"),
              records.Box(3, (0.4, 0, 0.6, 0.5), "dog")],
)  # fmt: skip
PEOPLE = records.People(100, 50, [records.Person(1, box=1), records.Person(2, box=2)])
ACTS = [
    Interaction(1, "smile", subject=1),
    Interaction(2, "look at", subject=1, object_label="dog"),
    Interaction(3, "hug", subject=1, object_person=2),
    Interaction(4, "walk", subject=2, object=3, object_label="dog"),
]


def compared(tmp_path, run_cli, found: list[Interaction], truth: list[Interaction]) -> dict:
    for name, acts in (("found", found), ("truth", truth)):
        members = {"boxes.json": BOXES, "people.json": PEOPLE}
        members["interactions.json"] = records.Interactions(acts)
        dumped = {suffix: records.dump(record) for suffix, record in members.items()}
        shards.write(tmp_path / f"{name}.tar", [("a", dumped)])
    figures = tmp_path / "figures.json"
    run_cli("compare", tmp_path / "found.tar", tmp_path / "truth.tar", "-o", figures)
    rows = json.loads(figures.read_text())["measures"]
    return {row["measure"]: row["value"] for row in rows if row["kind"] == "interactions"}


def test_annotations_agree_with_themselves(tmp_path, run_cli):
    assert compared(tmp_path, run_cli, ACTS, ACTS) == {"recall": 1.0, "precision": 1.0}


@pytest.mark.parametrize(
    ("found", "truth", "right"),
    [
        (Interaction(1, "hug", subject_box=1, object=2), ACTS[2], 1),  # boxes and people
        (ACTS[2], Interaction(1, "hug", subject_box=1, object=2), 1),
        (Interaction(1, "hug", subject_box=2, object=1), ACTS[2], 0),  # the other way round
        (Interaction(1, "look at", subject=1, object=3, object_label="Dog"), ACTS[1], 1),
        (Interaction(1, "look at", subject=1, object_label="cat"), ACTS[1], 0),
        (Interaction(1, "smile", subject=2), ACTS[0], 0),
        (Interaction(1, "smile", subject=1, object=3), ACTS[0], 0),  # at the dog
        (Interaction(1, "smile", subject=1, object_person=2), ACTS[0], 0),
    ],
)  # fmt: skip
def test_ends_that_are_named_in_another_way(found, truth, right):
    from socialcli.evaluation import agreement

    sides = [
        {records.Boxes: BOXES, records.People: PEOPLE,
         records.Interactions: records.Interactions([act])}.get for act in (found, truth)
    ]  # fmt: skip
    both = agreement.Agreement()
    both.add(*sides)
    assert both.counts["interactions"]["right"] == right

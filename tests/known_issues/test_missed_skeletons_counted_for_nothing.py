"""`socialcli compare` left a person in whom no skeleton was found out of the keypoints, so that an
estimator which says nothing of the hard ones agreed better than one that tries."""

from __future__ import annotations

import json

import pytest

from socialcli import records, shards
from socialcli.cli.commands import compare
from socialcli.evaluation import agreement

WHOLE, AWAY = (0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.1, 0.1)
POSE = {"pose": records.Model("vitpose", "some", role="pose")}
SEEN = [(0.5, 0.5, 2.0)] * 12 + [(0.5, 0.5, 1.0)] * 3 + [(0.0, 0.0, 0.0)] * 2  # 12 are visible
ANNOTATED = records.sources.ANNOTATION


def person(number=1, points=None, place=WHOLE, source="vitpose"):
    skeleton = None if points is None else records.Keypoints(points, source=source)
    return records.Person(number, keypoints=skeleton, xyxy=place, source="x")


def counted(found, truth, models=None, found_source=agreement.ANY):
    sides = [records.People(9, 9, found, models or {}), records.People(9, 9, truth)]
    both = agreement.Agreement(found_source)
    both.add(*({records.People: side}.get for side in sides))
    return both.counts["keypoints"]["right"], both.counts["keypoints"]["wanted"]


def test_a_skeleton_that_was_not_found_is_missed():
    theirs = [person(1, SEEN)]
    assert counted([person(1, SEEN)], theirs, POSE) == (12, 12)
    assert counted([person(1)], theirs, POSE) == (0, 12)
    # Where no model is named, a skeleton of somebody else says that they were looked for.
    both = [person(1), person(2, SEEN, AWAY)]
    assert counted(both, [*theirs, person(2, SEEN, AWAY)]) == (12, 24)
    assert counted([person(1, SEEN)], [person(1)], POSE) == (0, 0)  # nothing was to be found
    assert counted([person(1, place=AWAY)], theirs, POSE) == (0, 0)  # somebody else


def test_where_nobody_looked_for_skeletons_there_is_no_figure():
    other = {"face": records.Model("insightface", "some", role="face")}
    for models in ({}, other):
        assert counted([person(1)], [person(1, SEEN)], models) == (0, 0)


def test_what_was_annotated_already_was_not_missed_by_the_estimator():
    kept, estimated = person(1, SEEN, source=ANNOTATED), person(2, SEEN, AWAY)
    theirs = [person(1, SEEN, source=ANNOTATED), person(2, SEEN, AWAY, source=ANNOTATED)]
    assert counted([kept, estimated], theirs, POSE) == (24, 24)
    assert counted([kept, estimated], theirs, POSE, "estimate") == (12, 12)
    assert counted([kept, person(2, place=AWAY)], theirs, POSE, "estimate") == (0, 12)


def test_the_command_says_so(tmp_path):
    sides = {
        "found": records.People(9, 9, [person(1), person(2, SEEN, AWAY)], POSE),
        "truth": records.People(9, 9, [person(1, SEEN), person(2, SEEN, AWAY)]),
    }
    for name, side in sides.items():
        shards.write(tmp_path / f"{name}.tar", [("a", {"people.json": records.dump(side)})])
    places = [str(tmp_path / f"{name}.tar") for name in sides]
    compare.command(*places, output=[str(tmp_path / "a.json")])
    measures = json.loads((tmp_path / "a.json").read_text())["measures"]
    (row,) = [one for one in measures if one["kind"] == "keypoints"]
    assert (row["value"], row["count"]) == (pytest.approx(0.5), 24)

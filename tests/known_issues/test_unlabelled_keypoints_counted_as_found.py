"""`socialcli compare` took a keypoint of visibility 0 for a found one where its place, which may be
anything, was near the true one: zeros are near a wrist in the picture's corner."""

from __future__ import annotations

import json

from socialcli import records, shards
from socialcli.cli.commands import compare
from socialcli.evaluation import agreement

WHOLE = (0.0, 0.0, 1.0, 1.0)  # of a square picture: a tenth of the height is 0.1
# (found, truth), and whether that is one of (wanted, right) by hand.
POINTS = [
    ((0.5, 0.5, 2.0), (0.5, 0.5, 2.0), (1, 1)),  # at its place
    ((0.5, 0.5, 1.0), (0.5, 0.5, 2.0), (1, 1)),  # labelled, though hidden
    ((0.5, 0.5, 0.0), (0.5, 0.5, 2.0), (1, 0)),  # not labelled
    ((0.0, 0.0, 0.0), (0.06, 0.06, 2.0), (1, 0)),  # nor here, 0.085 away
    ((0.06, 0.06, 2.0), (0.0, 0.0, 0.0), (0, 0)),  # nothing was to be found
    ((0.5, 0.5, 2.0), (0.5, 0.5, 1.0), (0, 0)),  # nothing visible was
    ((0.5, 0.61, 2.0), (0.5, 0.5, 2.0), (1, 0)),  # too far off
    *10 * [((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0, 0))],
]


def people(side):
    points = [row[side] for row in POINTS]
    person = records.Person(1, keypoints=records.Keypoints(points), xyxy=WHOLE)
    return records.People(100, 100, [person])


def test_what_is_not_labelled_is_not_found():
    both = agreement.Agreement()
    both.add(*({records.People: people(side)}.get for side in (0, 1)))
    by_hand = [sum(row[2][n] for row in POINTS) for n in (0, 1)]
    assert by_hand == [5, 2]
    assert both.counts["keypoints"] == {"wanted": 5, "right": 2}


def test_the_command_says_so(tmp_path):
    for side, name in enumerate(("found", "truth")):
        row = {"people.json": records.dump(people(side))}
        shards.write(tmp_path / f"{name}.tar", [("a", row)])
    places = [str(tmp_path / f"{name}.tar") for name in ("found", "truth")]
    compare.command(*places, output=[str(tmp_path / "a.json")])
    measures = json.loads((tmp_path / "a.json").read_text())["measures"]
    (row,) = [one for one in measures if one["kind"] == "keypoints"]
    assert (row["value"], row["count"]) == (0.4, 5)

"""GazeFollow's vectors started at the annotated eye. Sharingan's, and with them Eq. 4 of Social
Context Feedback (arXiv 2507.16095), and the rendered world's start at the centre of the head box:
for near targets that is some ten degrees elsewhere."""

from __future__ import annotations

import math

from socialcli import records
from socialcli.importers.gazefollow import Config, GazefollowImporter
from socialcli.miniature.world import ground_truth, scene


def from_head(person: records.Person, width: int, height: int) -> tuple[float, float]:
    assert person.head is not None and person.gaze is not None and person.gaze.point is not None
    left, top, right, bottom = person.head
    across = (person.gaze.point[0] - (left + right) / 2) * width
    down = (person.gaze.point[1] - (top + bottom) / 2) * height
    length = math.hypot(across, down)
    return across / length, down / length


def check(people: records.People) -> int:
    """How many of the people have a gaze from their head, all of those whose gaze has a target."""
    seen = 0
    for person in people.people:
        gaze = person.gaze
        if gaze is None or gaze.point is None or gaze.vector is None or person.head is None:
            continue
        right = from_head(person, people.width, people.height)
        cosine = sum(a * b for a, b in zip(gaze.vector, right, strict=True))
        assert math.degrees(math.acos(min(cosine, 1))) < 0.5, (person, right)
        seen += 1
    return seen


def test_gaze_vectors_start_at_the_head() -> None:
    importer, config = GazefollowImporter(), Config("tests/data/gazefollow")
    imported = [importer.build(config, entry) for entry in importer.entries(config)]
    seen = sum(check(records.load(records.People, one["people.json"])) for one in imported)
    assert seen == 4
    drawn = [ground_truth.members(scene(1, n, 96, "train")) for n in range(12)]
    assert sum(check(records.load(records.People, one["people.json"])) for one in drawn) > 5

"""What people look at in an annotated picture: the labels of the boxes around gaze targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.evaluation.cases import Picture
from socialcli.vision import boxes as geometry

if TYPE_CHECKING:
    from socialcli.records import XYXY, Boxes, Entities, People, Point

MEMBERS = ("people.json", "boxes.json")


def inside(point: Point, box: XYXY) -> bool:
    """Whether a point lies in a box, edges included."""
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def targets(people: People, boxes: Boxes, entities: Entities | None = None) -> list[str]:
    """The label of each gaze target that lies in somebody's or something's box, in lower case.

    A box without a label goes by its entity's head noun; without either it is no target.
    """
    nouns = {e.id: e.lemma or e.head for e in entities.entities} if entities else {}
    labels_looked_at = []
    for person in people.people:
        gaze = person.gaze
        if gaze is None or gaze.point is None or gaze.inside is False:
            continue
        around = [
            (geometry.area(box.xyxy), label.lower())
            for box in boxes.boxes
            if box.id != person.box
            and (label := box.label or nouns.get(box.entity or 0, ""))
            and inside(gaze.point, box.xyxy)
        ]
        if around:
            labels_looked_at.append(min(around)[1])
    return labels_looked_at


def labels(source: Picture) -> tuple[str, ...]:
    """What to look for in the generated picture: the distinct target labels of its source."""
    if not all(member in source.records for member in MEMBERS):
        return ()
    return tuple(sorted(set(of_source(source))))


def of_source(source: Picture) -> list[str]:
    records = source.records
    return targets(records["people.json"], records["boxes.json"], records.get("entities.json"))

"""Interactions a data set already has: checked, and linked to the people that were found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from socialcli.backends import BackendInfo
from socialcli.errors import SampleFailed
from socialcli.records import GROUND_TRUTH, Interaction, Interactions
from socialcli.vision import people as who

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.backends import ModelSpec
    from socialcli.records import Box, Boxes, People

INFO = BackendInfo(
    summary="Keeps the interactions.json of the data set and links its boxes to people.",
    licence="that of the data set",
    size="0",
)
SAME_BODY = 0.5  # IoU from which a box and a person's body are the same person


def load(spec: ModelSpec) -> GroundTruth:
    """There is nothing to load."""
    return GroundTruth()


class GroundTruth:
    """The interaction role: people and boxes of each picture -> its interactions."""

    model = GROUND_TRUTH

    def interact(
        self,
        images: list[Image],
        people: list[People],
        boxes: list[Boxes | None],
        known: list[Interactions | None],
    ) -> list[Interactions | SampleFailed | None]:
        """The known interactions of each picture with their people filled in.

        Links that are there are kept. None where nothing is known; a `SampleFailed` where an
        interaction names a box or person that the sample does not have.
        """
        result: list[Interactions | SampleFailed | None] = []
        for persons, things, given in zip(people, boxes, known, strict=True):
            try:
                result.append(None if given is None else link(given, persons, things))
            except SampleFailed as error:
                result.append(error)
        return result


def link(given: Interactions, people: People, boxes: Boxes | None) -> Interactions:
    """Interactions with ``subject`` and ``object_person`` filled in from their boxes.

    Raises:
        SampleFailed: a box or person id does not exist in this sample.
    """
    by_id = {box.id: box for box in boxes.boxes} if boxes else {}
    persons = {person.id for person in people.people}
    linked = []
    for one in given.interactions:
        _check(one, by_id, persons)
        subject, target = one.subject, one.object_person
        if subject is None:
            subject = _person_at(one.subject_box, by_id, people)
        if target is None:
            is_person = "person" in (one.object_label, _label(one.object, by_id))
            target = _person_at(one.object, by_id, people, subject, overlap=is_person)
        linked.append(replace(one, subject=subject, object_person=target))
    return Interactions(linked, given.model or GROUND_TRUTH)


def _label(box: int | None, boxes: dict[int, Box]) -> str:
    return boxes[box].label if box is not None else ""


def _check(one: Interaction, boxes: dict[int, Box], people: set[int]) -> None:
    for name, number, there, where in (
        ("subject box", one.subject_box, boxes, "boxes.json"),
        ("object box", one.object, boxes, "boxes.json"),
        ("subject", one.subject, people, "people.json"),
        ("object person", one.object_person, people, "people.json"),
    ):
        if number is not None and number not in there:
            raise SampleFailed(
                f"interactions.json: interaction {one.id} ('{one.verb}') names {name} {number}, "
                f"which is not in {where}"
            )


def _person_at(
    box: int | None,
    boxes: dict[int, Box],
    people: People,
    apart_from: int | None = None,
    overlap: bool = True,
) -> int | None:
    """The person whose body a box is: by its id, else (if ``overlap``) by its place."""
    if box is None:
        return None
    others = [person for person in people.people if person.id != apart_from]
    for person in others:
        if person.box == box:
            return person.id
    best, best_overlap = None, SAME_BODY
    for person in others if overlap else ():
        body = boxes[person.box].xyxy if person.box in boxes else person.xyxy
        common = who.overlap(body, boxes[box].xyxy) if body else 0.0
        if common > best_overlap:
            best, best_overlap = person.id, common
    return best

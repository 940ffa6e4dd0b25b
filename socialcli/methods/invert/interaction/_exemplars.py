"""The two subjects of an exemplar, out of its records: "O1 [R] O2".

Who is the first and who the second is read from the sample, the surest source first: an interaction
of two people, a triple of two named people, else the two largest people in the order in which the
caption names them (from left to right where it does not).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.vision import masks as rle

if TYPE_CHECKING:
    import numpy

    from socialcli.shards import Sample

SEEN = 4  # keypoints that a skeleton has at least


@dataclass
class Subject:
    """One of the two.

    Attributes:
        noun: what it is, "man". keypoints: its skeleton, normalised to the picture.
        mask: its pixels, (H, W) bool of the upright picture.
    """

    noun: str
    keypoints: records.Keypoints
    mask: numpy.ndarray


def pair(sample: Sample) -> tuple[Subject, Subject]:
    """The two subjects of a sample, in their order.

    Raises:
        SampleFailed: fewer than two people have both a mask and a skeleton; the reason says what is
            missing and which command adds it.
    """
    people = sample.record(records.People).people
    masks = sample.record(records.Masks).masks
    of = {person.id: _mask(person, masks) for person in people}
    able = [p for p in people if of[p.id] is not None and _visible(p.keypoints) >= SEEN]
    if len(able) < 2:
        raise SampleFailed(_lacking(people, of))
    first, second = _ordered(sample, able, of)
    return _subject(sample, first, of[first.id]), _subject(sample, second, of[second.id])


def _lacking(people: list[records.Person], of: dict[int, records.Mask | None]) -> str:
    """Why there are no two subjects, and what to do."""
    if len(people) < 2:
        present = "nobody" if not people else "one person"
        return f"people.json has {present}, an interaction needs two (socialcli annotate-pose)"
    skeletons = sum(_visible(p.keypoints) >= SEEN for p in people)
    if skeletons < 2:
        return (
            f"{skeletons} of {len(people)} people have a skeleton, an interaction needs two "
            "(socialcli annotate-pose)"
        )
    masked = sum(mask is not None for mask in of.values())
    return (
        f"{masked} of {len(people)} people have a mask, an interaction needs two "
        "(socialcli segment)"
    )


def _mask(person: records.Person, masks: list[records.Mask]) -> records.Mask | None:
    """Of the person's box; else of its entity, where that has one mask only."""
    for mask in masks:
        if person.box is not None and mask.box == person.box:
            return mask
    own = [m for m in masks if person.entity is not None and m.entity == person.entity]
    return own[0] if len(own) == 1 else None


def _visible(keypoints: records.Keypoints | None) -> int:
    return 0 if keypoints is None else sum(point[2] > 0 for point in keypoints.points)


def _ordered(
    sample: Sample, able: list[records.Person], of: dict[int, records.Mask | None]
) -> tuple[records.Person, records.Person]:
    by_id = {person.id: person for person in able}
    if sample.has("interactions.json"):
        for act in sample.record(records.Interactions).interactions:
            if act.subject in by_id and act.object_person in by_id:
                return by_id[act.subject], by_id[act.object_person]
    by_entity = {person.entity: person for person in able if person.entity is not None}
    if sample.has("entities.json"):
        for triple in sample.record(records.Entities).triples:
            first, second = by_entity.get(triple.subject), by_entity.get(triple.object or 0)
            if first is not None and second is not None and first is not second:
                return first, second
    largest = sorted(able, key=lambda person: -_area(of[person.id]))[:2]
    if all(person.entity is not None for person in largest):
        largest.sort(key=lambda person: (person.entity or 0, person.id))
    else:
        largest.sort(key=_left)
    return largest[0], largest[1]


def _area(mask: records.Mask | None) -> int:
    return 0 if mask is None else int(rle.decode(mask.rle).sum())


def _left(person: records.Person) -> float:
    assert person.keypoints is not None
    xs = [x for x, _, seen in person.keypoints.points if seen > 0]
    return sum(xs) / len(xs)


def _subject(sample: Sample, person: records.Person, mask: records.Mask | None) -> Subject:
    assert person.keypoints is not None and mask is not None
    return Subject(_noun(sample, person), person.keypoints, rle.decode(mask.rle))


def _noun(sample: Sample, person: records.Person) -> str:
    """The head of the phrase that names them, else their box's label, else "person"."""
    if sample.has("entities.json") and person.entity is not None:
        for entity in sample.record(records.Entities).entities:
            if entity.id == person.entity and entity.head:
                return entity.head.lower()
    if sample.has("boxes.json") and person.box is not None:
        for box in sample.record(records.Boxes).boxes:
            if box.id == person.box and box.label:
                return box.label.lower()
    return "person"

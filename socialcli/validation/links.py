"""Whether the members of one sample agree: ids that lead somewhere, spans, sizes, coordinates.

What the door of `socialcli.records` cannot see. Every check yields a `Problem` per thing that is
wrong and takes the `Links` of the sample, which know the ids every member offers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.records.consistency import LISTS
from socialcli.vision import layouts, masks

SLACK = 2e-6  # records keep six decimals
UNIT_SLACK = 1e-3  # of a gaze vector's length

_WRITERS = {
    "meta.json": "import",
    "caption.json": "caption",
    "entities.json": "extract-entities",
    "boxes.json": "ground",
    "masks.json": "segment",
    "people.json": "annotate-pose",
    "interactions.json": "annotate-pose --with interaction",
    "layout.json": "layout",
    "generated.json": "generate",
    records.IDENTITY: "annotate-pose --with identity",
}


@dataclass(frozen=True)
class Problem:
    """One thing wrong: in which member (``picture`` and ``tar`` included), what, and the mend."""

    member: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.member}: {self.what}: {self.mend}"


def again(suffix: str) -> str:
    return f"make it again with `socialcli {_WRITERS[suffix]}`"


def short(text: str, most: int = 160) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 3] + "..."


@dataclass
class Links:
    """The ids each member offers. A sidecar by itself has links that cannot be followed here."""

    parsed: dict[str, Any]
    broken: set[str]
    has_picture: bool
    _ids: dict[str, set[int]] = field(default_factory=dict)

    def ids(self, suffix: str) -> set[int] | None:
        """Ids in a member, None where it cannot be known (the member is broken or elsewhere)."""
        if suffix in self.broken:
            return None
        if suffix not in self.parsed:
            return set() if self.has_picture else None
        if suffix not in self._ids:
            record = self.parsed[suffix]
            self._ids[suffix] = {i.id for name in LISTS for i in getattr(record, name, ())}
        return self._ids[suffix]

    def follow(self, where: str, suffix: str, target: str, id: int | None) -> Iterator[Problem]:
        """A problem if ``id`` is not None and member ``target`` has no such id."""
        known = self.ids(target)
        if id is None or known is None or id in known:
            return
        name = {"entities.json": "entity", "boxes.json": "box", "people.json": "person"}[target]
        if target not in self.parsed:
            what = f"{where} links to {name} {id}, but the sample has no {target}"
            yield Problem(suffix, what, "join the shard that holds it: validate a.tar+b.tar")
        else:
            what = f"{where} links to {name} {id}, which {target} does not have"
            yield Problem(suffix, what, again(suffix))


def sizes(suffix: str, record: Any, size: tuple[int, int] | None) -> Iterator[Problem]:
    """Width and height as the member states them against the upright picture's."""
    if size and hasattr(record, "width") and (record.width, record.height) != size:
        what = f"is for {record.width}x{record.height} pixels, the picture has {size[0]}x{size[1]}"
        yield Problem(suffix, what, f"coordinates are of the upright picture; {again(suffix)}")


def _box(suffix: str, where: str, xyxy: Sequence[float] | None) -> Iterator[Problem]:
    if xyxy is None:
        return
    left, top, right, bottom = xyxy
    told = f"{where} [{left:g}, {top:g}, {right:g}, {bottom:g}]"
    if min(xyxy) < -SLACK or max(xyxy) > 1 + SLACK:
        mend = "boxes are normalised to 0..1 by width and height and clipped to the picture"
        yield Problem(suffix, f"{told} leaves the picture", mend)
    elif left >= right or top >= bottom:
        yield Problem(suffix, f"{told} has no area", "boxes are left, top, right, bottom")


def _inside(suffix: str, where: str, point: Sequence[float]) -> Iterator[Problem]:
    if not all(-SLACK <= v <= 1 + SLACK for v in point):
        what = f"{where} ({point[0]:g}, {point[1]:g}) lies outside the picture"
        yield Problem(suffix, what, "points are normalised to 0..1 by width and height")


def _caption(record: records.Caption, links: Links) -> Iterator[Problem]:
    if not record.text.strip():
        yield Problem("caption.json", "text is blank", again("caption.json"))


def _entities(record: records.Entities, links: Links) -> Iterator[Problem]:
    name = "entities.json"
    caption = links.parsed.get("caption.json")
    for e in record.entities:
        if e.end <= e.start:
            yield Problem(name, f"entity {e.id} spans {e.start} to {e.end}", again(name))
        elif caption is not None and caption.text[e.start : e.end] != e.text:
            there = short(caption.text[e.start : e.end], 40)
            what = f"entity {e.id} is {e.text!r}, but characters {e.start} to {e.end} of the "
            mend = "the caption has changed since; run `socialcli extract-entities` again"
            yield Problem(name, f"{what}caption are {there!r}", mend)
    for number, triple in enumerate(record.triples):
        for part in ("subject", "object"):
            yield from links.follow(f"triples[{number}].{part}", name, name, getattr(triple, part))


def _boxes(record: records.Boxes, links: Links) -> Iterator[Problem]:
    name = "boxes.json"
    for box in record.boxes:
        yield from _box(name, f"box {box.id}", box.xyxy)
        yield from links.follow(f"box {box.id}", name, "entities.json", box.entity)
        if box.keypoints is not None:
            yield from _keypoints(name, f"box {box.id}", box.keypoints)


def _masks(record: records.Masks, links: Links) -> Iterator[Problem]:
    name = "masks.json"
    boxes = links.parsed.get("boxes.json")
    entity_of = {b.id: b.entity for b in boxes.boxes} if boxes else {}
    taken: set[int] = set()
    for mask in record.masks:
        where = f"mask {mask.id}"
        yield from links.follow(where, name, "boxes.json", mask.box)
        yield from links.follow(where, name, "entities.json", mask.entity)
        if mask.box is not None and mask.box in taken:
            yield Problem(name, f"{where}: box {mask.box} has another mask", again(name))
        if mask.box is not None:
            taken.add(mask.box)
        named = entity_of.get(mask.box) if mask.box is not None else None
        if None not in (mask.entity, named) and mask.entity != named:
            what = f"{where} is of entity {mask.entity}, its box {mask.box} of entity {named}"
            yield Problem(name, what, again(name))
        try:
            masks.check(mask.rle)
        except SampleFailed as error:
            yield Problem(name, f"{where}: {error}", again(name))


def _people(record: records.People, links: Links) -> Iterator[Problem]:
    name = "people.json"
    for person in record.people:
        where = f"person {person.id}"
        yield from links.follow(where, name, "boxes.json", person.box)
        yield from links.follow(where, name, "entities.json", person.entity)
        yield from _box(name, f"{where}: body box", person.xyxy)
        yield from _box(name, f"{where}: head box", person.head)
        if person.face is not None:
            yield from _box(name, f"{where}: face box", person.face.xyxy)
        if person.keypoints is not None:
            yield from _keypoints(name, where, person.keypoints)
        if person.gaze is not None:
            yield from _gaze(name, where, person.gaze)


def _keypoints(name: str, where: str, keypoints: records.Keypoints) -> Iterator[Problem]:
    for number, (x, y, visibility) in enumerate(keypoints.points):
        if visibility > 0:
            yield from _inside(name, f"{where}: keypoint {number}", (x, y))


def _gaze(name: str, where: str, gaze: records.Gaze) -> Iterator[Problem]:
    if gaze.vector is not None:
        length = math.hypot(*gaze.vector)
        if abs(length - 1) > UNIT_SLACK:
            what = f"{where}: gaze vector has length {length:.4f}, not 1"
            yield Problem(name, what, "divide it by its length, measured in pixels")
    if gaze.point is not None and gaze.inside:
        yield from _inside(name, f"{where}: gaze point", gaze.point)


def _interactions(record: records.Interactions, links: Links) -> Iterator[Problem]:
    name = "interactions.json"
    for i in record.interactions:
        where = f"interaction {i.id}"
        yield from links.follow(f"{where}: subject", name, "people.json", i.subject)
        yield from links.follow(f"{where}: object_person", name, "people.json", i.object_person)
        yield from links.follow(f"{where}: subject_box", name, "boxes.json", i.subject_box)
        yield from links.follow(f"{where}: object", name, "boxes.json", i.object)


def _layout(record: records.Layout, links: Links) -> Iterator[Problem]:
    name = "layout.json"
    for segment in record.segments:
        where = f"segment {segment.id}"
        yield from links.follow(where, name, "entities.json", segment.entity)
        yield from links.follow(where, name, "people.json", segment.person)
    try:
        layouts.check(record)
    except SampleFailed as error:
        yield Problem(name, str(error).removeprefix(f"{name}: "), again(name))


def _identity(rows: Any, links: Links) -> Iterator[Problem]:
    name = records.IDENTITY
    if len(set(rows["person"].tolist())) != len(rows):
        yield Problem(name, "two rows belong to one person", again(name))
    for number, person in enumerate(rows["person"].tolist()):
        yield from links.follow(f"row {number}", name, "people.json", person)
    for number in (~rows["embedding"].any(axis=1)).nonzero()[0].tolist():
        yield Problem(name, f"row {number} is zero", again(name))


CHECKS: dict[str, Callable[[Any, Links], Iterator[Problem]]] = {
    "caption.json": _caption,
    "entities.json": _entities,
    "boxes.json": _boxes,
    "masks.json": _masks,
    "people.json": _people,
    "interactions.json": _interactions,
    "layout.json": _layout,
    records.IDENTITY: _identity,
}

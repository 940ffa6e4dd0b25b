"""What is wrong in a record although each of its values is right: ids, counts, sizes, geometry.

The types in `socialcli.records` cannot say this. `members.load` refuses such a record and
`members.dump` writes none. What needs a second member, or the picture, is
`socialcli.validation.links`' business.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from socialcli.records import limits, rle

if TYPE_CHECKING:
    from socialcli.records import Entities, Gaze, Keypoints, Masks, Person

LISTS = (
    "entities",
    "boxes",
    "masks",
    "people",
    "interactions",
    "segments",
)  # fields whose items have ids
SLACK = 2e-6  # records keep six decimals
UNIT_SLACK = 1e-3  # of a gaze vector's length


class Wrong(NamedTuple):
    """One thing that is wrong in a record, and how it should be; "" where making it again mends."""

    what: str
    mend: str = ""


def free_ids(taken: Iterable[int]) -> Iterator[int]:
    """Ids for new things: those above the highest, then near the limit the lowest free ones."""
    used = set(taken)
    above = max(used, default=0) + 1
    yield from range(above, limits.MAX_WHOLE + 1)
    yield from (number for number in range(1, above) if number not in used)


def free_id(taken: Iterable[int]) -> int:
    """An id for something new (`free_ids`)."""
    return next(free_ids(taken))


def inconsistencies(record: Any) -> Iterator[Wrong]:
    """Each thing that is wrong with one record."""
    for name in LISTS:
        yield from _repeated(getattr(record, name, ()))
    if hasattr(record, "text") and not record.text.strip():
        yield Wrong("text is blank")
    if hasattr(record, "entities"):
        yield from _entities(record)
    for box in getattr(record, "boxes", ()):
        yield from _box(f"box {box.id}", box.xyxy)
        if box.keypoints is not None:
            yield from _keypoints(box.keypoints, f"box {box.id}")
    if hasattr(record, "masks"):
        yield from _masks(record)
    for person in getattr(record, "people", ()):
        yield from _person(person)
    if hasattr(record, "segments"):
        yield from _segments(record)


def _repeated(items: Any) -> Iterator[Wrong]:
    if len({item.id for item in items}) == len(items):
        return
    seen: set[int] = set()
    for item in items:
        if item.id in seen:
            yield Wrong(f"id {item.id} is there twice")
        seen.add(item.id)


def _entities(record: Entities) -> Iterator[Wrong]:
    for entity in record.entities:
        if entity.end <= entity.start:
            yield Wrong(f"entity {entity.id} spans {entity.start} to {entity.end}")
    ids = {entity.id for entity in record.entities}
    for number, triple in enumerate(record.triples):
        for part in ("subject", "object"):
            id = getattr(triple, part)
            if id is not None and id not in ids:
                what = f"triples[{number}].{part} links to entity {id}, which entities.json does "
                yield Wrong(f"{what}not have")


def _masks(record: Masks) -> Iterator[Wrong]:
    yield from _mask_sizes(record, "mask", record.masks)
    taken: set[int] = set()
    for mask in record.masks:
        if mask.box in taken:
            yield Wrong(f"mask {mask.id}: box {mask.box} has another mask")
        if mask.box is not None:
            taken.add(mask.box)


def _mask_sizes(record: Any, name: str, items: Any) -> Iterator[Wrong]:
    size = [record.height, record.width]
    if record.height * record.width > limits.MAX_PIXELS:
        most = limits.MAX_PIXELS // 1_000_000
        what = f"is for {record.width}x{record.height} pixels, over the limit of {most} megapixels"
        yield Wrong(what)
        return
    for mask in items:
        if list(mask.rle["size"]) != size:
            what = f"{name} {mask.id} has size {mask.rle['size']}, not [height, width] = {size}"
            yield Wrong(what)
            return  # so have all the others, most often
        try:
            rle.check(mask.rle["counts"], record.height * record.width)
        except ValueError as error:
            yield Wrong(f"{name} {mask.id}: a mask is not a COCO run-length code ({error})")


def _segments(record: Any) -> Iterator[Wrong]:
    yield from _mask_sizes(record, "segment", record.segments)
    colours: dict[str, int] = {}
    for segment in record.segments:
        if segment.colour in colours:
            other = colours[segment.colour]
            yield Wrong(f"segments {other} and {segment.id} have one colour, {segment.colour}")
        colours[segment.colour] = segment.id
        if not segment.prompt.strip():
            yield Wrong(f"segment {segment.id} ({segment.colour}) has no prompt")
        if segment.keypoints is not None:
            yield from _keypoints(segment.keypoints, f"segment {segment.id}")


def _person(person: Person) -> Iterator[Wrong]:
    where = f"person {person.id}"
    yield from _box(f"{where}: body box", person.xyxy)
    yield from _box(f"{where}: head box", person.head)
    if person.face is not None:
        yield from _box(f"{where}: face box", person.face.xyxy)
    if person.keypoints is not None:
        yield from _keypoints(person.keypoints, where)
    if person.gaze is not None:
        yield from _gaze(person.gaze, where)


def _box(where: str, xyxy: Sequence[float] | None) -> Iterator[Wrong]:
    """A box is in the picture, and has an area that its six decimals can tell."""
    if xyxy is None:
        return
    left, top, right, bottom = xyxy
    if min(xyxy) < -SLACK or max(xyxy) > 1 + SLACK:
        mend = "boxes are normalised to 0..1 by width and height and clipped to the picture"
        yield Wrong(f"{where} {_shown(xyxy)} leaves the picture", mend)
    elif round(left, 6) >= round(right, 6) or round(top, 6) >= round(bottom, 6):
        yield Wrong(f"{where} {_shown(xyxy)} has no area", "boxes are left, top, right, bottom")


def _shown(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:g}' for value in values)}]"


def _keypoints(keypoints: Keypoints, where: str) -> Iterator[Wrong]:
    from socialcli.records import keypoint_layouts  # which imports the records

    count = len(keypoints.points)
    layout = keypoint_layouts.layout(keypoints.layout)
    if layout is not None and count != len(layout.names):
        yield Wrong(f"{where}: {count} keypoints, {keypoints.layout} has {len(layout.names)}")
    if keypoints.scores is not None and len(keypoints.scores) != count:
        yield Wrong(f"{where}: {len(keypoints.scores)} scores for {count} keypoints")
    for number, (x, y, visibility) in enumerate(keypoints.points):
        if visibility > 0:
            yield from _inside(f"{where}: keypoint {number}", x, y)


def _gaze(gaze: Gaze, where: str) -> Iterator[Wrong]:
    if gaze.vector is not None:
        length = math.hypot(*gaze.vector)
        if abs(length - 1) > UNIT_SLACK:
            mend = "divide it by its length, measured in pixels"
            yield Wrong(f"{where}: gaze vector has length {length:.4f}, not 1", mend)
    if gaze.point is not None and gaze.inside:
        yield from _inside(f"{where}: gaze point", *gaze.point)


def _inside(where: str, x: float, y: float) -> Iterator[Wrong]:
    if not (-SLACK <= x <= 1 + SLACK and -SLACK <= y <= 1 + SLACK):
        mend = "points are normalised to 0..1 by width and height"
        yield Wrong(f"{where} ({x:g}, {y:g}) lies outside the picture", mend)

"""What is wrong in a record although each of its values is right: ids, counts and sizes in it.

The types in `socialcli.records` cannot say this. What needs a second member, or the picture, is
`socialcli.validation.links`' business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from socialcli.records import limits

LISTS = (
    "entities",
    "boxes",
    "masks",
    "people",
    "interactions",
    "segments",
)  # fields whose items have ids


def free_ids(taken: Iterable[int]) -> Iterator[int]:
    """Ids for new things: those above the highest, then near the limit the lowest free ones."""
    used = set(taken)
    above = max(used, default=0) + 1
    yield from range(above, limits.MAX_WHOLE + 1)
    yield from (number for number in range(1, above) if number not in used)


def free_id(taken: Iterable[int]) -> int:
    """An id for something new (`free_ids`)."""
    return next(free_ids(taken))


def inconsistencies(record: Any) -> Iterator[str]:
    """Each thing that is wrong with one record, in words."""
    for name in LISTS:
        yield from _repeated(getattr(record, name, ()))
    if hasattr(record, "masks"):
        yield from _mask_sizes(record)
    if hasattr(record, "segments"):
        yield from _segments(record)
    for person in getattr(record, "people", ()):
        if person.keypoints is not None:
            yield from _keypoint_counts(person.keypoints, f"person {person.id}")
    for box in getattr(record, "boxes", ()):
        if box.keypoints is not None:
            yield from _keypoint_counts(box.keypoints, f"box {box.id}")


def _repeated(items: Any) -> Iterator[str]:
    if len({item.id for item in items}) == len(items):
        return
    seen: set[int] = set()
    for item in items:
        if item.id in seen:
            yield f"id {item.id} is there twice"
        seen.add(item.id)


def _mask_sizes(record: Any, name: str = "mask", items: Any = None) -> Iterator[str]:
    size = [record.height, record.width]
    if record.height * record.width > limits.MAX_PIXELS:
        most = limits.MAX_PIXELS // 1_000_000
        yield f"is for {record.width}x{record.height} pixels, over the limit of {most} megapixels"
    for mask in record.masks if items is None else items:
        if mask.rle["size"] != size:
            yield f"{name} {mask.id} has size {mask.rle['size']}, not [height, width] = {size}"


def _segments(record: Any) -> Iterator[str]:
    yield from _mask_sizes(record, "segment", record.segments)
    colours: dict[str, int] = {}
    for segment in record.segments:
        if segment.colour in colours:
            other = colours[segment.colour]
            yield f"segments {other} and {segment.id} have one colour, {segment.colour}"
        colours[segment.colour] = segment.id
        if not segment.prompt.strip():
            yield f"segment {segment.id} ({segment.colour}) has no prompt"
        if segment.keypoints is not None:
            yield from _keypoint_counts(segment.keypoints, f"segment {segment.id}")


def _keypoint_counts(keypoints: Any, where: str) -> Iterator[str]:
    from socialcli.records import keypoint_layouts  # which imports the records

    count = len(keypoints.points)
    layout = keypoint_layouts.layout(keypoints.layout)
    if layout is not None and count != len(layout.names):
        yield f"{where}: {count} keypoints, {keypoints.layout} has {len(layout.names)}"
    if keypoints.scores is not None and len(keypoints.scores) != count:
        yield f"{where}: {len(keypoints.scores)} scores for {count} keypoints"

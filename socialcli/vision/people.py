"""Who is who: bringing boxes, heads and faces together into the people of one picture.

All boxes are normalised xyxy (`socialcli.records`).
"""

from __future__ import annotations

from collections.abc import Sequence

from socialcli.records import XYXY, Box, Face, Keypoints, Meta, Person
from socialcli.vision import boxes as geometry

SAME_BODY = 0.8  # IoU from which two person boxes are one person named twice
SAME_FACE = 0.3  # IoU from which a detected face is the face a person already has
IN_HEAD = 0.5  # share of a face that lies in its person's head box
IN_BODY = 0.6  # share of a face that lies in its person's body box
SMALL_FACE = 0.08  # of the body box's height; smaller ones are likelier someone behind

PERSON_WORDS = {
    "person", "people", "human", "man", "men", "woman", "women", "boy", "boys", "girl", "girls",
    "child", "children", "kid", "kids", "baby", "lady", "gentleman", "guy", "crowd", "player",
    "rider",
}  # fmt: skip


def kind_of(label: str) -> str:
    """person or object, by the last word of a class label ("young woman" -> person)."""
    words = label.lower().replace("_", " ").split()
    return "person" if words and words[-1] in PERSON_WORDS else "object"


def crowds(meta: Meta | None) -> set[int]:
    """Ids of the boxes that COCO calls crowd regions: people in them, but no person."""
    listed = meta.extra.get("crowd_boxes") if meta is not None else None
    if not isinstance(listed, list):  # of other programs it may be anything
        return set()
    return {number for number in listed if isinstance(number, int)}


def head_of(face: XYXY) -> XYXY:
    """The head around a face box: hair above it, ears beside it, a little neck."""
    left, top, right, bottom = face
    width, height = right - left, bottom - top
    return geometry.clip(
        (left - 0.2 * width, top - 0.4 * height, right + 0.2 * width, bottom + 0.1 * height)
    )


def body_of(face: XYXY) -> XYXY:
    """Where the body below an upright face must lie: a region to look in, not a body box."""
    left, top, right, bottom = face
    width, height = right - left, bottom - top
    return geometry.clip(
        (left - 1.5 * width, top - 0.7 * height, right + 1.5 * width, bottom + 6.5 * height)
    )


def distinct(bodies: Sequence[Box]) -> list[Box]:
    """Person boxes without those that name the same person again (the better scored one stays).

    Order is kept. "A man" and "the guitarist" may have been given one box each.
    """
    import numpy

    if not bodies:
        return []
    xyxy = numpy.array([box.xyxy for box in bodies])
    scores = numpy.array([1.0 if box.score is None else box.score for box in bodies])
    kept = set(geometry.nms(xyxy, scores, SAME_BODY))
    return [box for index, box in enumerate(bodies) if index in kept]


def _common(first: XYXY, second: XYXY) -> float:
    """The area that two boxes share."""
    low = max(first[0], second[0]), max(first[1], second[1])
    return geometry.area((*low, min(first[2], second[2]), min(first[3], second[3])))


def overlap(first: XYXY, second: XYXY) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    common = _common(first, second)
    return common / max(geometry.area(first) + geometry.area(second) - common, 1e-12)


def _share_inside(inner: XYXY, outer: XYXY) -> float:
    """How much of ``inner`` lies in ``outer``, in [0, 1]."""
    return _common(inner, outer) / max(geometry.area(inner), 1e-12)


def affinity(face: XYXY, person: Person, body: XYXY | None) -> float:
    """How well a detected face fits a person; 0 = it cannot be theirs.

    The most certain evidence decides: the face the person already has (2 + IoU), else their head
    box (1 + IoU), else their body box, where a face near its top scores up to 1 and one that is
    tiny against the body scores less, because it is likelier that of someone behind.
    """
    if person.face is not None:
        common = overlap(person.face.xyxy, face)
        return 2 + common if common > SAME_FACE else 0.0
    if person.head is not None:
        mostly_inside = _share_inside(face, person.head) >= IN_HEAD
        return 1 + overlap(person.head, face) if mostly_inside else 0.0
    if body is None or _share_inside(face, body) < IN_BODY:
        return 0.0
    height = max(body[3] - body[1], 1e-12)
    from_top = min(max(((face[1] + face[3]) / 2 - body[1]) / height, 0.0), 0.95)
    likely = min(1.0, (face[3] - face[1]) / height / SMALL_FACE)
    return (1 - from_top) * likely


def match_faces(
    faces: Sequence[Face], people: Sequence[Person], bodies: Sequence[XYXY | None]
) -> dict[int, int]:
    """Which face belongs to which person, greedily from the best pair on; each is used once.

    Returns:
        Index of the face -> index of the person. Faces and people may both be left over.
    """
    pairs = [
        (affinity(face.xyxy, person, body), f, p)
        for f, face in enumerate(faces)
        for p, (person, body) in enumerate(zip(people, bodies, strict=True))
    ]
    matched: dict[int, int] = {}
    for score, f, p in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if score > 0 and f not in matched and p not in matched.values():
            matched[f] = p
    return matched


def is_theirs(keypoints: Keypoints, head: XYXY | None) -> bool:
    """Whether a skeleton's visible head points lie at this head, and not at a neighbour's.

    A box of one person often shows parts of another, and a pose model follows either. Points up to
    half a head beyond the box still count; without visible head points, or head, nothing speaks
    against it.
    """
    seen = [p for p in keypoints.points[:5] if p[2] > 0]  # nose, eyes, ears
    if head is None or not seen or keypoints.layout != "coco17":
        return True
    across, down = (head[2] - head[0]) / 2, (head[3] - head[1]) / 2
    x, y = sum(p[0] for p in seen) / len(seen), sum(p[1] for p in seen) / len(seen)
    return head[0] - across <= x <= head[2] + across and head[1] - down <= y <= head[3] + down

"""Annotations and the estimates beside them: which are the same thing, and what is added.

Annotations are never replaced, moved or renumbered. A detection that is the same thing as an
annotated box is not written: its entity becomes the annotated box's link. Every other detection is
appended under an id that no box of the sample has had. So it is with entities, triples and
interactions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from socialcli.errors import SampleFailed
from socialcli.records import Box, Entities, Entity, Interaction, Interactions
from socialcli.records.consistency import free_ids
from socialcli.records.sources import ANNOTATION, is_annotation, stated
from socialcli.vision import boxes as geometry
from socialcli.vision.people import kind_of

SAME_THING = 0.5  # IoU from which boxes of one kind of thing (both people, or one word) are one
OTHER_WORD = 0.75  # IoU from which things with different words are one: "bike", "motorcycle"
DRAWN_TWICE = 0.8  # IoU from which annotated boxes of one label are one thing drawn again


def are_one(annotated: Box, detected: Box, common: float, kinds: dict[int, str]) -> bool:
    """Whether an annotated and a detected box that overlap by an IoU of ``common`` are one thing.

    Args:
        kinds: entity -> person, animal or object; a box without goes by its label's last word. A
            person and a thing are never one; a box without entity and label may be either.
    """
    people = [_is_person(box, kinds) for box in (annotated, detected)]
    if None not in people and people[0] != people[1]:
        return False
    alike = all(people) or _word(annotated.label) == _word(detected.label)
    return common >= (SAME_THING if alike else OTHER_WORD)


def _is_person(box: Box, kinds: dict[int, str]) -> bool | None:
    kind = kinds.get(box.entity or 0) or (kind_of(box.label) if box.label else "")
    return kind == "person" if kind else None


def _word(label: str) -> str:
    """A label's last word without a plural's s: "dining table", "tables" -> "table"."""
    words = label.lower().replace("_", " ").split()
    last = words[-1] if words else ""
    return last[:-1] if last.endswith("s") and not last.endswith("ss") else last


def joined(
    annotated: list[Box],
    detected: list[Box],
    taken: list[int],
    kinds: dict[int, str],
    limit: Callable[[int], int | None],
) -> list[Box]:
    """Annotated boxes with the links that detections give them, then the other detections.

    Args:
        annotated: their links, where they have any, are believed.
        detected: in the order of their entities, the best of each first; their ids do not matter.
        taken: ids that the sample's boxes have or had.
        kinds: entity -> person, animal or object.
        limit: entity -> how many boxes it may have, None for any number. Annotated boxes that an
            entity has from the start count.
    """
    had = Counter(box.entity for box in annotated if box.entity is not None)
    full = {entity for entity, count in had.items() if count >= (limit(entity) or count + 1)}
    pairs = _pairs(annotated, detected, kinds)
    links: dict[int, int] = {a: box.entity for a, box in enumerate(annotated) if box.entity}
    linked: set[int] = set()  # detections that have become a link
    for d, a in pairs:
        entity = detected[d].entity
        if entity is None or entity in full or d in linked or a in links:
            continue
        linked.add(d)
        links[a] = entity
        for twin in _drawn_again(annotated, a):
            links.setdefault(twin, entity)
    known = {d for d, _ in pairs}
    ids = free_ids(taken)
    added = [
        replace(box, id=next(ids))
        for d, box in enumerate(detected)
        if d not in known and box.entity not in full
    ]
    return [*(replace(box, entity=links.get(a)) for a, box in enumerate(annotated)), *added]


def _pairs(
    annotated: list[Box], detected: list[Box], kinds: dict[int, str]
) -> list[tuple[int, int]]:
    """Each detected box with each annotated one that is the same thing, from the greatest overlap
    on: their places in the two lists."""
    import numpy

    if not annotated or not detected:
        return []
    common = geometry.iou([b.xyxy for b in detected], [b.xyxy for b in annotated])  # type: ignore[arg-type]
    near = [(-common[d, a], int(d), int(a)) for d, a in numpy.argwhere(common >= SAME_THING)]
    return [
        (d, a)
        for negative, d, a in sorted(near)
        if are_one(annotated[a], detected[d], -negative, kinds)
    ]


def _drawn_again(annotated: list[Box], at: int) -> list[int]:
    """The places of the other boxes of the thing in the box at a place."""
    common = geometry.iou([annotated[at].xyxy], [b.xyxy for b in annotated])[0]  # type: ignore[arg-type]
    label = annotated[at].label
    return [n for n in (common >= DRAWN_TWICE).nonzero()[0] if annotated[n].label == label]


def entities(known: Entities, text: str) -> Entities | None:
    """What is annotated in a sample's entities; None where nothing is.

    Args:
        text: the caption that they are about.

    Raises:
        SampleFailed: it is another caption than theirs.
    """
    annotated = [one for one in known.entities if is_annotation(one)]
    if not annotated:
        return None
    for one in annotated:
        if text[one.start : one.end] != one.text:
            raise SampleFailed(
                f"entities.json: annotated entity {one.id} ({one.text!r}) is not in the caption at "
                f"characters {one.start} to {one.end}; --replace-annotations writes over it"
            )
    ids = {one.id for one in annotated}
    triples = [
        one for one in known.triples
        if is_annotation(one) and one.subject in ids and (one.object is None or one.object in ids)
    ]  # fmt: skip
    return Entities(annotated, triples, known.model)


def with_entities(annotated: Entities, extracted: Entities) -> Entities:
    """Annotated entities and triples, and those that a parser finds besides, under new ids.

    A phrase that overlaps an annotated one with the same last word of its head is that one.
    """
    ids = free_ids(one.id for one in annotated.entities)
    same: dict[int, int] = {}
    added: list[Entity] = []
    for one in extracted.entities:
        twin = next((known for known in annotated.entities if _one_phrase(known, one)), None)
        same[one.id] = twin.id if twin is not None else next(ids)
        if twin is None:
            added.append(replace(one, id=same[one.id]))
    acts = {(one.subject, one.verb, one.object) for one in annotated.triples}
    moved = [
        replace(one, subject=same[one.subject], object=one.object and same[one.object])
        for one in extracted.triples
    ]
    new = [one for one in moved if (one.subject, one.verb, one.object) not in acts]
    beside = stated(replace(extracted, entities=added, triples=new))
    return Entities(
        [*annotated.entities, *beside.entities],
        [*annotated.triples, *beside.triples],
        extracted.model,
    )


def _one_phrase(known: Entity, extracted: Entity) -> bool:
    overlap = known.start < extracted.end and extracted.start < known.end
    return overlap and _word(known.head) == _word(extracted.head)


def interactions(
    known: Interactions | None, estimated: Interactions | None, source: str
) -> Interactions | None:
    """Annotated interactions, and those that were found besides, under ids that none has had.

    Args:
        known: what the sample has. estimated: what a backend gives for it. source: that backend's.
    """
    annotated = [one for one in known.interactions if is_annotation(one)] if known else []
    if known is None or estimated is None or source == ANNOTATION or not annotated:
        return estimated
    acts = {act for one in annotated for act in _acts(one)}
    ids = free_ids(one.id for one in known.interactions)
    new = [one for one in estimated.interactions if not acts & _acts(one)]
    added = [replace(one, id=next(ids), source=source) for one in new]
    return Interactions([*annotated, *added], estimated.model)


def _acts(one: Interaction) -> set[tuple[str, int, int]]:
    """What makes interactions the same: the verb between the same two people or boxes. Ids of
    people are negative here, so that they are not taken for those of boxes."""
    subjects = {-(one.subject or 0), one.subject_box or 0} - {0}
    things = {-(one.object_person or 0), one.object or 0} - {0}
    return {(one.verb, subject, thing) for subject in subjects for thing in things}

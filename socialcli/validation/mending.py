"""What a stage writes fits what it leaves as it is: links to what is gone are taken away.

A stage that writes a member anew may take away what other members link to: boxes that are found
again have new ids, and a new caption has other phrases. Links, and estimates that have lost what
they are about, go with it; annotations stay, without their links. So no chain of stages ends with
samples that the next command refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.records import (
    Boxes,
    Caption,
    Entities,
    Interaction,
    Interactions,
    Layout,
    Mask,
    Masks,
    People,
    Person,
)
from socialcli.records.sources import is_annotation
from socialcli.shards import Sample
from socialcli.validation.links import CHECKS
from socialcli.validation.members import read_members

Parsed = dict[str, Any]


def settled(sample: Sample, new: dict[str, bytes]) -> dict[str, bytes]:
    """The members that a sample gets, so that the whole of it is one that commands take.

    Args:
        sample: as it was. new: what a stage writes.

    Returns:
        ``new`` itself where all fits; else it, and the members that had to be changed with it.

    Raises:
        SampleFailed: it cannot be made to fit: the stage kept a malformed member, or annotations
            contradict what it wrote.
    """
    whole = {**sample.members, **new}
    if not CHECKS.keys() & whole.keys():
        return new
    parsed, problems = read_members(Sample(sample.key, whole))
    if not problems:
        return new
    changed = dict(new)
    for suffix, mend in _MENDS.items():
        if suffix in parsed and (mended := mend(parsed[suffix], parsed)) != parsed[suffix]:
            parsed[suffix] = mended
            changed[suffix] = records.dump(mended)
    rows, people = parsed.get(records.IDENTITY), parsed.get("people.json")
    if rows is not None and people is not None:
        there = {person.id for person in people.people}
        kept = [row for row in range(len(rows)) if int(rows["person"][row]) in there]
        if len(kept) < len(rows):
            changed[records.IDENTITY] = records.dump_identity(rows[kept])
    _, problems = read_members(Sample(sample.key, {**whole, **changed}))
    if problems:
        raise SampleFailed(str(problems[0]))
    return changed


def _ids(parsed: Parsed, suffix: str, name: str) -> Callable[[int | None], int | None]:
    """Keeps an id that a member has, or that nobody can look up; None for any other."""
    if suffix not in parsed:
        return lambda id: id
    known = {item.id for item in getattr(parsed[suffix], name)}
    return lambda id: id if id in known else None


def _entities(record: Entities, parsed: Parsed) -> Entities:
    """Those that stand in the caption, and the triples of these."""
    caption: Caption | None = parsed.get("caption.json")
    if caption is None:
        return record
    kept = []
    for one in record.entities:
        if caption.text[one.start : one.end] == one.text:
            kept.append(one)
        elif is_annotation(one):
            raise SampleFailed(
                f"entities.json: annotated entity {one.id} ({one.text!r}) is of another caption "
                "than the one that is written: leave entities.json out, or keep the caption"
            )
    ids = {one.id for one in kept}
    triples = [t for t in record.triples if {t.subject, t.object} <= ids | {None}]
    return replace(record, entities=kept, triples=triples)


def _boxes(record: Boxes, parsed: Parsed) -> Boxes:
    entity = _ids(parsed, "entities.json", "entities")
    return replace(record, boxes=[replace(b, entity=entity(b.entity)) for b in record.boxes])


def _masks(record: Masks, parsed: Parsed) -> Masks:
    """Masks of boxes that are there; each of the entity that its box is of."""
    entity, box = (
        _ids(parsed, "entities.json", "entities"),
        _ids(parsed, "boxes.json", "boxes"),
    )
    boxes: Boxes | None = parsed.get("boxes.json")
    named = {b.id: b.entity for b in boxes.boxes} if boxes else {}

    def mended(mask: Mask) -> Mask:
        of = entity(named.get(mask.box or 0) or mask.entity)
        return replace(mask, box=box(mask.box), entity=of)

    kept = [m for m in record.masks if is_annotation(m) or box(m.box) == m.box]
    return replace(record, masks=[mended(m) for m in kept])


def _people(record: People, parsed: Parsed) -> People:
    entity, box = (
        _ids(parsed, "entities.json", "entities"),
        _ids(parsed, "boxes.json", "boxes"),
    )

    def mended(person: Person) -> Person:
        return replace(person, box=box(person.box), entity=entity(person.entity))

    return replace(record, people=[mended(person) for person in record.people])


def _interactions(record: Interactions, parsed: Parsed) -> Interactions:
    """Estimates keep all they are about, or go."""
    person, box = (
        _ids(parsed, "people.json", "people"),
        _ids(parsed, "boxes.json", "boxes"),
    )

    def mended(one: Interaction) -> Interaction:
        return replace(
            one,
            subject=person(one.subject),
            object_person=person(one.object_person),
            subject_box=box(one.subject_box),
            object=box(one.object),
        )

    pairs = [(one, mended(one)) for one in record.interactions]
    kept = [new for old, new in pairs if new == old or is_annotation(old)]
    return replace(record, interactions=kept)


def _layout(record: Layout, parsed: Parsed) -> Layout:
    entity, person = (
        _ids(parsed, "entities.json", "entities"),
        _ids(parsed, "people.json", "people"),
    )
    segments = [
        replace(s, entity=entity(s.entity), person=person(s.person)) for s in record.segments
    ]
    return replace(record, segments=segments)


# In the order in which what one takes away can be missed by the next.
_MENDS: dict[str, Callable[[Any, Parsed], Any]] = {
    "entities.json": _entities,
    "boxes.json": _boxes,
    "masks.json": _masks,
    "people.json": _people,
    "interactions.json": _interactions,
    "layout.json": _layout,
}

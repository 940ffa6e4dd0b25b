"""Whether the members of one sample agree: ids that lead somewhere, spans, sizes.

What `socialcli.records` cannot see, which reads one member at a time. Every check yields a
`Problem` per thing that is wrong and takes the `Links` of the sample, which know the ids every
member offers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.records.consistency import LISTS
from socialcli.vision import layouts


@dataclass(frozen=True)
class Problem:
    """One thing wrong: in which member (``picture`` and ``tar`` included), what, and the mend.

    ``warning``: it is no malformation, and no command refuses the sample for it.
    """

    member: str
    what: str
    mend: str
    warning: bool = False

    def __str__(self) -> str:
        what = f"warning: {self.what}" if self.warning else self.what
        return f"{self.member}: {what}: {self.mend}"


def again(suffix: str) -> str:
    return f"make it again with `socialcli {records.WRITERS[suffix]}`"


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
        """A problem if ``id`` is not None and member ``target`` has no such id; a warning where the
        sample lacks that member, which may lie in a shard of its own."""
        known = self.ids(target)
        if id is None or known is None or id in known:
            return
        name = {"entities.json": "entity", "boxes.json": "box", "people.json": "person"}[target]
        if target not in self.parsed:
            what = f"{where} links to {name} {id}, but the sample has no {target}"
            mend = "join the shard that holds it: a.tar+b.tar"
            yield Problem(suffix, what, mend, warning=True)
        else:
            what = f"{where} links to {name} {id}, which {target} does not have"
            yield Problem(suffix, what, again(suffix))


def sizes(suffix: str, record: Any, size: tuple[int, int] | None) -> Iterator[Problem]:
    """Width and height as the member states them against the upright picture's."""
    if size and hasattr(record, "width") and (record.width, record.height) != size:
        what = f"is for {record.width}x{record.height} pixels, the picture has {size[0]}x{size[1]}"
        yield Problem(suffix, what, f"coordinates are of the upright picture; {again(suffix)}")


def _entities(record: records.Entities, links: Links) -> Iterator[Problem]:
    name = "entities.json"
    caption = links.parsed.get("caption.json")
    for e in record.entities:
        if caption is not None and caption.text[e.start : e.end] != e.text:
            there = short(caption.text[e.start : e.end], 40)
            what = f"entity {e.id} is {short(e.text, 40)!r}, but characters {e.start} to {e.end} of"
            mend = "the caption has changed since; run `socialcli extract-entities` again"
            yield Problem(name, f"{what} the caption are {there!r}", mend)


def _boxes(record: records.Boxes, links: Links) -> Iterator[Problem]:
    for box in record.boxes:
        yield from links.follow(f"box {box.id}", "boxes.json", "entities.json", box.entity)


def _masks(record: records.Masks, links: Links) -> Iterator[Problem]:
    name = "masks.json"
    boxes = links.parsed.get("boxes.json")
    entity_of = {b.id: b.entity for b in boxes.boxes} if boxes else {}
    for mask in record.masks:
        where = f"mask {mask.id}"
        yield from links.follow(where, name, "boxes.json", mask.box)
        yield from links.follow(where, name, "entities.json", mask.entity)
        named = entity_of.get(mask.box) if mask.box is not None else None
        if None not in (mask.entity, named) and mask.entity != named:
            what = f"{where} is of entity {mask.entity}, its box {mask.box} of entity {named}"
            yield Problem(name, what, again(name))


def _people(record: records.People, links: Links) -> Iterator[Problem]:
    name = "people.json"
    for person in record.people:
        where = f"person {person.id}"
        yield from links.follow(where, name, "boxes.json", person.box)
        yield from links.follow(where, name, "entities.json", person.entity)


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
    for number, person in enumerate(rows["person"].tolist()):
        yield from links.follow(f"row {number}", records.IDENTITY, "people.json", person)


CHECKS: dict[str, Callable[[Any, Links], Iterator[Problem]]] = {
    "entities.json": _entities,
    "boxes.json": _boxes,
    "masks.json": _masks,
    "people.json": _people,
    "interactions.json": _interactions,
    "layout.json": _layout,
    records.IDENTITY: _identity,
}

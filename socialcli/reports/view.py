"""One sample made ready for looking at: its readable records, and a colour for everything in it.

A thing has one colour wherever it shows: an entity's words in the caption, its boxes, its masks
and its person. Words that nothing in the picture was found for have none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.vision import layouts, masks

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.shards import Sample

# Okabe and Ito's colours, which people with any common colour blindness tell apart; their blue is
# lightened to be seen on photographs.
PALETTE = (
    "#56B4E9", "#E69F00", "#00B484", "#F0E442", "#CC79A7", "#FF6A3D", "#3D8BFF", "#F5F5F5",
)  # fmt: skip
# Things of one sample that are drawn and named. Above it a picture shows nothing but lines, and
# finding places for names takes time that grows with the square.
MOST_THINGS = {
    "entities": 200, "triples": 200, "boxes": 150, "masks": 60, "people": 100, "interactions": 100,
}  # fmt: skip


@dataclass
class View:
    """One sample: records that could be read (empty ones where not), and what was wrong."""

    key: str
    shard: str
    picture: bytes | None
    caption: records.Caption | None = None
    entities: list[records.Entity] = field(default_factory=list)
    triples: list[records.Triple] = field(default_factory=list)
    boxes: list[records.Box] = field(default_factory=list)
    masks: list[records.Mask] = field(default_factory=list)
    people: list[records.Person] = field(default_factory=list)
    interactions: list[records.Interaction] = field(default_factory=list)
    generated: records.Generated | None = None
    layout: records.Layout | None = None
    problems: list[str] = field(default_factory=list)
    # ("entity" | "box" | "mask" | "person", id) -> index into PALETTE, not yet wrapped around
    colour_of: dict[tuple[str, int], int] = field(default_factory=dict)

    def wrong(self, what: str) -> None:
        """Note a problem, once however often the sample is drawn."""
        if what not in self.problems:
            self.problems.append(what)

    def colour(self, kind: str, id: int | None) -> str | None:
        """The colour of a thing as ``#rrggbb``, None where it has none."""
        number = self.colour_of.get((kind, id)) if id is not None else None
        return None if number is None else PALETTE[number % len(PALETTE)]

    def entity(self, id: int | None) -> records.Entity | None:
        return next((e for e in self.entities if e.id == id), None) if id is not None else None

    def box(self, id: int | None) -> records.Box | None:
        return next((b for b in self.boxes if b.id == id), None) if id is not None else None

    def person(self, id: int | None) -> records.Person | None:
        return next((p for p in self.people if p.id == id), None) if id is not None else None

    def body(self, person: records.Person) -> records.XYXY | None:
        """Where a person is: body box, else head or face."""
        box = self.box(person.box)
        if box is not None:
            return box.xyxy
        face = person.face.xyxy if person.face is not None else None
        return person.xyxy or person.head or face

    def label(self, box: records.Box) -> str:
        """A box in a word or two: its entity's head noun or its own label, and who it is."""
        names = [p.identity for p in self.people if p.box == box.id and p.identity]
        return " · ".join([self._word(box), *names])

    def _word(self, box: records.Box) -> str:
        entity = self.entity(box.entity)
        return box.label or (entity.head if entity is not None else "") or "box"

    def segments(self) -> list[tuple[records.XYXY, str, str]]:
        """(normalised box, prompt, colour) of each segment of the layout whose mask can be read."""
        segments = []
        for segment in self.layout.segments if self.layout is not None else []:
            try:
                box = layouts.box(masks.check(segment.rle))
                segments.append((box, segment.prompt, segment.colour))
            except SampleFailed as error:
                self.wrong(f"layout.json: segment {segment.id}: {error}")
        return segments

    def phrases(self) -> list[tuple[str, int | None]]:
        """The caption cut into (text, entity id or None), in order, nothing left out."""
        if self.caption is None:
            return []
        text, at, cut = self.caption.text, 0, []
        for entity in sorted(self.entities, key=lambda e: (e.start, -e.end)):
            if entity.start < at or entity.end > len(text) or entity.end <= entity.start:
                continue  # nested in another, or of another caption
            cut += [(text[at : entity.start], None), (text[entity.start : entity.end], entity.id)]
            at = entity.end
        return [(part, id) for part, id in [*cut, (text[at:], None)] if part]

    def relations(self) -> list[str]:
        """Who does what to whom, in words: annotated interactions first, then the caption's."""
        relations = []
        for i in self.interactions:
            person = self.person(i.subject)
            box = self.box(i.subject_box) or (self.box(person.box) if person else None)
            subject = self._word(box) if box is not None else "person"
            relations.append(" ".join(w for w in (subject, i.verb, i.object_label) if w))
        for t in self.triples:
            subject_, object_ = self.entity(t.subject), self.entity(t.object)
            words = [e.lemma for e in (subject_,) if e] + [t.verb]
            relations.append(" ".join(words + [e.lemma for e in (object_,) if e]))
        return list(dict.fromkeys(relations))

    def words(self) -> str:
        """Everything of the sample that one may search for, in one line."""
        caption = self.caption.text if self.caption is not None else ""
        labels = dict.fromkeys(self.label(box) for box in self.boxes)
        return " ".join([self.key, caption, *labels, *self.relations(), *self.problems])


def view(sample: Sample, shard: str, parsed: dict[str, Any], problems: list[Any]) -> View:
    """A sample's `View`, from what `validation.read_members` gave."""
    try:
        picture = sample.picture()
    except SampleFailed:
        picture = None
    one = View(sample.key, shard, picture, problems=[str(p) for p in problems])
    if sample.problem:
        one.problems.insert(0, sample.problem)
    one.caption = parsed.get("caption.json")
    one.generated = parsed.get("generated.json")
    one.layout = parsed.get("layout.json")
    if "entities.json" in parsed:
        one.entities = parsed["entities.json"].entities
        one.triples = parsed["entities.json"].triples
    for name in ("boxes", "masks", "people", "interactions"):
        if f"{name}.json" in parsed:
            setattr(one, name, getattr(parsed[f"{name}.json"], name))
    for name, most in MOST_THINGS.items():
        things = getattr(one, name)
        if len(things) > most:
            one.wrong(f"{name}: {most} of {len(things):,} are drawn")
            setattr(one, name, things[:most])
    _colours(one)
    return one


def _colours(view: View) -> None:
    """Entities that something links to first, in the caption's order; then what has no entity."""
    colour = view.colour_of
    linked = {b.entity for b in view.boxes} | {m.entity for m in view.masks}
    linked |= {p.entity for p in view.people}
    count = 0

    def new(kind: str, id: int, *same: tuple[str, int | None]) -> None:
        nonlocal count
        for other in same:
            if other in colour:
                colour[kind, id] = colour[other]  # type: ignore[index]
                return
        colour[kind, id] = count
        count += 1

    for entity in view.entities:
        if entity.id in linked:
            new("entity", entity.id)
    for box in view.boxes:
        new("box", box.id, ("entity", box.entity))
    for mask in view.masks:
        new("mask", mask.id, ("box", mask.box), ("entity", mask.entity))
    for person in view.people:
        new("person", person.id, ("box", person.box), ("entity", person.entity))


def decode(view: View, side: int) -> Image | None:
    """The upright picture, no side longer than ``side``; None where it cannot be shown."""
    from PIL import Image

    from socialcli.vision import images

    if view.picture is None:
        return None
    try:
        picture = images.decode(view.picture)
    except SampleFailed as error:
        view.wrong(str(error))
        return None
    scale = min(side / max(picture.size), 1.0)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if size == picture.size:
        return picture
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)

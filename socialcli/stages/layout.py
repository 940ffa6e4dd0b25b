"""Plan pictures from annotated ones: who stands where, as a colour segment picture with prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from socialcli import records
from socialcli.config import check_bounds, option
from socialcli.errors import SampleFailed, SampleFiltered, UsageError
from socialcli.pipeline.stage import Item, Noted, Stage
from socialcli.vision import layouts

if TYPE_CHECKING:
    import numpy

    from socialcli.backends import ModelSpec
    from socialcli.shards import Sample

SHAPES = ("masks", "boxes")
PROMPTS = ("phrases", "nouns")
REFERENCES = ("none", "own", "identity")
UNNAMED = "nothing in the picture is what --called names"
DROPPED = "skeletons that stand outside their segment are left out"


@dataclass
class Config:
    shapes: str = option(
        "masks", "What a segment is: the thing's mask, or its box.", choices=SHAPES
    )
    prompts: str = option(
        "phrases", "A segment's prompt: its phrase in the caption (a woman in red), or its noun.",
        choices=PROMPTS,
    )  # fmt: skip
    prompt: str = option("", "The prompt of the whole picture; default: the caption.")
    background: str = option(
        "", "The prompt of what no segment covers; default: what the caption names and nothing "
        "in the picture was found for (a park), else the caption.",
    )  # fmt: skip
    called: list[str] = option(
        [], "What prompts call a subject: NAME=TEXT, as 'woman=a <ada>'; NAME is a person's "
        "identity, or the noun of a thing. Repeatable."
    )  # fmt: skip
    overlap: str = option(
        "front", "Where segments overlap: front gives the pixels to the smaller one, error.",
        choices=layouts.OVERLAPS,
    )  # fmt: skip
    fill: str = option(
        "background", "What no segment covers: a segment of its own, the nearest one's, error.",
        choices=layouts.FILLS,
    )  # fmt: skip
    skeletons: bool = option(True, "Give segments the skeletons of their people.")
    references: str = option(
        "none", "A segment's reference: own (this very picture), identity (another picture of the "
        "same person, of generate's --references), none.", choices=REFERENCES,
    )  # fmt: skip
    min_area: float = option(
        0.005, "Leave out things that cover less of the picture.", at_least=0, at_most=1
    )
    most: int = option(12, "Segments at most, the largest ones.", at_least=1, at_most=255)
    batch_size: int = option(16, "Samples at once.", affects_result=False, at_least=1)


class LayoutStage(Stage):
    """See `Stage`."""

    READS = ("caption.json", "entities.json", "boxes.json")
    WRITES = ("layout.json",)
    DOMAIN = False
    config_type = Config

    def models(self, config: Config) -> list[ModelSpec]:
        return []

    def load(self, config: Config) -> None:
        check_bounds(Config, vars(config))
        for one in config.called:
            if not all(part.strip() for part in one.partition("=")[::2]):
                raise UsageError(f"--called {one}: expected NAME=TEXT, as 'woman=a <ada>'")

    def prepare(self, config: Config, sample: Sample) -> dict[str, bytes]:
        return of_sample(config, sample)

    def process(
        self, config: Config, loaded: None, items: list[Item]
    ) -> list[dict[str, bytes] | Exception]:
        """Layouts are made by `prepare`, on threads."""
        return [item.work for item in items]


def of_sample(config: Config, sample: Sample) -> dict[str, bytes]:
    """The layout of an annotated sample.

    Raises:
        SampleFailed: it lacks what a layout is made of. SampleFiltered: nothing in it is large
            enough.
    """
    boxes = sample.record(records.Boxes)
    entities = {e.id: e for e in sample.record(records.Entities).entities}
    people = sample.record(records.People).people if sample.has("people.json") else []
    things = _things(config, sample, boxes)
    least = config.min_area * boxes.width * boxes.height
    named = [
        (box, mask, prompt)
        for box, mask in things
        if mask.sum() > least and (prompt := _prompt(config, box, entities))
    ]
    named = sorted(named, key=lambda thing: -int(thing[1].sum()))[: config.most]
    named.sort(key=lambda thing: thing[0].id)
    if not named:
        raise SampleFiltered("nothing with a name is large enough for a segment")
    names = [f"'{prompt}' (box {box.id})" for box, _, prompt in named]
    parts, rest = layouts.partition(
        [mask for _, mask, _ in named], names, (), config.overlap, config.fill
    )
    counts = Counter(box.entity for box in boxes.boxes)
    alone = {entity for entity, count in counts.items() if count == 1}
    names_of = [
        {box.label.lower(), *_names(box, entities, people, alone)} - {""} for box, _, _ in named
    ]
    called = _called(config, names_of)
    whole = config.prompt or _renamed(
        sample.record(records.Caption).text,
        {named[n][0].entity: text for n, text in called.items()}, entities,
    ).strip()  # fmt: skip
    segments = []
    dropped = False
    order = sorted(range(len(parts)), key=lambda n: int(named[n][1].sum()))
    for number, ((box, _, prompt), part) in enumerate(zip(named, parts, strict=True)):
        if not part.any():
            continue  # all of it is behind others
        person = next((p for p in people if _is_of(p, box, alone)), None)
        segment = _segment(config, sample, box, called.get(number, prompt), part, entities, person)
        segment.depth = float(order.index(number))
        if segment.keypoints is not None and layouts.outside(
            segment.keypoints, layouts.box(dict(segment.rle))
        ):
            segment.keypoints, dropped = None, True
        segments.append(segment)
    if rest.any():
        shown = {box.entity for box in boxes.boxes} | {p.entity for p in people}
        places = [e.text for e in entities.values() if e.id not in shown and e.kind == "object"]
        prompt = config.background or ", ".join(places) or whole
        segments.append(_background(rest, prompt, [s.id for s in segments]))
    for segment, colour in zip(segments, layouts.colours(len(segments)), strict=True):
        segment.colour = layouts.BACKGROUND if segment.background else colour
    model = records.Model("layout", options={"shapes": config.shapes})
    layout = records.Layout(boxes.width, boxes.height, whole, segments, model=model)
    members = {"layout.json": records.dump(layout)}
    notes = {"skeletons_left_out": DROPPED} if dropped else {}
    if len(called) < len(config.called):
        notes["not_called"] = UNNAMED
    return Noted(members, notes) if notes else members


def _names(
    box: records.Box,
    entities: dict[int, records.Entity],
    people: list[records.Person],
    alone: set[int | None],
) -> set[str]:
    """What a box may be called by: its noun, who it is."""
    entity = entities.get(box.entity or 0)
    identities = {p.identity for p in people if _is_of(p, box, alone) and p.identity}
    return {entity.lemma.lower(), entity.head.lower(), *identities} if entity else identities


def _called(config: Config, names_of: list[set[str]]) -> dict[int, str]:
    """Which thing prompts call what, by ``--called``.

    Raises:
        SampleFailed: one name is that of several things.
    """
    texts: dict[int, str] = {}
    for one in config.called:
        name, _, text = (part.strip() for part in one.partition("="))
        those = [n for n, names in enumerate(names_of) if {name, name.lower()} & names]
        if len(those) > 1:
            raise SampleFailed(
                f"--called {one}: {len(those)} things in the picture are a {name}; call a person "
                "by the identity that people.json has"
            )
        texts |= dict.fromkeys(those, text)
    return texts


def _renamed(
    caption: str, called: Mapping[int | None, str], entities: dict[int, records.Entity]
) -> str:
    """A caption with other words for some of its entities."""
    spans = [(entities[n].start, entities[n].end, t) for n, t in called.items() if n in entities]
    for start, end, text in sorted(spans, reverse=True):
        caption = caption[:start] + text + caption[end:]
    return caption


def _things(
    config: Config, sample: Sample, boxes: records.Boxes
) -> list[tuple[records.Box, numpy.ndarray]]:
    """(box, (height, width) bool) of everything that may become a segment."""
    import numpy

    from socialcli.vision import masks

    if config.shapes == "masks":
        if not sample.has("masks.json"):
            raise sample.lacking("masks.json", instead="or give --shapes boxes")
        record = sample.record(records.Masks)
        if (record.width, record.height) != (boxes.width, boxes.height):
            raise SampleFailed(
                f"masks.json is for {record.width}x{record.height} pixels, boxes.json for "
                f"{boxes.width}x{boxes.height}: make one of them again"
            )
        of_box = {mask.box: mask for mask in record.masks}
        return [(b, masks.decode(of_box[b.id].rle)) for b in boxes.boxes if b.id in of_box]
    things = []
    for box in boxes.boxes:
        left, top, right, bottom = box.xyxy
        mask = numpy.zeros((boxes.height, boxes.width), bool)
        mask[
            max(0, round(top * boxes.height)) : max(0, round(bottom * boxes.height)),
            max(0, round(left * boxes.width)) : max(0, round(right * boxes.width)),
        ] = True
        things.append((box, mask))
    return things


def _prompt(config: Config, box: records.Box, entities: dict[int, records.Entity]) -> str:
    """What a segment shall show. Of several things that one phrase names each is one of them."""
    entity = entities.get(box.entity or 0)
    if entity is None:
        return _article(box.label.strip())
    if entity.count != 1 or config.prompts == "nouns":
        return _article(entity.lemma.strip() or entity.head.strip())
    return entity.text.strip()


def _article(noun: str) -> str:
    if not noun or noun.split()[0].lower() in ("a", "an", "the"):
        return noun
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def _is_of(person: records.Person, box: records.Box, alone: set[int | None]) -> bool:
    """Whether a box is a person's. One without a box has that of their entity, where the entity has
    one box alone: of "two men" nobody knows which."""
    return person.box == box.id if person.box is not None else (
        person.entity in alone and person.entity is not None and person.entity == box.entity
    )  # fmt: skip


def _segment(
    config: Config,
    sample: Sample,
    box: records.Box,
    prompt: str,
    part: numpy.ndarray,
    entities: dict[int, records.Entity],
    person: records.Person | None,
) -> records.Segment:
    from socialcli.vision import masks

    entity = entities.get(box.entity or 0)
    word = entity.lemma if entity is not None else box.label
    identity = person.identity if person is not None else None
    references = []
    if config.references == "own":
        references = [records.SegmentReference(sample.key or "own", word)]
    elif config.references == "identity" and identity:
        references = [records.SegmentReference(identity, word)]
    return records.Segment(
        id=box.id,
        colour="#000000",  # set when all are there
        prompt=prompt,
        rle=masks.encode(part),
        word=word.lower() or None,
        subject=identity or None,
        keypoints=person.keypoints if person is not None and config.skeletons else None,
        references=references,
        entity=box.entity,
        person=person.id if person is not None else None,
    )


def _background(rest: numpy.ndarray, prompt: str, taken: list[int]) -> records.Segment:
    from socialcli.records.consistency import free_id
    from socialcli.vision import masks

    return records.Segment(
        free_id(taken), layouts.BACKGROUND, prompt, masks.encode(rest), background=True
    )

"""Counts and histograms over shards, in memory that does not grow with the number of samples."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.vision import boxes

if TYPE_CHECKING:
    from socialcli.shards import Sample

MOST_NAMES = 20_000  # different names counted at a time; the rarest go when there are more
SECTORS = 16  # of the gaze rose; sector 0 is centred on "to the right", then clockwise
AREAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7)  # bounds between bins, shares of the picture


@dataclass
class Tally:
    """How often each name occurs, keeping the frequent ones exactly enough to rank them."""

    counts: Counter[str] = field(default_factory=Counter)
    total: int = 0

    def add(self, name: str) -> None:
        self.total += 1
        self.counts[name[:80]] += 1
        if len(self.counts) > 2 * MOST_NAMES:
            self.counts = Counter(dict(self.counts.most_common(MOST_NAMES)))

    def top(self, count: int) -> list[tuple[str, int]]:
        """The most frequent names; equal ones by name, so that the order never changes."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:count]


@dataclass
class Member:
    """One member over all samples: how many have it, and its size."""

    samples: int = 0
    size: int = 0  # bytes


@dataclass
class Statistics:
    """Everything `inspect` counts. Histograms map a bin (a number) to how many fell in it."""

    samples: int = 0
    pictures: int = 0  # samples that have one
    size: int = 0  # bytes
    filtered: int = 0  # by a sidecar's note
    unusable: int = 0  # damaged, duplicate or unsafe
    problems: int = 0  # members that could not be read
    members: dict[str, Member] = field(default_factory=dict)
    things: Counter[str] = field(default_factory=Counter)  # captions, entities, boxes...
    models: dict[str, Counter[str]] = field(default_factory=dict)
    sources: dict[str, Counter[str]] = field(default_factory=dict)  # things -> whose they are

    words: Counter[int] = field(default_factory=Counter)  # of a caption
    entities: Counter[int] = field(default_factory=Counter)  # per picture
    kinds: Counter[str] = field(default_factory=Counter)
    nouns: Tally = field(default_factory=Tally)
    verbs: Tally = field(default_factory=Tally)
    triples: Tally = field(default_factory=Tally)
    boxes: Counter[int] = field(default_factory=Counter)  # per picture
    box_areas: Counter[int] = field(default_factory=Counter)  # bins of `AREAS`
    box_scores: Counter[int] = field(default_factory=Counter)  # tenths
    mask_ious: Counter[int] = field(default_factory=Counter)  # twentieths
    people: Counter[int] = field(default_factory=Counter)  # per picture
    keypoints: list[Counter[int]] = field(
        default_factory=lambda: [Counter() for _ in records.COCO_KEYPOINTS]
    )  # visibility of each of the 17
    gaze: Counter[int] = field(default_factory=Counter)  # sectors
    gaze_ends: Counter[str] = field(default_factory=Counter)  # inside, outside, unknown
    interactions: Tally = field(default_factory=Tally)

    def add(self, sample: Sample, parsed: dict[str, Any], problems: int) -> None:
        """Count one sample, whose records are ``parsed`` (as `checking.read_members` gives)."""
        self.samples += 1
        self.unusable += sample.problem is not None
        self.problems += problems
        self.pictures += any(name in sample.members for name in records.IMAGE_SUFFIXES)
        for suffix, data in sample.members.items():
            member = self.members.setdefault(suffix, Member())
            member.samples += 1
            member.size += len(data)
            self.size += len(data)
        for suffix, record in parsed.items():
            _COUNT.get(suffix, _nothing)(self, record)
            self._made_by(suffix, record)
            for what, source in records.sources.parts(record):
                counts = self.sources.setdefault(what, Counter())
                if source in counts or len(counts) < 50:
                    counts[source] += 1

    def _made_by(self, suffix: str, record: Any) -> None:
        models = dict(getattr(record, "models", {}))
        if getattr(record, "model", None) is not None:
            models[suffix.partition(".")[0]] = record.model
        for role, model in models.items():
            revision = f" @ {model.revision[:12]}" if model.revision else ""
            named = f"{model.backend}{': ' + model.model if model.model else ''}{revision}"
            counts = self.models.setdefault(role, Counter())
            if named in counts or len(counts) < 50:
                counts[named] += 1


def _nothing(statistics: Statistics, record: Any) -> None:
    pass


def _caption(s: Statistics, record: records.Caption) -> None:
    s.things["captions"] += 1
    s.words[len(record.text.split())] += 1


def _entities(s: Statistics, record: records.Entities) -> None:
    s.things["entities"] += len(record.entities)
    s.things["triples"] += len(record.triples)
    s.entities[len(record.entities)] += 1
    lemmas = {}
    for entity in record.entities:
        lemmas[entity.id] = entity.lemma
        s.kinds[entity.kind] += 1
        s.nouns.add(entity.lemma)
    for triple in record.triples:
        s.verbs.add(triple.verb)
        words = (lemmas.get(triple.subject), triple.verb, lemmas.get(triple.object or 0))
        s.triples.add(" ".join(word for word in words if word))


def _boxes(s: Statistics, record: records.Boxes) -> None:
    s.things["boxes"] += len(record.boxes)
    s.boxes[len(record.boxes)] += 1
    for box in record.boxes:
        area = boxes.area(box.xyxy)
        s.box_areas[sum(area >= bound for bound in AREAS)] += 1
        if box.score is not None:
            s.box_scores[min(int(box.score * 10), 9)] += 1


def _masks(s: Statistics, record: records.Masks) -> None:
    s.things["masks"] += len(record.masks)
    for mask in record.masks:
        if mask.iou is not None:
            s.mask_ious[min(int(mask.iou * 20), 19)] += 1


def _people(s: Statistics, record: records.People) -> None:
    s.things["people"] += len(record.people)
    s.people[len(record.people)] += 1
    for person in record.people:
        s.things["faces"] += person.face is not None
        if person.keypoints is not None:
            s.things["poses"] += 1
            points = person.keypoints.points
            if len(points) == len(s.keypoints) and person.keypoints.layout == "coco17":
                for counts, point in zip(s.keypoints, points, strict=True):
                    counts[int(point[2])] += 1
        if person.gaze is not None:
            _gaze(s, person.gaze)


def _gaze(s: Statistics, gaze: records.Gaze) -> None:
    s.things["gazes"] += 1
    ends = {True: "inside", False: "outside", None: "unknown"}
    s.gaze_ends[ends[gaze.inside]] += 1
    if gaze.vector is not None and any(gaze.vector):
        turn = math.atan2(gaze.vector[1], gaze.vector[0]) / (2 * math.pi)
        s.gaze[round(turn * SECTORS) % SECTORS] += 1


def _identity(s: Statistics, rows: Any) -> None:
    s.things["identities"] += len(rows)


def _interactions(s: Statistics, record: records.Interactions) -> None:
    s.things["interactions"] += len(record.interactions)
    for interaction in record.interactions:
        words = (interaction.verb, interaction.object_label)
        s.interactions.add(" ".join(word for word in words if word))


def _layout(s: Statistics, record: records.Layout) -> None:
    s.things["segments"] += len(record.segments)


_COUNT: dict[str, Any] = {
    "caption.json": _caption,
    "entities.json": _entities,
    "boxes.json": _boxes,
    "masks.json": _masks,
    "people.json": _people,
    "interactions.json": _interactions,
    "layout.json": _layout,
    records.IDENTITY: _identity,
}


def spread(counts: Counter[int], most: int) -> list[tuple[str, int]]:
    """A histogram of whole numbers as (name, count) of at most ``most`` bins, without gaps.

    Few different numbers get a bin each; many are put into bins of equal width, whose names are
    the numbers they span.
    """
    if not counts:
        return []
    low, high = min(counts), max(counts)
    width = max(1, math.ceil((high - low + 1) / most))
    low -= low % width
    bins: Counter[int] = Counter()
    for number, count in counts.items():
        bins[(number - low) // width] += count
    rows = []
    for number in range((high - low) // width + 1):
        start = low + number * width
        name = str(start) if width == 1 else f"{start}–{start + width - 1}"
        rows.append((name, bins[number]))
    return rows


def quantile(counts: Counter[int], share: float) -> int | None:
    """The smallest number that at least ``share`` of all counted do not exceed."""
    left = share * sum(counts.values())
    for number in sorted(counts):
        left -= counts[number]
        if left <= 0:
            return number
    return None

"""How far the annotations of one shard set agree with those of another, kind by kind.

Each function compares one member of one sample and gives plain counts, which add up over samples;
`rates` turns the sums into what people read. Overlap is intersection over union (IoU).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any, NamedTuple

from socialcli import records

if TYPE_CHECKING:
    from socialcli.records import XYXY

OVERLAP = 0.5  # IoU from which two boxes are the same
_ROWS = 256  # boxes that are compared with all others at a time
ANY = "any"
SOURCES = (ANY, records.sources.ANNOTATION, "estimate")  # what of a side is compared
REACH = 0.1  # of the person's height: how far off a keypoint may be (PCK)

Counts = dict[str, float]


class End(NamedTuple):
    """One end of an interaction: the ids of its person and its box, and what the object is called;
    any of them may be missing."""

    person: int | None
    box: int | None
    label: str


def matched(
    predicted: list[XYXY], truth: list[XYXY], least: float = OVERLAP
) -> list[tuple[int, int]]:
    """Pairs (predicted, truth) that overlap by ``least`` or more, the best first, each box once."""
    import numpy

    from socialcli.vision import boxes

    if not predicted or not truth:
        return []
    predicted_, truth_ = numpy.array(predicted), numpy.array(truth)
    near, values = [], []
    for start in range(0, len(predicted), _ROWS):
        overlap = boxes.iou(predicted_[start : start + _ROWS], truth_)
        rows, columns = numpy.nonzero(overlap >= least)
        near.append(numpy.stack([rows + start, columns], axis=1))
        values.append(overlap[rows, columns])
    order = numpy.argsort(-numpy.concatenate(values), kind="stable")
    pairs: list[tuple[int, int]] = []
    free, wanted = numpy.ones(len(predicted), bool), numpy.ones(len(truth), bool)
    for i, j in numpy.concatenate(near)[order]:
        if free[i] and wanted[j]:
            pairs.append((int(i), int(j)))
            free[i] = wanted[j] = False
    return pairs


def triples(predicted: records.Entities, truth: records.Entities) -> Counts:
    """Whether the first (subject, verb, object) of ``truth`` is among those of ``predicted``."""

    def named(parsed: records.Entities) -> list[tuple[str, str, str]]:
        lemma = {e.id: e.lemma for e in parsed.entities}
        return [
            (lemma.get(t.subject, ""), t.verb, lemma.get(t.object, "") if t.object else "")
            for t in parsed.triples
        ]

    wanted = named(truth)[:1]
    return {"wanted": len(wanted), "right": sum(t in named(predicted) for t in wanted)}


def boxes(predicted: records.Boxes, truth: records.Boxes) -> Counts:
    """Boxes at the same place; ``named``: with the same label as well."""
    pairs = matched([b.xyxy for b in predicted.boxes], [b.xyxy for b in truth.boxes])
    named = sum(_named(predicted.boxes[i].label, truth.boxes[j].label) for i, j in pairs)
    return {
        "found": len(predicted.boxes), "wanted": len(truth.boxes), "right": len(pairs),
        "named": named,
    }  # fmt: skip


def _named(found: str, label: str) -> bool:
    """Whether a label has the words of the true one: "man" and "old man", "dining table" itself."""
    words, wanted = (" ".join(text.lower().split()) for text in (found, label))
    return bool(wanted) and f" {wanted} " in f" {words} "


def masks(predicted: records.Masks, truth: records.Masks) -> Counts:
    """Sum of the IoUs of predicted masks, each with the true mask it overlaps most."""
    from socialcli.vision import masks as rle

    # Masks of pictures of different sizes have no pixel in common.
    same = (predicted.width, predicted.height) == (truth.width, truth.height)
    overlaps = rle.overlaps([m.rle for m in predicted.masks], [m.rle for m in truth.masks if same])
    total = float(overlaps.max(axis=1).sum()) if overlaps.size else 0.0
    return {"found": len(predicted.masks), "wanted": len(truth.masks), "iou": total}


def faces(predicted: records.People, truth: records.People) -> Counts:
    """Faces at the same place."""
    predicted_boxes = [p.face.xyxy for p in predicted.people if p.face]
    true_boxes = [p.face.xyxy for p in truth.people if p.face]
    return {
        "found": len(predicted_boxes),
        "wanted": len(true_boxes),
        "right": len(matched(predicted_boxes, true_boxes)),
    }


def _where(person: records.Person, places: dict[int, XYXY]) -> XYXY:
    """Body box, else the box around the visible keypoints, else the head."""
    body = places.get(person.box) if person.box is not None else None
    body = body or person.xyxy
    if body is None and person.keypoints:
        seen = [(x, y) for x, y, v in person.keypoints.points if v > 0]
        if seen:
            xs, ys = zip(*seen, strict=True)
            body = (min(xs), min(ys), max(xs), max(ys))
    face = person.face.xyxy if person.face else None
    return body or person.head or face or (0.0, 0.0, 0.0, 0.0)


def _places(side: Callable[[type], Any]) -> dict[int, XYXY]:
    """Where each box of one side is."""
    known = side(records.Boxes)
    return {b.id: b.xyxy for b in known.boxes} if known else {}


def _same_people(
    predicted: records.People,
    truth: records.People,
    predicted_boxes: dict[int, XYXY],
    true_boxes: dict[int, XYXY],
) -> list[tuple[records.Person, records.Person, XYXY]]:
    """People of both sides that are the same one, with the true body box."""
    places = [_where(p, true_boxes) for p in truth.people]
    pairs = matched([_where(p, predicted_boxes) for p in predicted.people], places)
    return [(predicted.people[i], truth.people[j], places[j]) for i, j in pairs]


def keypoints(
    pairs: list[tuple[records.Person, records.Person, XYXY]],
    aspect: float = 1.0,
    unasked: Container[int] = (),
) -> Counts:
    """Visible true keypoints, and how many were found within a tenth of the person's height.

    Args:
        aspect: the picture's width over its height: distances are those in pixels.
        unasked: see `_unasked`. Of others without a skeleton every keypoint was missed.
    """
    wanted = right = 0
    for one, other, place in pairs:
        if other.keypoints is None or one.id in unasked:
            continue
        if one.keypoints is None:
            wanted += sum(v == 2 for _, _, v in other.keypoints.points)
            continue
        if len(other.keypoints.points) != len(one.keypoints.points):
            continue  # of another layout
        reach = REACH * (place[3] - place[1])
        for a, b in zip(one.keypoints.points, other.keypoints.points, strict=True):
            if b[2] == 2:
                wanted += 1
                near = math.hypot((a[0] - b[0]) * aspect, a[1] - b[1]) <= reach
                right += near and a[2] > 0  # one that nobody labelled may lie anywhere
    return {"wanted": wanted, "right": right}


def _unasked(whole: records.People, kept: records.People, source: str) -> set[int]:
    """The ids of people in whom nobody looked for a skeleton, so that none is missed: everybody
    without one where neither a model nor another person's skeleton says that they were looked for,
    and who has one of another source.

    Args:
        whole: of one side. kept: the parts of it that are of ``source``.
    """
    without = {p.id for p in kept.people if p.keypoints is None}
    model = kept.models.get("pose")
    annotated = records.sources.of(model) == records.sources.ANNOTATION
    asked = model is not None and (
        source == ANY or annotated == (source == records.sources.ANNOTATION)
    )
    if asked or len(without) < len(kept.people):
        without &= {p.id for p in whole.people if p.keypoints is not None}
    return without


def gazes(pairs: list[tuple[records.Person, records.Person, XYXY]], samples: Any) -> Counts:
    """Angles between gaze vectors (degrees, added to ``samples``) and distances of gaze points."""
    wanted = 0
    for one, other, _ in pairs:
        if one.gaze is None or other.gaze is None:
            continue
        if one.gaze.vector and other.gaze.vector:
            (ax, ay), (bx, by) = one.gaze.vector, other.gaze.vector
            turn = math.atan2(ax * by - ay * bx, ax * bx + ay * by)
            samples["gaze angle"].append(abs(math.degrees(turn)))
            wanted += 1
        if one.gaze.point and other.gaze.point:
            samples["gaze distance"].append(math.dist(one.gaze.point, other.gaze.point))
    return {"wanted": wanted}


def interactions(
    predicted: records.Interactions,
    truth: records.Interactions,
    predicted_boxes: dict[int, XYXY],
    true_boxes: dict[int, XYXY],
    people: list[tuple[records.Person, records.Person, XYXY]] | None,
    bodies: tuple[dict[int, XYXY], dict[int, XYXY]] = ({}, {}),
) -> Counts:
    """Interactions with the same verb, by the same person, with the same thing or person. Of the
    ways to pair them, each once, the one with the most pairs counts: their order says nothing.

    Args:
        people: those that are the same, None where a side has no people; whoever says that they
            are there. bodies: of both sides, where each person is.
    """
    pairs = people or []
    same = {one.id: other.id for one, other, _ in pairs}
    same_by_box = {one.box: other.id for one, other, _ in pairs if one.box is not None}

    def alike(found: End, true: End) -> bool:
        """Whether they are the same person, or where the truth names none, or a side says nothing
        of people, at the same place, or where the truth has no place either, called the same:
        nobody does something to nothing ("smile") elsewhere."""
        who, box, label = found
        if true.person is not None and people is not None:
            return true.person in (same.get(who or 0), same_by_box.get(box or 0))
        if true.person is not None or true.box is not None:
            here = predicted_boxes.get(box or 0) or bodies[0].get(who or 0)
            there = true_boxes.get(true.box or 0) or bodies[1].get(true.person or 0)
            return bool(here and there and matched([here], [there]))
        return label == true.label and bool(label or (who is None and box is None))

    ends = [_ends(other) for other in truth.interactions]
    candidates = [
        [
            number
            for number, other in enumerate(truth.interactions)
            if one.verb == other.verb
            and all(alike(*end) for end in zip(_ends(one), ends[number], strict=True))
        ]
        for one in predicted.interactions
    ]
    wanted = len(truth.interactions)
    hits = _most_pairs(candidates, wanted)
    return {"found": len(predicted.interactions), "wanted": wanted, "right": hits}


def _most_pairs(candidates: list[list[int]], count: int) -> int:
    """How many can have a partner of their own, given the candidates, of so many, of each."""
    taken: set[int] = set()
    for choice in candidates:
        if free := [one for one in choice if one not in taken]:
            taken.add(free[0])
    if len(taken) == min(len({n for c in candidates for n in c}), sum(map(bool, candidates))):
        return len(taken)  # as they come: there cannot be more
    import numpy
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    rows = [row for row, choice in enumerate(candidates) for _ in choice]
    columns = [number for choice in candidates for number in choice]
    table = csr_array((numpy.ones(len(rows)), (rows, columns)), shape=(len(candidates), count))
    return int((maximum_bipartite_matching(table, perm_type="column") >= 0).sum())


def _ends(one: records.Interaction) -> tuple[End, End]:
    """Who does it, and to whom or what."""
    label = " ".join(one.object_label.lower().split())
    return End(one.subject, one.subject_box, ""), End(one.object_person, one.object, label)


class Agreement:
    """Sums over samples; `add` one sample after the other, then `rates`."""

    def __init__(self, found_source: str = ANY, truth_source: str = ANY) -> None:
        """Args:
        found_source, truth_source: which parts of a side count (`SOURCES`).
        """
        self.found_source, self.truth_source = found_source, truth_source
        self.sources: dict[str, dict[str, Counter[str]]] = {"found": {}, "truth": {}}
        self.counts: dict[str, Counts] = defaultdict(lambda: defaultdict(float))
        self.values: dict[str, list[float]] = defaultdict(list)
        self.samples = 0

    def add(self, predicted: Callable[[type], Any], truth: Callable[[type], Any]) -> None:
        """One sample: each side gives its record of a kind, or None where it has none."""
        self.samples += 1
        predicted_boxes, true_boxes = (
            _places(predicted),
            _places(truth),
        )  # people stand there whoever says so
        given, given_truth = predicted, truth
        predicted = self._of("found", predicted, self.found_source)
        truth = self._of("truth", truth, self.truth_source)

        def both(kind: type) -> tuple[Any, Any] | None:
            pair = predicted(kind), truth(kind)
            return None if None in pair else pair

        def note(kind: str, counts: Counts) -> None:
            for name, value in counts.items():
                self.counts[kind][name] += value

        if pair := both(records.Entities):
            note("triples", triples(*pair))
        if pair := both(records.Boxes):
            note("boxes", boxes(*pair))
        if pair := both(records.Masks):
            note("masks", masks(*pair))
        same: list[Any] = []
        if pair := both(records.People):
            same = _same_people(*pair, predicted_boxes, true_boxes)
            note("faces", faces(*pair))
            whole = pair[0] if self.found_source == ANY else given(records.People)
            unasked = _unasked(whole, pair[0], self.found_source)
            note("keypoints", keypoints(same, pair[1].width / pair[1].height, unasked))
            note("gaze", gazes(same, self.values))
        if pair := both(records.Interactions):
            sides = given(records.People), given_truth(records.People)
            everybody = None if None in sides else _same_people(*sides, predicted_boxes, true_boxes)
            found_at, true_at = (
                {p.id: _where(p, places) for p in side.people} if side is not None else {}
                for side, places in zip(sides, (predicted_boxes, true_boxes), strict=True)
            )
            counts = interactions(
                *pair, predicted_boxes, true_boxes, everybody, (found_at, true_at)
            )
            note("interactions", counts)

    def _of(self, side: str, given: Callable[[type], Any], wanted: str) -> Callable[[type], Any]:
        """A side's records with the parts of the wanted source alone; these are counted."""

        def record(kind: type) -> Any:
            whole = given(kind)
            if whole is None or wanted == ANY:
                return whole
            return records.sources.only(whole, annotated=wanted == records.sources.ANNOTATION)

        for kind in records.MEMBERS.values():
            if (one := record(kind)) is not None:
                for what, source in records.sources.parts(one):
                    self.sources[side].setdefault(what, Counter())[source] += 1
        return record

    def rates(self) -> list[tuple[str, str, float, int]]:
        """Rows (kind, measure, value, out of how many)."""
        import statistics

        rows = []

        def share(kind: str, measure: str, part: str, whole: str) -> None:
            counts = self.counts.get(kind, {})
            if counts.get(whole):
                rows.append((kind, measure, counts[part] / counts[whole], int(counts[whole])))

        share("triples", "right", "right", "wanted")
        for kind in ("boxes", "faces", "interactions"):
            share(kind, "recall", "right", "wanted")
            share(kind, "precision", "right", "found")
        share("boxes", "rightly named, of those at the right place", "named", "right")
        share("masks", "mean IoU", "iou", "found")
        share("keypoints", f"within {REACH} of the height", "right", "wanted")
        for kind, measure in (
            ("gaze angle", "median, degrees"),
            ("gaze distance", "median, of the picture's sides"),
        ):
            if self.values[kind]:
                middle = statistics.median(self.values[kind])
                rows.append((kind, measure, middle, len(self.values[kind])))
        return rows


def markdown(agreement: Agreement, left_out: str = "") -> str:
    """`Agreement.rates` as a Markdown table, and what was left out in words."""
    lines = [f"{agreement.samples} samples compared{left_out}.", "", "| | measure | | of |",
             "|---|---|--:|--:|"]  # fmt: skip
    lines += [f"| {k} | {m} | {v:.3f} | {n} |" for k, m, v, n in agreement.rates()]
    return "\n".join(lines) + "\n"

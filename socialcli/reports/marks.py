"""What is drawn over a picture, as plain geometry: the sheet paints it, the page writes it as SVG.

Coordinates are pixels of the picture as shown. Masks are bitmaps and not in here.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from socialcli import records
from socialcli.records import keypoint_layouts
from socialcli.reports.view import View

LAYERS = ("layout", "masks", "boxes", "faces", "skeletons", "interactions", "gaze")
INK = "#FFFFFF"  # of lines that belong to no single thing
_NOTHING = "#BBBBBB"
_MOST_LABELS = 80  # names on one picture; each is placed off all others
_MOST_POINTS = 50  # gaze points of one person
_MOST = 20_000  # marks on one picture
_TITLE = 200  # characters of a title

Rect = tuple[float, float, float, float]


@dataclass(frozen=True)
class Mark:
    """One thing to draw.

    ``kind``: rect (left, top, right, bottom), line and arrow (x, y, x, y), dot and ring (x, y,
    radius), label (left, top, right, bottom, with ``text`` inside).
    """

    layer: str
    kind: str
    at: tuple[float, ...]
    colour: str
    text: str = ""
    dashed: bool = False
    title: str = ""  # more, for who points at it


@dataclass(frozen=True)
class Scale:
    """Sizes that suit a picture shown ``width`` x ``height`` pixels large."""

    width: int
    height: int

    @property
    def line(self) -> float:
        return min(max(math.sqrt(self.width * self.height) / 230, 1.0), 4.0)

    @property
    def text(self) -> float:
        return min(max(math.sqrt(self.width * self.height) / 32, 10.0), 26.0)

    def point(self, at: Sequence[float]) -> tuple[float, float]:
        return at[0] * self.width, at[1] * self.height

    def rect(self, xyxy: Sequence[float]) -> Rect:
        return (*self.point(xyxy[:2]), *self.point(xyxy[2:]))


def marks(view: View, scale: Scale, measure: Callable[[str, float], float]) -> list[Mark]:
    """Everything to draw over one picture but its masks, in drawing order.

    Args:
        measure: the width of a text at a font size, both in pixels.
    """
    verbs, arrows = _interactions(view, scale)
    drawn = chain(_boxes(view, scale), _people(view, scale), arrows, _gaze(view, scale))
    return [*islice(drawn, _MOST), *_labels(view, scale, verbs, measure)]


def _boxes(view: View, scale: Scale) -> Iterator[Mark]:
    for box in view.boxes:
        score = f" {box.score:.2f}" if box.score is not None else ""
        colour = view.colour("box", box.id) or _NOTHING
        title = f"box {box.id}: {view.label(box)[:_TITLE]}{score}"
        yield Mark("boxes", "rect", scale.rect(box.xyxy), colour, title=title)
    for person in view.people:
        if person.xyxy is not None and view.box(person.box) is None:
            colour = view.colour("person", person.id) or _NOTHING
            title = f"person {person.id}"
            yield Mark("boxes", "rect", scale.rect(person.xyxy), colour, title=title)


def _people(view: View, scale: Scale) -> Iterator[Mark]:
    for person in view.people:
        colour = view.colour("person", person.id) or _NOTHING
        name = f"person {person.id}" + (f", {person.identity[:_TITLE]}" if person.identity else "")
        if person.face is not None:
            score = f" {person.face.score:.2f}" if person.face.score is not None else ""
            at = scale.rect(person.face.xyxy)
            yield Mark("faces", "rect", at, colour, dashed=True, title=f"{name}: face{score}")
            for landmark in person.face.landmarks or []:
                yield Mark("faces", "dot", (*scale.point(landmark), scale.line * 0.9), colour)
        elif person.head is not None:
            at = scale.rect(person.head)
            yield Mark("faces", "rect", at, colour, dashed=True, title=f"{name}: head")
    for person in view.people:
        if person.keypoints is not None:
            colour = view.colour("person", person.id) or _NOTHING
            yield from _skeleton(person.keypoints, f"person {person.id}", colour, scale)
    for box in view.boxes:
        if box.keypoints is not None:
            colour = view.colour("box", box.id) or _NOTHING
            yield from _skeleton(box.keypoints, f"box {box.id}", colour, scale)


def _skeleton(
    keypoints: records.Keypoints, whose: str, colour: str, scale: Scale
) -> Iterator[Mark]:
    points = keypoints.points
    layout = keypoint_layouts.layout(keypoints.layout)
    known = layout is not None and len(points) == len(layout.names)
    for a, b in layout.limbs if layout is not None and known else ():
        if points[a][2] > 0 and points[b][2] > 0:
            at = (*scale.point(points[a]), *scale.point(points[b]))
            hidden = min(points[a][2], points[b][2]) < 2
            yield Mark("skeletons", "line", at, colour, dashed=hidden)
    for number, point in enumerate(points):
        if point[2] > 0:
            name = layout.names[number] if layout is not None and known else str(number)
            x, y = scale.point(point)
            kind = "dot" if point[2] == 2 else "ring"
            joint = (x, y, scale.line * 1.35)
            yield Mark("skeletons", kind, joint, INK, title=f"{whose}: {name}")


# ---------------------------------------------------------------- gaze


def _eyes(person: records.Person, scale: Scale) -> tuple[float, float] | None:
    """Where a person's gaze begins: between the eyes, else the middle of face or head."""
    pairs: list[list[Sequence[float]]] = []
    if person.face is not None and person.face.landmarks:
        pairs.append([person.face.landmarks[0], person.face.landmarks[1]])
    if person.keypoints is not None and len(person.keypoints.points) == 17:
        pairs.append([p[:2] for p in person.keypoints.points[1:3] if p[2] > 0])
    for xyxy in (person.face.xyxy if person.face else None, person.head):
        if xyxy is not None:
            pairs.append([xyxy[:2], xyxy[2:]])
    for pair in pairs:
        if len(pair) == 2:
            return scale.point([(pair[0][i] + pair[1][i]) / 2 for i in (0, 1)])
    return None


def _gaze(view: View, scale: Scale) -> Iterator[Mark]:
    """A ray to the point looked at; where there is none, along the vector: to the picture's edge
    if the point lies outside, else a quarter of the picture long."""
    for person in view.people:
        start = _eyes(person, scale)
        gaze = person.gaze
        if gaze is None:
            continue
        colour = view.colour("person", person.id) or _NOTHING
        outside = gaze.inside is False
        title = f"person {person.id} looks {'out of the picture' if outside else 'here'}"
        end = scale.point(gaze.point) if gaze.point is not None and not outside else None
        for point in (gaze.points or [])[:_MOST_POINTS]:
            yield Mark("gaze", "dot", (*scale.point(point), scale.line * 0.8), colour)
        if end is not None:
            yield Mark("gaze", "ring", (*end, scale.line * 3), colour, title=title)
        elif start is not None and gaze.vector is not None:
            reach = _to_edge(start, gaze.vector, scale)
            if not outside:
                reach = min(reach, 0.25 * max(scale.width, scale.height))
            end = (start[0] + gaze.vector[0] * reach, start[1] + gaze.vector[1] * reach)
        if start is not None and end is not None and math.dist(start, end) > 1:
            yield Mark("gaze", "arrow", (*start, *end), colour, dashed=outside, title=title)


def _to_edge(start: Sequence[float], vector: Sequence[float], scale: Scale) -> float:
    """How far it is from ``start`` along ``vector`` to the picture's edge, in pixels."""
    reach = math.inf
    for at, step, side in zip(start, vector, (scale.width, scale.height), strict=True):
        if abs(step) > 1e-6:
            reach = min(reach, ((side if step > 0 else 0) - at) / step)
    return max(reach, 0.0) if math.isfinite(reach) else 0.0


# ---------------------------------------------------------------- interactions and labels


@dataclass(frozen=True)
class _Verb:
    """Words to stand at a place."""

    text: str
    x: float
    y: float


def _interactions(view: View, scale: Scale) -> tuple[list[_Verb], list[Mark]]:
    """One arrow per pair from who acts to what is acted on, with all its verbs."""
    pairs: dict[tuple[Rect, Rect | None], list[str]] = {}
    for i in view.interactions:
        subject = _place(view, i.subject_box, i.subject)
        if subject is not None:
            key = (subject, _place(view, i.object, i.object_person))
            pairs.setdefault(key, []).append(i.verb)
    verbs, arrows = [], []
    for (subject, thing), words in pairs.items():
        text = ", ".join(dict.fromkeys(words))[:_TITLE]
        start = scale.point(_middle(subject))
        if thing is None:
            verbs.append(_Verb(text, *start))
            continue
        end = scale.point(_middle(thing))
        verbs.append(_Verb(text, (start[0] + end[0]) / 2, (start[1] + end[1]) / 2))
        if math.dist(start, end) > 4 * scale.line:
            arrows.append(Mark("interactions", "arrow", (*start, *end), INK, title=text))
    return verbs, arrows


def _place(view: View, box_id: int | None, person_id: int | None) -> records.XYXY | None:
    box, person = view.box(box_id), view.person(person_id)
    corners = box.xyxy if box is not None else view.body(person) if person is not None else None
    return (corners[0], corners[1], corners[2], corners[3]) if corners else None  # JSON gives lists


def _middle(xyxy: Sequence[float]) -> tuple[float, float]:
    return (xyxy[0] + xyxy[2]) / 2, (xyxy[1] + xyxy[3]) / 2


def _labels(
    view: View, scale: Scale, verbs: list[_Verb], measure: Callable[[str, float], float]
) -> list[Mark]:
    """Name tags of boxes and verbs, moved so that they stay in the picture and off each other."""
    size = scale.text
    high, pad = size * 1.35, size * 0.35
    room = min(scale.width - 2 * pad, 0.6 * scale.width + 40)
    taken: list[Rect] = []
    labels = []

    def put(layer: str, text: str, colour: str, spots: list[tuple[float, float, float]]) -> None:
        """Each spot is x, y of the tag's top and where along the tag x is: 0 left, 1 right."""
        text = _fitted(text, size, room, measure)
        wide = measure(text, size) + 2 * pad
        best: tuple[float, Rect] | None = None
        for number, (x, y, anchor) in enumerate(spots):
            x = min(max(x - anchor * wide, 0.0), max(scale.width - wide, 0.0))
            y = min(max(y, 0.0), max(scale.height - high, 0.0))
            rect = (x, y, x + wide, y + high)
            cost = sum(_common(rect, other) for other in taken) + number * 1e-3
            if best is None or cost < best[0]:
                best = (cost, rect)
        if best is not None:
            taken.append(best[1])
            labels.append(Mark(layer, "label", best[1], colour, text))

    for verb in verbs[:_MOST_LABELS]:  # at the middle of their arrow, or nearby
        steps = (0.0, high, -high, 2 * high, -2 * high)
        spots = [(verb.x, verb.y - high / 2 + step, 0.5) for step in steps]
        put("interactions", verb.text, INK, spots)
    for segment, words, shade in view.segments()[:_MOST_LABELS]:
        left, top, right, bottom = scale.rect(segment)
        spots = [((left + right) / 2, y - high / 2, 0.5) for y in ((top + bottom) / 2, top, bottom)]
        put("layout", words, shade, spots)
    named = [(b.xyxy, view.label(b), view.colour("box", b.id)) for b in view.boxes]
    for person in view.people:
        if view.box(person.box) is None and person.identity:
            xyxy = view.body(person)
            if xyxy is not None:
                named.append((xyxy, person.identity, view.colour("person", person.id)))
    for xyxy, text, colour in named[:_MOST_LABELS]:
        left, top, right, bottom = scale.rect(xyxy)
        heights = (top - high, top, bottom - high, bottom)
        spots = [(x, y, anchor) for y in heights for x, anchor in ((left, 0.0), (right, 1.0))]
        put("boxes", text, colour or _NOTHING, spots)
    return labels


def _fitted(text: str, size: float, room: float, measure: Callable[[str, float], float]) -> str:
    """The text, cut with an ellipsis where it is wider than ``room``."""
    text = " ".join(text.split())[:200]
    if measure(text, size) <= room:
        return text
    fits = bisect_left(
        range(len(text)), True, key=lambda n: measure(text[: n + 1] + "…", size) > room
    )
    return text[:fits].rstrip() + "…"


def _common(a: Rect, b: Rect) -> float:
    """Area that two rectangles share."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return wide * high if wide > 0 and high > 0 else 0.0

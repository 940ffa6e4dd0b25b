"""A scene: who does what where, drawn, with everything about it known.

`scene(seed, index, size, split)` is a pure function. `plan` decides, without drawing; `paint`
draws a plan. Pixel coordinates are those of the finished picture: x right, y down, (0, 0) its
top left corner, so that dividing by ``size`` gives the records' normalised coordinates.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from socialcli.miniature.world import animals, places
from socialcli.miniature.world.canvas import Canvas, Pen, Point
from socialcli.miniature.world.faces import face_box, head_box, landmarks
from socialcli.miniature.world.identity import SKINS, Identity, Look, Outfit
from socialcli.miniature.world.people import Pose, draw_back, draw_front, draw_mid
from socialcli.miniature.world.planning import Placed, Plan, plan
from socialcli.miniature.world.things import draw_thing
from socialcli.miniature.world.vocabulary import ANIMALS, LIGHTS, Pair

if TYPE_CHECKING:
    import numpy
    from PIL import Image

XYXY = tuple[float, float, float, float]


@dataclass
class SceneThing:
    """One visible thing or animal."""

    id: int  # the instance number; 1, 2, ... over things and people together
    look: Look
    box: XYXY  # pixels, tight around the visible mask
    mask: numpy.ndarray  # bool (size, size), visible pixels


@dataclass
class ScenePerson:
    """One visible person; every coordinate in pixels of the finished picture."""

    id: int
    who: Identity
    wear: Outfit
    box: XYXY
    mask: numpy.ndarray
    head: XYXY
    face: XYXY | None  # None where most of the face is hidden
    landmarks: list[Point]  # five, left and right as the viewer sees them
    keypoints: list[tuple[float, float, int]]  # COCO's 17, visibility 0, 1, 2
    gaze: Point | None  # None: what is looked at lies outside the picture
    gaze_vector: Point
    gaze_at: int | None  # id of what is looked at


@dataclass
class Relation:
    """Person ``subject`` does ``pair.verb`` to ``object``; both are instance ids."""

    pair: Pair
    subject: int
    object: int


@dataclass
class Scene:
    """A picture and everything that is true about it."""

    key: str
    split: str
    size: int
    image: Image.Image
    place: str
    light: str
    people: list[ScenePerson]
    things: list[SceneThing]
    relations: list[Relation]  # the first is what the caption is about
    caption_seed: str
    instances: numpy.ndarray  # (size, size) uint8, whose pixel

    @property
    def everything(self) -> list[ScenePerson | SceneThing]:
        """People, then things."""
        return [*self.people, *self.things]


def scene(seed: int, index: int, size: int = 96, split: str = "train") -> Scene:
    """Scene ``index`` of a split: the same bytes for the same arguments, anywhere.

    Args:
        seed: which world; scenes of different seeds are unrelated.
        index: 0, 1, ...
        size: side of the square picture in pixels, 32 or more.
        split: "train", "val" or "test": whose people, subjects and verb-object pairs.
    """
    return paint(plan(seed, index, split), size)


def paint(plan: Plan, size: int) -> Scene:
    """Draw a plan at ``size`` pixels and read the ground truth off the drawing."""
    factor = 3 if size <= 160 else 2
    canvas = Canvas(size, factor)
    unit = size * factor / 100
    page = Pen(canvas, 0.0, 0.0, unit, mirror=False)
    rng = random.Random(plan.paint_seed)
    places.draw_place(page, plan.place, plan.horizon, rng)

    numbers: dict[tuple[int, str, int], int] = {}
    for placed in plan.placed:
        for i in range(len(placed.who)):
            numbers[id(placed), "person", i] = len(numbers) + 1
        for i in range(len(placed.act.props)):
            numbers[id(placed), "prop", i] = len(numbers) + 1
        _shadow(page, placed)
        _draw(Pen(canvas, placed.x * unit, placed.ground * unit, placed.scale * unit,
                  placed.mirror), placed, numbers)  # fmt: skip
    if plan.foreground:
        places.draw_foreground(page, plan.place, rng)
    image, instances = canvas.finish(LIGHTS[plan.light])

    px = size / 100
    people: list[ScenePerson] = []
    things: list[SceneThing] = []
    boxes = _boxes(instances, len(numbers))
    for placed in plan.placed:
        for i, who in enumerate(placed.who):
            number = numbers[id(placed), "person", i]
            if boxes[number] is not None:
                people.append(_person(placed, i, who, number, boxes, instances, px, numbers))
        for i, prop in enumerate(placed.act.props):
            number = numbers[id(placed), "prop", i]
            box = boxes[number]
            if box is not None:
                things.append(SceneThing(number, prop.look, box, instances == number))
    relations: list[Relation] = []
    for placed in [plan.placed[plan.main], *plan.placed]:
        if placed.pair is None or any(
            r.subject == numbers[id(placed), "person", 0] for r in relations
        ):
            continue
        target = ("person", 1) if placed.pair.object == "person" else ("prop", 0)
        subject, target_id = numbers[id(placed), "person", 0], numbers[(id(placed), *target)]
        if boxes[subject] is not None and boxes[target_id] is not None:
            relations.append(Relation(placed.pair, subject, target_id))
    return Scene(plan.key, plan.split, size, image, plan.place, plan.light, people, things,
                 relations, plan.caption_seed, instances)  # fmt: skip


def _boxes(instances: numpy.ndarray, count: int) -> list[XYXY | None]:
    """Tight box of every instance in pixels, None where fewer than 6 pixels are visible."""
    from scipy import ndimage

    corners: list[XYXY | None] = [None] * (count + 1)
    for at, area in enumerate(ndimage.find_objects(instances, max_label=count)):
        if area is not None:
            rows, columns = area
            if int((instances[area] == at + 1).sum()) >= 6:
                corners[at + 1] = (columns.start, rows.start, columns.stop, rows.stop)
    return corners


def _shadow(page: Pen, placed: Placed) -> None:
    for pose in placed.act.people:
        x, _ = placed.to_picture((pose.x, 0.0))
        page.ellipse(x, placed.ground, 0.2 * placed.scale * pose.k, 0.035 * placed.scale,
                     (120, 116, 112))  # fmt: skip


def _draw(pen: Pen, placed: Placed, numbers: dict[tuple[int, str, int], int]) -> None:
    act = placed.act
    passes = {"back": draw_back, "mid": draw_mid, "front": draw_front}
    for step in act.order:
        name = step[0]
        if name in passes:
            i = step[1]
            pen.id = numbers[id(placed), "person", i]
            passes[name](pen, act.people[i], placed.who[i], placed.wear[i])
        elif name == "thing":
            prop = act.props[step[1]]
            pen.id = numbers[id(placed), "prop", step[1]]
            draw = animals.draw_animal if prop.look.kind in ANIMALS else draw_thing
            if prop.flip:
                x, y = pen.to_pixels((prop.x, 0.0))
                turned = Pen.__new__(Pen)
                turned.draw, turned.ox, turned.oy, turned.scale = pen.draw, x, y, pen.scale
                turned.sx, turned.mirror, turned.id = -pen.sx, not pen.mirror, pen.id
                draw(turned, prop.look, 0.0, prop.y, prop.k)
            else:
                draw(pen, prop.look, prop.x, prop.y, prop.k)
        elif name == "finger":
            pen.id = numbers[id(placed), "person", step[1]]
            pen.limb(step[2], step[3], SKINS[placed.who[step[1]].skin])
        else:
            pen.id = 0
            pen.limb(step[1], step[2], step[3])


def _person(
    placed: Placed,
    i: int,
    who: Identity,
    number: int,
    boxes: list[XYXY | None],
    instances: numpy.ndarray,
    px: float,
    numbers: dict[tuple[int, str, int], int],
) -> ScenePerson:
    pose: Pose = placed.act.people[i]
    size = instances.shape[0]

    def pixel(p: Point) -> Point:
        x, y = placed.to_picture(p)
        return x * px, y * px

    def box(b: XYXY) -> XYXY:
        (x0, y0), (x1, y1) = pixel((b[0], b[1])), pixel((b[2], b[3]))
        return (
            max(0.0, min(x0, x1)),
            max(0.0, y0),
            min(float(size), max(x0, x1)),
            min(float(size), y1),
        )

    at = landmarks(pose, who)
    # Anatomical left is the figure's +x side (it faces the viewer), unless the act is mirrored.
    left, right = (0, 1) if placed.mirror else (1, 0)
    named: list[Point] = [at["nose"], at[f"eye{left}"], at[f"eye{right}"], at[f"ear{left}"],
                          at[f"ear{right}"]]  # fmt: skip
    for joint in (pose.shoulder, pose.elbow, pose.hands.__getitem__, pose.hip, pose.knee,
                  pose.feet.__getitem__):  # fmt: skip
        named += [joint(left), joint(right)]
    keypoints = []
    for x, y in map(pixel, named):
        if not (0 <= x < size and 0 <= y < size):
            keypoints.append((min(max(x, 0.0), float(size)), min(max(y, 0.0), float(size)), 0))
        else:
            keypoints.append((x, y, 2 if instances[int(y), int(x)] == number else 1))
    five = [
        at[f"eye{right}"],
        at[f"eye{left}"],
        at["nose"],
        at[f"mouth{right}"],
        at[f"mouth{left}"],
    ]
    seen = [pixel(p) for p in five]
    shown = sum(
        0 <= x < size and 0 <= y < size and instances[int(y), int(x)] == number for x, y in seen
    )
    head = box(head_box(pose, who))
    hx, hy = (head[0] + head[2]) / 2, (head[1] + head[3]) / 2
    tx, ty = pixel(pose.target or pose.head)
    length = math.hypot(tx - hx, ty - hy) or 1.0
    sees = placed.sees[i]
    target: int | None = None
    if sees is not None:
        other, kind, j = sees
        target = numbers[id(other), kind, j]
        target = target if boxes[target] is not None else None
    inside = 0 <= tx < size and 0 <= ty < size and sees is not None
    return ScenePerson(
        id=number,
        who=who,
        wear=placed.wear[i],
        box=boxes[number],  # type: ignore[arg-type]
        mask=instances == number,
        head=head,
        face=box(face_box(pose, who)) if shown >= 3 else None,
        landmarks=seen,
        keypoints=keypoints,
        gaze=(tx, ty) if inside else None,
        gaze_vector=((tx - hx) / length, (ty - hy) / length),
        gaze_at=target if inside else None,
    )

"""Deciding a scene: who does what to what, where they stand, and where the eyes go.

A plan knows nothing of pixels: the picture is 100 units wide and high whatever its size.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from socialcli.miniature.world import acts, acts_people, animals
from socialcli.miniature.world.canvas import Point
from socialcli.miniature.world.identity import Identity, Outfit, draw_identity, draw_look, outfit
from socialcli.miniature.world.poses import Act, stand
from socialcli.miniature.world.vocabulary import (
    FREQUENT,
    FREQUENT_WEIGHTS,
    LIGHTS,
    OUTDOORS,
    PLACES,
    Pair,
    special_turn,
)


@dataclass
class Placed:
    """One act in the picture: pixel = origin + (±x, y) * scale, in picture units (0 to 100)."""

    act: Act
    pair: Pair | None  # None: people who just stand there
    who: list[Identity]
    wear: list[Outfit]
    x: float = 0.0
    ground: float = 92.0
    scale: float = 60.0
    mirror: bool = False
    # Whose person or prop each person looks at: (act, "person" | "prop", index); None: outside.
    sees: list[tuple[Placed, str, int] | None] = field(default_factory=list)

    def to_picture(self, p: Point) -> Point:
        """Act's frame -> picture units."""
        across = (-p[0] if self.mirror else p[0]) * self.scale
        return self.x + across, self.ground + p[1] * self.scale

    def to_local(self, p: Point) -> Point:
        """Picture units -> act's frame."""
        dx = (p[0] - self.x) / self.scale
        return -dx if self.mirror else dx, (p[1] - self.ground) / self.scale


@dataclass
class Plan:
    """All decisions of a scene; nothing in it depends on the picture's size."""

    key: str
    split: str
    place: str
    light: str
    horizon: float
    placed: list[Placed]  # back to front
    main: int  # which of them the caption is about
    foreground: bool
    paint_seed: str
    caption_seed: str


def plan(seed: int, index: int, split: str = "train") -> Plan:
    """Decide everything about a scene; cheap, draws nothing."""
    rng = random.Random(f"world {seed} {split} {index}")
    taken: set[int] = set()
    turn = special_turn(split, index)
    main = _act(rng, split, turn or rng.choices(FREQUENT, FREQUENT_WEIGHTS)[0], taken)
    crowd = [main]
    budget = 4 - len(main.who)
    roll = rng.random()
    if roll < 0.22:
        pair = rng.choices(FREQUENT, FREQUENT_WEIGHTS)[0]
        second = _act(rng, split, pair, taken)
        if len(second.who) <= budget and _width(second.act) + _width(main.act) < 1.95:
            crowd.append(second)
            budget -= len(second.who)
    elif roll < 0.50:
        for _ in range(rng.choice((1, 1, 2))):
            if budget:
                crowd.append(_bystander(rng, split, taken))
                budget -= 1
    place = rng.choice(list(PLACES) if fits_indoors(main) else list(OUTDOORS))
    light = rng.choices(list(LIGHTS), (0.62, 0.14, 0.14, 0.10))[0]
    arrange(rng, crowd)
    direct_eyes(rng, crowd)
    order = sorted(range(len(crowd)), key=lambda i: crowd[i].ground)
    return Plan(
        key=f"world-{seed}-{split}-{index:07d}",
        split=split,
        place=place,
        light=light,
        horizon=rng.uniform(58, 70),
        placed=[crowd[i] for i in order],
        main=order.index(0),
        foreground=rng.random() < 0.15,
        paint_seed=f"paint {seed} {split} {index}",
        caption_seed=f"caption {seed} {split} {index}",
    )


def fits_indoors(placed: Placed) -> bool:
    return placed.act.object not in (
        "horse", "elephant", "cow", "sheep", "bicycle", "kite", "wheelbarrow", "cart"
    )  # fmt: skip


def _act(rng: random.Random, split: str, pair: Pair, taken: set[int]) -> Placed:
    camera = draw_look(rng, split, "camera") if pair.verb == "photograph" else None
    if pair.object == "person":
        child: list[bool | None] = [None, None]
        if pair.verb in acts_people.CHILD:
            at, often = acts_people.CHILD[pair.verb]
            if rng.random() < often:
                child[at] = True
                child[1 - at] = False
            else:
                child = [False, False]
        who = [draw_identity(rng, split, taken, c) for c in child]
        act = acts_people.stage(rng, pair.verb, who[0].stature, who[1].stature, camera)
    else:
        who = [draw_identity(rng, split, taken, None)]
        look = draw_look(rng, split, pair.object)
        act = acts.stage(rng, pair.verb, who[0].stature, look, camera)
    for pose in act.people:
        pose.solve()
    return Placed(act, pair, who, [outfit(rng, w.female) for w in who])


def _bystander(rng: random.Random, split: str, taken: set[int]) -> Placed:
    who = draw_identity(rng, split, taken, None)
    pose = stand(0.0, who.stature)
    if rng.random() < 0.3:
        pose.hands[1] = (0.13 * pose.k, -0.31 * pose.k)
    pose.solve()
    act = Act("", "", [pose], [], [("back", 0), ("mid", 0), ("front", 0)], [None])
    return Placed(act, None, [who], [outfit(rng, who.female)])


def _width(act: Act) -> float:
    left, _, right = act.extent()
    return right - left


def arrange(rng: random.Random, crowd: list[Placed]) -> None:
    """Side by side from left to right, as large as fits, some bystanders further back."""
    row = list(crowd)
    behind: list[Placed] = []
    for placed in crowd[1:]:
        wide = sum(_width(p.act) for p in row)
        if placed.pair is None and (wide > 1.8 or rng.random() < 0.4):
            row.remove(placed)
            behind.append(placed)
    rng.shuffle(row)
    gap = 0.05
    widths = [_width(p.act) for p in row]
    tallest = max(-p.act.extent()[1] for p in crowd)
    total = sum(widths) + gap * (len(row) - 1)
    scale = min(96 / total, 88 / tallest, 82) * rng.uniform(0.86, 1.0)
    ground = rng.uniform(max(84, tallest * scale + 3), 97)
    slack = 98 - total * scale
    x = 1 + rng.random() * slack
    for placed, width in zip(row, widths, strict=True):
        placed.mirror = rng.random() < 0.5
        placed.scale = scale
        placed.ground = min(98.0, ground + rng.uniform(-1.0, 1.0))
        _put(placed, x)
        x += (width + gap) * scale
    for placed in behind:
        placed.mirror = rng.random() < 0.5
        placed.scale = scale * rng.uniform(0.72, 0.85)
        placed.ground = ground - rng.uniform(7, 12)
        width = _width(placed.act) * placed.scale
        heads = [h for p in row for h in (p.to_picture(q.head) for q in p.act.people)]
        for _ in range(12):  # somewhere no head in front hides the face
            left = rng.uniform(1, 99 - width)
            _put(placed, left)
            x0, y0 = placed.to_picture(placed.act.people[0].head)
            if all(math.hypot(x0 - hx, y0 - hy) > 0.36 * scale for hx, hy in heads):
                break
        heads.append((x0, y0))


def _put(placed: Placed, left: float) -> None:
    low, _, high = placed.act.extent()
    placed.x = left + (high if placed.mirror else -low) * placed.scale


def direct_eyes(rng: random.Random, crowd: list[Placed]) -> None:
    """Give every pair of eyes its target."""
    for placed in crowd:
        for i, pose in enumerate(placed.act.people):
            aim = placed.act.looks[i]
            sees = (placed, *aim) if aim is not None else _something_else(rng, crowd, placed, i)
            placed.sees.append(sees)
            if sees is not None:
                other, kind, j = sees
                pose.target = placed.to_local(other.to_picture(_aim(other, (kind, j))))
            else:
                angle = rng.choice((0.0, math.pi)) + rng.uniform(-0.5, 0.3)
                hx, hy = placed.to_picture(pose.head)
                far = (hx + 200 * math.cos(angle), hy + 200 * math.sin(angle))
                pose.target = placed.to_local(far)


def _something_else(
    rng: random.Random, crowd: list[Placed], placed: Placed, i: int
) -> tuple[Placed, str, int] | None:
    """What eyes that are not on their own act rest on; one in five looks out of the picture."""
    others = [
        (other, "person", j)
        for other in crowd
        for j in range(len(other.act.people))
        if (other is not placed) or j != i
    ]
    others += [
        (other, "prop", j)
        for other in crowd
        if other is not placed
        for j in range(len(other.act.props))
    ]
    return rng.choice(others) if others and rng.random() < 0.8 else None


def _aim(placed: Placed, what: tuple[str, int]) -> Point:
    """The point of a thing (its middle) or person (the face) that eyes rest on; local frame."""
    kind, i = what
    if kind == "person":
        return placed.act.people[i].head
    prop = placed.act.props[i]
    if prop.look.kind in animals.BUILDS:
        build = animals.BUILDS[prop.look.kind]
        x = build.head[0] * (-1 if prop.flip else 1)
        return prop.x + 0.8 * x * prop.k, prop.y + (build.head[1] - build.legs) * prop.k
    if prop.look.kind == "umbrella":
        return prop.x, prop.y - 0.42 * prop.k
    if prop.look.kind == "balloon":
        return prop.x, prop.y - 0.45 * prop.k
    return prop.centre

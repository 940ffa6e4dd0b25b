"""The poses that acts are made of, and what an act is.

An act has its own frame: x to the right, ground at y = 0, an adult one unit tall, the one who
acts near x = 0 facing +x.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from socialcli.miniature.world import animals, things
from socialcli.miniature.world.canvas import Point
from socialcli.miniature.world.identity import Look
from socialcli.miniature.world.people import Pose

FOOT = -0.035  # height of an ankle over the ground


@dataclass
class Prop:
    """One thing or animal of an act; ``flip`` turns it to face -x."""

    look: Look
    x: float
    y: float
    k: float = 1.0
    flip: bool = False

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Its extent in the act's frame."""
        table = animals.BOXES if self.look.kind in animals.BOXES else things.BOXES
        left, top, right, bottom = (v * self.k for v in table[self.look.kind])
        if self.flip:
            left, right = -right, -left
        return self.x + left, self.y + top, self.x + right, self.y + bottom

    @property
    def centre(self) -> Point:
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


# What an act draws, in order: ("back" | "mid" | "front", person), ("thing", prop),
# ("stroke", points, width, colour) for strings, leashes, food: nobody's pixels.
Step = tuple[Any, ...]


@dataclass
class Act:
    """People, props and what they do; indices are positions in ``people`` and ``props``."""

    verb: str
    object: str
    people: list[Pose]
    props: list[Prop]
    order: list[Step]
    looks: list[tuple[str, int] | None] = field(default_factory=list)  # ("prop" | "person", i)

    def extent(self) -> tuple[float, float, float]:
        """Left, top and right of everything, in the act's frame."""
        xs, tops = [], []
        for p in self.people:
            hx, hy = p.head
            xs += [hx - 0.21 * p.k, hx + 0.21 * p.k]
            tops.append(hy - 0.23 * p.k)
            for x, y in (*p.hands, *p.feet):
                xs += [x - 0.06, x + 0.06]
                tops.append(y - 0.05)
        for prop in self.props:
            left, top, right, _ = prop.box
            xs += [left, right]
            tops.append(top)
        return min(xs), min(tops), max(xs)


def stand(x: float, k: float) -> Pose:
    """On both feet, arms hanging."""
    return Pose(
        x,
        -0.325 * k,
        [(x - 0.17 * k, -0.27 * k), (x + 0.17 * k, -0.27 * k)],
        [(x - 0.075 * k, FOOT * k), (x + 0.075 * k, FOOT * k)],
        k,
    )


def walk(x: float, k: float, lean: float = 0.06) -> Pose:
    """A stride towards +x."""
    p = stand(x, k)
    p.hip_y = -0.315 * k
    p.feet = [(x - 0.17 * k, FOOT * 1.6 * k), (x + 0.15 * k, FOOT * k)]
    p.knees = (1, 1)
    p.tilt = lean
    return p


def run(x: float, k: float) -> Pose:
    p = walk(x, k, 0.28)
    p.feet = [(x - 0.27 * k, -0.16 * k), (x + 0.16 * k, -0.05 * k)]
    p.hands = [(x - 0.17 * k, -0.34 * k), (x + 0.27 * k, -0.45 * k)]
    p.knees = (1, 1)
    return p


def crouch(x: float, k: float) -> Pose:
    """One knee on the ground, the other up towards +x."""
    p = stand(x, k)
    p.hip_y = -0.20 * k
    p.feet = [(x - 0.20 * k, FOOT * k), (x + 0.13 * k, FOOT * k)]
    p.knees = (1, 1)
    p.tilt = 0.10
    return p


def both(p: Pose, first: Point, second: Point) -> Pose:
    """Both arms in front, hands at the two points (given for an adult, relative to ``p.x``)."""
    p.arm_layer = ["front", "front"]
    p.hands = [(p.x + q[0] * p.k, q[1] * p.k) for q in (first, second)]
    return p


def one(p: Pose, hand: Point) -> Pose:
    """The +x arm in front, its hand at the point; the other hangs."""
    p.hands[1] = (p.x + hand[0] * p.k, hand[1] * p.k)
    return p


def point_arm(p: Pose, at: Point) -> None:
    """Stretch the +x arm towards a point."""
    sx, sy = p.shoulder(1)
    dx, dy = at[0] - sx, at[1] - sy
    far = (dx * dx + dy * dy) ** 0.5 or 1.0
    p.hands[1] = (sx + dx / far * 0.33 * p.k, sy + dy / far * 0.33 * p.k)


def finger(p: Pose) -> Step:
    (sx, sy), (hx, hy) = p.shoulder(1), p.hands[1]
    far = ((hx - sx) ** 2 + (hy - sy) ** 2) ** 0.5 or 1.0
    tip = (hx + (hx - sx) / far * 0.085 * p.k, hy + (hy - sy) / far * 0.085 * p.k)
    return ("finger", 0, [p.hands[1], tip], 0.032 * p.k)

"""Staging of interactions between two people that no scene of the splits shows.

Verbs of the world whose object is never a person there; the one who acts is person 0, near x = 0,
facing +x. Used by `interactions`, a benchmark; the miniatures have never seen these.
"""

from __future__ import annotations

from collections.abc import Callable

from socialcli.miniature.world.acts_people import SIDE_BY_SIDE, Duo, facing
from socialcli.miniature.world.poses import FOOT, Step, point_arm, run, stand, walk

FIRST_ON_TOP: list[Step] = [("back", 1), ("mid", 1), ("front", 1), ("back", 0), ("mid", 0),
                            ("front", 0)]  # fmt: skip


def _push(a: float, b: float) -> Duo:
    d = 0.42
    p, q = walk(0, a, 0.30), facing(stand(d, b))
    p.feet[0] = (-0.24 * a, FOOT * a)
    p.arm_layer = ["front", "front"]
    p.hands = [(d - 0.09 * b, -0.50 * b), (d - 0.05 * b, -0.46 * b)]
    q.tilt = 0.34
    q.hands = [(d - 0.10 * b, -0.72 * b), (d + 0.36 * b, -0.66 * b)]
    q.feet = [(d - 0.14 * b, -0.10 * b), (d + 0.10 * b, FOOT * b)]
    return p, q, SIDE_BY_SIDE


def _pull(a: float, b: float) -> Duo:
    d = 0.62
    p, q = stand(0, a), facing(stand(d, b))
    p.tilt = -0.26
    p.feet = [(-0.06 * a, FOOT * a), (0.14 * a, FOOT * a)]
    meet = (0.30, -0.40 * a)
    p.arm_layer = ["front", "front"]
    p.hands = [meet, (meet[0] + 0.02, meet[1] - 0.02)]
    q.hip_y, q.tilt = -0.10 * b, 0.10
    q.feet = [(d - 0.28 * b, FOOT * b), (d - 0.24 * b, FOOT * b)]
    q.knees = (1, 1)
    q.hands = [(meet[0] + 0.03, meet[1]), (d + 0.20 * b, -0.06 * b)]
    return p, q, SIDE_BY_SIDE


def _kick(a: float, b: float) -> Duo:
    d = 0.52
    p, q = stand(0, a), facing(stand(d, b))
    p.tilt = -0.28
    p.feet = [(-0.07 * a, FOOT * a), (0.30 * a, -0.24 * a)]
    p.knees = (1, 1)
    p.hands = [(-0.34 * a, -0.46 * a), (0.22 * a, -0.60 * a)]
    q.tilt = -0.30  # bent over to the foot
    q.hands = [(d - 0.12 * b, -0.30 * b), (d - 0.04 * b, -0.28 * b)]
    q.arm_layer = ["front", "front"]
    return p, q, SIDE_BY_SIDE


def _chase(a: float, b: float) -> Duo:
    d = 0.66
    p, q = run(0, a), run(d, b)
    p.arm_layer = ["front", "front"]
    p.hands = [(0.26 * a, -0.56 * a), (0.32 * a, -0.50 * a)]
    q.hands = [(d - 0.20 * b, -0.78 * b), (d + 0.34 * b, -0.74 * b)]
    marks: list[Step] = [("stroke", [(-0.48, h), (-0.34, h)], 0.018, (255, 255, 255))
                         for h in (-0.55, -0.42, -0.29)]  # fmt: skip
    return p, q, [*marks, *SIDE_BY_SIDE]


def _leapfrog(a: float, b: float) -> Duo:
    p, q = stand(0, a), facing(stand(0.02, b))
    q.x, q.hip_y, q.tilt = -0.10 * b, -0.20 * b, 1.15
    q.feet = [(-0.16 * b, FOOT * b), (-0.02 * b, FOOT * b)]
    q.knees = (1, 1)
    q.hands = [(0.20 * b, FOOT * b), (0.26 * b, FOOT * b)]
    p.hip_y, p.tilt = -0.62 * b, 0.22
    p.feet = [(-0.26 * a, -0.50 * b), (0.30 * a, -0.54 * b)]
    p.hands = [(-0.02, -0.44 * b), (0.12, -0.44 * b)]
    p.arm_layer = ["front", "front"]
    return p, q, FIRST_ON_TOP


def _sit_on(a: float, b: float) -> Duo:
    p, q = stand(0, a), facing(stand(0, b))
    q.x, q.hip_y, q.tilt = -0.14 * b, -0.24 * b, 1.30
    q.feet = [(-0.36 * b, FOOT * b), (-0.30 * b, FOOT * b)]
    q.knees = (-1, -1)
    q.hands = [(0.08 * b, FOOT * b), (0.14 * b, FOOT * b)]
    p.x, p.hip_y, p.tilt = -0.16 * b, -0.36 * b, -0.16
    p.feet = [(-0.24 * b, -0.12 * b), (-0.06 * b, -0.10 * b)]
    p.hands = [(-0.36 * a, -0.66 * b), (0.06 * a, -0.78 * b)]
    p.arm_layer = ["front", "front"]
    return p, q, FIRST_ON_TOP


def _overhead(a: float, b: float) -> Duo:
    p, q = stand(0, a), stand(0, b)
    p.arm_layer = ["front", "front"]
    p.hands = [(-0.17 * a, -0.86 * a), (0.17 * a, -0.86 * a)]
    q.x, q.hip_y, q.tilt = -0.14 * b, -0.92 * a - 0.02, 1.45
    q.feet = [(-0.42 * b, -0.90 * a), (-0.43 * b, -0.96 * a)]
    q.hands = [(0.24 * b, -1.18 * a), (0.40 * b, -1.10 * a)]
    return p, q, FIRST_ON_TOP[3:] + FIRST_ON_TOP[:3]


def _hands_up(a: float, b: float) -> Duo:
    d = 0.76
    p, q = stand(0, a), facing(stand(d, b))
    q.hands = [(d - 0.22 * b, -0.84 * b), (d + 0.22 * b, -0.84 * b)]
    q.arm_layer = ["front", "front"]
    point_arm(p, q.head)
    return p, q, SIDE_BY_SIDE


STAGES: dict[str, Callable[[float, float], Duo]] = {
    "push": _push, "pull": _pull, "kick": _kick, "chase": _chase, "jump over": _leapfrog,
    "sit on": _sit_on, "point at": _hands_up, "carry": _overhead,
}  # fmt: skip

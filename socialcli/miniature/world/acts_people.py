"""Staging of what people do with each other; the one who acts is person 0, near x = 0."""

from __future__ import annotations

import random
from collections.abc import Callable

from socialcli.miniature.world.acts import Act, Prop, Step, both, crouch, stand, walk
from socialcli.miniature.world.identity import Look
from socialcli.miniature.world.people import Pose

SIDE_BY_SIDE: list[Step] = [("back", 0), ("back", 1), ("mid", 0), ("mid", 1), ("front", 0),
                            ("front", 1)]  # fmt: skip
Duo = tuple[Pose, Pose, list[Step]]
WHITE = (255, 255, 255)


def facing(p: Pose) -> Pose:
    """The second person: its -x arm is the one in front."""
    p.arm_layer = ["front", "mid"]
    return p


def _shake(a: float, b: float) -> Duo:
    d = 0.27 * (a + b)
    p, q = stand(0, a), facing(stand(d, b))
    meet = (d / 2, -0.42 * (a + b) / 2)
    p.hands[1], q.hands[0] = (meet[0] - 0.015, meet[1]), (meet[0] + 0.015, meet[1])
    marks: list[Step] = [("stroke", [(meet[0] + s * 0.06, meet[1] + t * 0.10),
                                     (meet[0] + s * 0.02, meet[1] + t * 0.12)], 0.016, WHITE)
                         for s in (-1, 1) for t in (-1, 1)]  # fmt: skip
    return p, q, [*SIDE_BY_SIDE, *marks]


def _hug(a: float, b: float) -> Duo:
    d = 0.165 * (a + b)
    p, q = stand(0, a), facing(stand(d, b))
    p.tilt, q.tilt = 0.06, -0.06
    p.hands[1] = (d + 0.06 * b, -0.45 * min(a, b))
    q.hands[0] = (-0.06 * a, -0.36 * min(a, b))
    p.hands[0], q.hands[1] = (d - 0.04, -0.36 * b), (0.06, -0.48 * a)
    p.arm_layer, q.arm_layer = ["back", "front"], ["front", "back"]
    order: list[Step] = [("back", 0), ("back", 1), ("mid", 0), ("mid", 1), ("front", 1),
                         ("front", 0), *_heart(d / 2, -0.98 * max(a, b))]  # fmt: skip
    return p, q, order


def _heart(x: float, y: float) -> list[Step]:
    red = (232, 52, 84)
    return [("stroke", [(x - 0.03, y - 0.02), (x, y + 0.035)], 0.05, red),
            ("stroke", [(x + 0.03, y - 0.02), (x, y + 0.035)], 0.05, red)]  # fmt: skip


def _kneel(a: float, b: float) -> Duo:
    p, q = crouch(0, a), facing(stand(0.30 * a + 0.22 * b, b))
    both(p, (0.22, -0.40), (0.26, -0.36))
    return p, q, SIDE_BY_SIDE


def _kiss(a: float, b: float) -> Duo:
    d = 0.40 * a + 0.28 * b
    p, q = stand(0, a), facing(stand(d, b))
    p.x, p.tilt = -0.05 * a, 0.52
    hx, hy = p.head
    at = (hx + 0.11 * a, hy + 0.115 * a)
    q.hands[0] = at
    p.hands = [(p.x - 0.14 * a, -0.28 * a), (at[0] + 0.03, at[1] + 0.04)]
    order: list[Step] = [*SIDE_BY_SIDE, *_heart(hx + 0.20 * a, hy - 0.14 * a)]
    return p, q, order


def _piggyback(a: float, b: float) -> Duo:
    q = walk(0.12 * b, b, 0.42)
    p = stand(0, a)
    p.x, p.hip_y, p.tilt = -0.12 * b, -0.44 * b, 0.20
    p.hands = [(0.18 * b, -0.48 * b), (0.25 * b, -0.50 * b)]
    p.feet = [(0.06 * b, -0.28 * b), (0.14 * b, -0.26 * b)]
    p.knees, p.leg_layer, p.arm_layer = (1, 1), ["back", "front"], ["back", "front"]
    p.nod = (-0.06, -0.02)
    q.nod = (0.06, 0.02)
    q.hands = [(-0.02 * b, -0.26 * b), (0.06 * b, -0.25 * b)]
    q.arm_layer = ["back", "front"]
    order: list[Step] = [("back", 0), ("back", 1), ("mid", 0), ("mid", 1), ("front", 0),
                         ("front", 1)]  # fmt: skip
    return p, q, order


def _cradle(a: float, b: float) -> Duo:
    p = stand(0, a)
    q = stand(0, b)
    q.x, q.hip_y, q.tilt = -0.07 * b, -0.36 * a, 1.18
    q.nod = (0.02, -0.05)
    q.feet = [(q.x - 0.28 * b, -0.30 * a), (q.x - 0.30 * b, -0.37 * a)]
    q.knees = (-1, -1)
    q.hands = [(0.06 * b, -0.44 * a), (0.12 * b, -0.40 * a)]
    q.arm_layer = ["mid", "front"]
    p.arm_layer = ["front", "front"]
    p.hands = [(-0.15 * a, -0.31 * a), (0.17 * a, -0.33 * a)]
    order: list[Step] = [("back", 0), ("mid", 0), ("mid", 1), ("front", 1), ("front", 0)]
    return p, q, order


def _dance(a: float, b: float) -> Duo:
    d = 0.25 * (a + b)
    p, q = stand(0, a), facing(stand(d, b))
    p.tilt, q.tilt = -0.12, 0.12
    top = (d / 2, -0.74 * min(a, b))
    p.hands[1], q.hands[0] = (top[0] - 0.02, top[1]), (top[0] + 0.02, top[1])
    p.hands[0], q.hands[1] = (-0.32 * a, -0.62 * a), (d + 0.32 * b, -0.62 * b)
    p.feet[0] = (-0.24 * a, -0.12 * a)
    q.feet[1] = (d + 0.24 * b, -0.12 * b)
    ink = (40, 36, 48)
    notes: list[Step] = []
    for x, y in ((d / 2 - 0.07, -0.96 * max(a, b)), (d / 2 + 0.09, -1.0 * max(a, b))):
        notes += [
            ("stroke", [(x, y), (x + 0.004, y)], 0.045, ink),
            ("stroke", [(x + 0.02, y), (x + 0.02, y - 0.09), (x + 0.05, y - 0.07)], 0.014, ink),
        ]
    return p, q, [*SIDE_BY_SIDE, *notes]  # fmt: skip


def _high_five(a: float, b: float) -> Duo:
    d = 0.29 * (a + b)
    p, q = stand(0, a), facing(stand(d, b))
    top = (d / 2, -0.80 * min(a, b))
    p.hands[1], q.hands[0] = (top[0] - 0.025, top[1]), (top[0] + 0.025, top[1])
    marks: list[Step] = [("stroke", [(top[0] + u * 0.07, top[1] + v * 0.07),
                                     (top[0] + u * 0.13, top[1] + v * 0.13)], 0.02, (255, 230, 80))
                         for u, v in ((0, -1), (-0.6, -0.8), (0.6, -0.8))]  # fmt: skip
    return p, q, [*SIDE_BY_SIDE, *marks]


def _hand_in_hand(a: float, b: float) -> Duo:
    d = 0.235 * (a + b)
    p, q = walk(0, a), facing(walk(d, b))
    p.tilt = q.tilt = 0.03
    low = (d / 2, -0.26 * (a + b) / 2)
    p.hands[1], q.hands[0] = low, (low[0] + 0.02, low[1])
    return p, q, SIDE_BY_SIDE


def _whisper(a: float, b: float) -> Duo:
    d = 0.20 * (a + b)
    p, q = stand(0, a), facing(stand(d, b))
    p.tilt = 0.12
    hx, hy = p.head
    p.hands[1] = (hx + 0.135 * a, hy + 0.12 * a)
    marks: list[Step] = [("stroke", [(hx + 0.15 * a, hy - 0.20 * a - i * 0.045),
                                     (hx + 0.19 * a + 0.02 * i, hy - 0.22 * a - i * 0.045)],
                          0.018, WHITE) for i in (0, 1)]  # fmt: skip
    return p, q, [("back", 0), ("back", 1), ("mid", 1), ("mid", 0), ("front", 1), ("front", 0),
                  *marks]  # fmt: skip


def _wave(a: float, b: float) -> Duo:
    p, q = stand(0, a), facing(stand(0.80, b))
    p.hands[1] = (0.27 * a, -0.80 * a)
    marks: list[Step] = [("stroke", [(0.27 * a + s * 0.075, -0.88 * a), (0.27 * a + s * 0.09,
                          -0.80 * a)], 0.018, WHITE) for s in (-1, 1)]  # fmt: skip
    return p, q, [*SIDE_BY_SIDE, *marks]


def _pat(a: float, b: float) -> Duo:
    d = 0.20 * (a + b) + 0.06
    p, q = stand(0, a), facing(stand(d, b))
    hx, hy = q.head
    p.hands[1] = (hx - 0.05 * b, hy - 0.17 * b)
    p.tilt = 0.08
    return p, q, [("back", 0), ("back", 1), ("mid", 1), ("front", 1), ("mid", 0), ("front", 0)]


def _look(a: float, b: float) -> Duo:
    p, q = stand(0, a), facing(stand(0.74, b))
    p.hands = [(-0.13 * a, -0.31 * a), (0.13 * a, -0.31 * a)]
    p.arm_layer = ["front", "front"]
    return p, q, SIDE_BY_SIDE


def _photograph(a: float, b: float) -> Duo:
    p, q = both(stand(0, a), (0.14, -0.50), (0.28, -0.52)), facing(stand(0.80, b))
    q.hands[1] = (0.80 + 0.13 * b, -0.31 * b)
    return p, q, [("mid", 1), ("front", 1), ("back", 0), ("mid", 0), ("thing", 0), ("front", 0)]


STAGES: dict[str, Callable[[float, float], Duo]] = {
    "shake hands with": _shake, "hug": _hug, "kneel before": _kneel, "kiss the hand of": _kiss,
    "ride on the back of": _piggyback, "hold in arms": _cradle, "dance with": _dance,
    "high-five": _high_five, "hold hands with": _hand_in_hand, "whisper to": _whisper,
    "wave to": _wave, "pat": _pat, "look at": _look, "photograph": _photograph,
}  # fmt: skip

# Who should be a child: (position, how often); a head one can reach, a weight one can carry.
CHILD = {"ride on the back of": (0, 0.7), "hold in arms": (1, 0.7), "pat": (1, 0.9)}
_ANSWERS = 0.85  # how often the second person looks back


def stage(rng: random.Random, verb: str, a: float, b: float, camera: Look | None) -> Act:
    """Two people of statures ``a`` and ``b``; the first does ``verb`` to the second."""
    p, q, order = STAGES[verb](a, b)
    props = [Prop(camera, 0.21 * a, -0.535 * a, 1.1 * a)] if camera is not None else []
    answers = rng.random() < _ANSWERS
    looks: list[tuple[str, int] | None] = [("person", 1), ("person", 0) if answers else None]
    return Act(verb, "person", [p, q], props, order, looks)

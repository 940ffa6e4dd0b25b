"""Staging: for every verb, where the people stand, how they move, and where the thing is.

An act has its own frame: x to the right, ground at y = 0, an adult one unit tall, the one who
acts near x = 0 facing +x. `stage` builds it; the scene places, scales and mirrors it.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from socialcli.miniature.world import animals, things
from socialcli.miniature.world.canvas import Colour, Point
from socialcli.miniature.world.identity import Look
from socialcli.miniature.world.people import Pose
from socialcli.miniature.world.poses import (
    FOOT,
    Act,
    Prop,
    Step,
    both,
    crouch,
    finger,
    one,
    point_arm,
    run,
    stand,
    walk,
)

CARROT: Colour = (240, 120, 30)

BEHIND_HAND: list[Step] = [("back", 0), ("mid", 0), ("thing", 0), ("front", 0)]
BEHIND_BODY: list[Step] = [("thing", 0), ("back", 0), ("mid", 0), ("front", 0)]
ASTRIDE: list[Step] = [("back", 0), ("thing", 0), ("mid", 0), ("front", 0)]
Staged = tuple[Pose, list[Prop], list[Step]]


def _hold(rng: random.Random, k: float, look: Look) -> Staged:
    kind = look.kind
    p = stand(0, k)
    if kind in ("cat", "rabbit"):
        both(p, (-0.09, -0.36), (0.13, -0.36))
        return p, [Prop(look, -0.02 * k, -0.27 * k, 0.95 * k)], BEHIND_HAND
    if kind == "umbrella":
        one(p, (0.27, -0.62))
        return p, [Prop(look, 0.27 * k, -0.64 * k, 1.05 * k)], BEHIND_BODY
    if kind == "balloon":
        one(p, (0.27, -0.52))
        return p, [Prop(look, 0.30 * k, -0.54 * k, 1.1 * k)], BEHIND_BODY
    if kind == "kite":
        one(p, (0.30, -0.48))
        return p, [Prop(look, 0.36 * k, -0.50 * k, 0.95 * k)], BEHIND_HAND
    one(p, (0.28, -0.46))
    at = {"ball": (0.30, -0.45), "bag": (0.30, -0.52), "book": (0.34, -0.50),
          "flower": (0.29, -0.50), "cup": (0.30, -0.49)}.get(kind, (0.31, -0.50))  # fmt: skip
    if kind == "bag":
        one(p, (0.29, -0.52))
    return p, [Prop(look, at[0] * k, at[1] * k, 1.2 * k if kind != "ball" else k)], BEHIND_HAND


def _carry(rng: random.Random, k: float, look: Look) -> Staged:
    kind = look.kind
    p = walk(0, k)
    if kind == "bag":
        one(p, (0.20, -0.30))
        return p, [Prop(look, 0.20 * k, -0.30 * k, k)], BEHIND_HAND
    if kind == "suitcase":
        one(p, (0.21, -0.36))
        return p, [Prop(look, 0.21 * k, -0.07 * k, 0.72 * k)], BEHIND_HAND
    if kind == "guitar":
        one(p, (0.14, -0.34))
        return p, [Prop(look, 0.08 * k, -0.32 * k, k)], BEHIND_HAND
    if kind == "ball":
        one(p, (0.24, -0.33))
        return p, [Prop(look, 0.20 * k, -0.27 * k, k)], BEHIND_HAND
    if kind == "bicycle":
        both(p, (-0.24, -0.66), (0.24, -0.66))
        return p, [Prop(look, 0.0, -0.62 * k, 0.8 * k)], BEHIND_BODY
    if kind == "cake":
        both(p, (0.12, -0.39), (0.30, -0.39))
        return p, [Prop(look, 0.22 * k, -0.40 * k, 1.1 * k)], BEHIND_HAND
    both(p, (0.02, -0.27), (0.29, -0.27))
    if kind == "chair":
        both(p, (0.04, -0.36), (0.30, -0.36))
        return p, [Prop(look, 0.20 * k, -0.22 * k, 0.8 * k)], BEHIND_HAND
    return p, [Prop(look, 0.16 * k, -0.25 * k, k)], BEHIND_HAND


def _push(rng: random.Random, k: float, look: Look) -> Staged:
    kind = look.kind
    p = walk(0, k, 0.24)
    place = {"cart": (0.53, 0.29, -0.42), "stroller": (0.53, 0.30, -0.44),
             "wheelbarrow": (0.62, 0.27, -0.33), "box": (0.50, 0.30, -0.26),
             "chair": (0.46, 0.30, -0.42), "bicycle": (0.30, 0.19, -0.40),
             "scooter": (0.24, 0.36, -0.49)}[kind]  # fmt: skip
    if kind == "box":
        p = walk(0, k, 0.42)
        p.feet[0] = (-0.26 * k, FOOT * k)
    both(p, (place[1], place[2]), (place[1] + 0.02, place[2] - 0.02))
    if kind == "bicycle":
        p.hands[1] = (0.49 * k, -0.46 * k)
        p.hands = [(0.19 * k, -0.40 * k), (0.42 * k, -0.46 * k)]
    order = BEHIND_HAND
    return p, [Prop(look, place[0] * k, 0.0, (1.2 if kind == "box" else 1.0) * k)], order


def _pull(rng: random.Random, k: float, look: Look) -> Staged:
    p = walk(0, k, 0.22)
    p.arm_layer = ["front", "mid"]
    order: list[Step] = list(BEHIND_HAND)
    if look.kind == "box":
        p.hands[0] = (-0.22 * k, -0.32 * k)
        prop = Prop(look, -0.66 * k, 0.0, k)
        rope = [p.hands[0], (-0.50 * k, -0.16 * k)]
        order = [("thing", 0), ("back", 0), ("mid", 0), ("stroke", rope, 0.022, (120, 84, 50)),
                 ("front", 0)]  # fmt: skip
        return p, [prop], order
    x, hand = {"suitcase": (-0.43, (-0.37, -0.41)), "cart": (-0.62, (-0.36, -0.42)),
               "stroller": (-0.62, (-0.37, -0.44))}[look.kind]  # fmt: skip
    p.hands[0] = (hand[0] * k, hand[1] * k)
    return p, [Prop(look, x * k, 0.0, k, flip=True)], order


def _ride(rng: random.Random, k: float, look: Look) -> Staged:
    kind = look.kind
    p = stand(0, k)
    if kind == "bicycle":
        p.x, p.hip_y, p.tilt = -0.11 * k, -0.42 * k, 0.24
        p.hands = [(0.17 * k, -0.46 * k), (0.21 * k, -0.47 * k)]
        p.feet = [(-0.08 * k, -0.20 * k), (0.05 * k, -0.13 * k)]
        p.knees, p.leg_layer = (1, 1), ["back", "front"]
        return p, [Prop(look, 0.0, 0.0, 1.05 * k)], ASTRIDE
    if kind in animals.BACK:
        back = animals.BACK[kind]
        p.x, p.hip_y, p.tilt = -0.04, back - 0.02 * k, 0.05
        p.hands = [(0.08 * k, back - 0.13 * k), (0.17 * k, back - 0.12 * k)]
        p.feet = [(-0.04, back + 0.2 * k), (0.03 * k, back + 0.28 * k)]
        p.knees, p.leg_layer = (1, 1), ["back", "front"]
        return p, [Prop(look, 0.0, 0.0, 1.0)], ASTRIDE
    if kind == "skateboard":
        p.hip_y, p.tilt = -0.40 * k, 0.12
        p.feet = [(-0.16 * k, -0.15 * k), (0.16 * k, -0.15 * k)]
        p.hands = [(-0.33 * k, -0.56 * k), (0.38 * k, -0.60 * k)]
        p.arm_layer = ["front", "front"]
        speed = [("stroke", [(-0.56, y), (-0.36, y)], 0.016, (255, 255, 255)) for y in (-0.2, -0.3)]
        return p, [Prop(look, 0.0, 0.0, 1.15 * k)], [*speed, *BEHIND_BODY]
    p.x, p.hip_y, p.tilt = -0.06 * k, -0.42 * k, 0.14
    p.feet = [(-0.12 * k, -0.15 * k), (0.02 * k, -0.15 * k)]
    both(p, (0.18, -0.51), (0.24, -0.51))
    return p, [Prop(look, 0.0, 0.0, 1.05 * k)], BEHIND_BODY


def _kick(rng: random.Random, k: float, look: Look) -> Staged:
    p = stand(0, k)
    p.tilt = -0.22
    p.feet = [(-0.07 * k, FOOT * k), (0.30 * k, -0.17 * k)]
    p.knees = (1, 1)
    p.hands = [(-0.33 * k, -0.42 * k), (0.24 * k, -0.56 * k)]
    at = {"ball": (0.49, -0.10), "apple": (0.46, -0.20), "bag": (0.50, -0.30)}
    x, y = at.get(look.kind, (0.53, 0.0))
    grow = 1.0 if look.kind in ("box", "suitcase") else 1.15
    marks = [("stroke", [(0.34 * k, h * k), (0.41 * k, (h - 0.02) * k)], 0.018, (255, 255, 255))
             for h in (-0.27, -0.06)]  # fmt: skip
    return p, [Prop(look, x * k, y * k, grow * k)], [*BEHIND_HAND, *marks]


def _throw(rng: random.Random, k: float, look: Look) -> Staged:
    p = walk(0, k, 0.12)
    p.hands = [(-0.26 * k, -0.36 * k), (0.34 * k, -0.76 * k)]
    prop = Prop(look, 0.60 * k, (-0.84 if look.kind == "ball" else -0.92) * k, 1.15 * k)
    marks = [("stroke", [(0.40 * k, h * k), (0.47 * k, (h - 0.015) * k)], 0.018, (255, 255, 255))
             for h in (-0.97, -0.90, -0.83)]  # fmt: skip
    return p, [prop], [*BEHIND_HAND, *marks]


def _facing(look: Look, hand_x: float, table: dict[str, Point]) -> tuple[Prop, Point]:
    """An animal turned to the person so that the table's point lies at ``hand_x``."""
    px, py = table[look.kind]
    grow = 1.15 if look.kind in ("rabbit", "bird", "cat") else 1.0
    return Prop(look, hand_x + px * grow, 0.0, grow, flip=True), (hand_x, py * grow)


def _feed(rng: random.Random, k: float, look: Look) -> Staged:
    low = animals.MOUTH[look.kind][1] > -0.40
    p = crouch(0, k) if low else stand(0, k)
    prop, mouth = _facing(look, 0.40 * k + 0.03, animals.MOUTH)
    one(p, (0.29, mouth[1] / k - 0.02))
    p.tilt = 0.16
    p.solve()
    hand = p.hands[1]
    food = [hand, (hand[0] + 0.075, hand[1] - 0.012)]
    leaf = [hand, (hand[0] - 0.02, hand[1] - 0.05)]
    order: list[Step] = [("thing", 0), ("back", 0), ("mid", 0), ("stroke", food, 0.05, CARROT),
                         ("stroke", leaf, 0.03, (60, 160, 60)), ("front", 0)]  # fmt: skip
    return p, [prop], order


def _pet(rng: random.Random, k: float, look: Look) -> Staged:
    small = animals.CROWN[look.kind][1] > -0.55
    p = crouch(0, k) if small else stand(0, k)
    prop, crown = _facing(look, 0.30 * k, animals.CROWN)
    p.tilt = 0.14
    one(p, (0.30, crown[1] / k))
    return p, [prop], [("thing", 0), ("back", 0), ("mid", 0), ("front", 0)]


def _walk(rng: random.Random, k: float, look: Look) -> Staged:
    p = walk(0, k)
    one(p, (0.22, -0.38))
    grow = 1.15 if look.kind in ("rabbit", "cat") else 1.0
    far = 0.60 + 0.28 * (look.kind == "horse")
    prop = Prop(look, far, 0.0, grow)
    cx, cy = animals.CROWN[look.kind]
    neck = (far + cx * grow * 0.75, cy * grow * 0.72)
    leash = [
        p.hands[1],
        ((p.hands[1][0] + neck[0]) / 2, (p.hands[1][1] + neck[1]) / 2 + 0.05),
        neck,
    ]
    return p, [prop], [("thing", 0), ("back", 0), ("mid", 0),
                       ("stroke", leash, 0.024, (196, 40, 60)), ("front", 0)]  # fmt: skip


def far_prop(look: Look, k: float, rng: random.Random) -> Prop:
    """Something to look at from a distance: in the sky if it flies, else on the ground."""
    if look.kind in ("kite", "balloon"):
        return Prop(look, 0.66, -0.80 if look.kind == "kite" else -0.55, 1.1)
    left = (animals.BOXES if look.kind in animals.BOXES else things.BOXES)[look.kind][0]
    grow = 1.3 if look.kind in ("bird", "cake", "flower") else 1.0
    lift = -0.10 * grow if look.kind == "flower" else -0.16 if look.kind == "guitar" else 0.0
    return Prop(look, 0.50 - left * grow, lift, grow, flip=rng.random() < 0.5)


def _look(rng: random.Random, k: float, look: Look) -> Staged:
    p = stand(0, k)
    p.hands = [(-0.13 * k, -0.31 * k), (0.13 * k, -0.31 * k)]  # hands on the hips
    p.arm_layer = ["front", "front"]
    return p, [far_prop(look, k, rng)], BEHIND_BODY


def _point(rng: random.Random, k: float, look: Look) -> Staged:
    p = stand(0, k)
    prop = far_prop(look, k, rng)
    point_arm(p, prop.centre)
    return p, [prop], [*BEHIND_BODY, finger(p)]


def _photograph(rng: random.Random, k: float, look: Look) -> Staged:
    p = both(stand(0, k), (0.14, -0.50), (0.28, -0.52))
    return p, [far_prop(look, k, rng)], BEHIND_BODY


def _read(rng: random.Random, k: float, look: Look) -> Staged:
    p = both(stand(0, k), (-0.10, -0.37), (0.18, -0.37))
    p.nod = (0.02, 0.02)
    return p, [Prop(look, 0.04 * k, -0.42 * k, 1.1 * k)], BEHIND_HAND


def _play(rng: random.Random, k: float, look: Look) -> Staged:
    p = both(stand(0, k), (-0.02, -0.34), (0.30, -0.52))
    return p, [Prop(look, -0.02 * k, -0.34 * k, 1.05 * k)], BEHIND_HAND


def _drink(rng: random.Random, k: float, look: Look) -> Staged:
    p = one(stand(0, k), (0.13, -0.605))
    return p, [Prop(look, 0.06 * k, -0.60 * k, 1.15 * k)], BEHIND_HAND


def _eat(rng: random.Random, k: float, look: Look) -> Staged:
    if look.kind == "apple":
        p = both(stand(0, k), (-0.03, -0.58), (0.12, -0.58))
        return p, [Prop(look, 0.045 * k, -0.585 * k, 1.25 * k)], BEHIND_HAND
    p = both(stand(0, k), (0.13, -0.36), (0.13, -0.57))
    spoon = [p.hands[1], (0.05 * k, -0.61 * k)]
    prop = Prop(look, 0.16 * k, -0.38 * k, 0.95 * k)
    return p, [prop], [("mid", 0), ("thing", 0), ("stroke", spoon, 0.03, (220, 224, 230)),
                       ("front", 0)]  # fmt: skip


def _sit(rng: random.Random, k: float, look: Look) -> Staged:
    kind = look.kind
    seat = {"chair": 0.25, "bench": 0.25, "box": 0.28, "suitcase": 0.33, "skateboard": 0.12,
            "ball": 0.30}[kind]  # fmt: skip
    grow = 1.4 if kind == "ball" else 1.0
    p = stand(0, k)
    p.x, p.hip_y = -0.03, -seat - 0.03 * k
    reach = min(0.30, seat + 0.04)
    p.feet = [(0.15 * k, -max(seat - reach, -FOOT)), (0.23 * k, -max(seat - reach, -FOOT))]
    p.knees = (1, 1)
    p.hands = [(-0.09 * k, p.hip_y - 0.03), (0.12 * k, p.hip_y - 0.03)]
    p.arm_layer = ["front", "front"]
    return p, [Prop(look, 0.0, 0.0, grow)], BEHIND_BODY


def _fly(rng: random.Random, k: float, look: Look) -> Staged:
    p = both(stand(0, k), (0.20, -0.62), (0.28, -0.66))
    prop = Prop(look, 0.66 * k, -0.98 * k, 1.15 * k)
    string = [p.hands[1], (0.50 * k, -0.76 * k), (0.66 * k, -0.80 * k)]
    return p, [prop], [("stroke", string, 0.014, (250, 250, 250)), *BEHIND_BODY]


def _talk(rng: random.Random, k: float, look: Look) -> Staged:
    p = one(stand(0, k), (0.19, -0.66))
    return p, [Prop(look, 0.185 * k, -0.70 * k, 1.1 * k)], BEHIND_HAND


def _chase(rng: random.Random, k: float, look: Look) -> Staged:
    p = run(0, k)
    grow = 1.2 if look.kind in ("rabbit", "cat", "bird", "ball") else 1.0
    marks = [("stroke", [(-0.48 * k, h * k), (-0.34 * k, h * k)], 0.018, (255, 255, 255))
             for h in (-0.55, -0.42, -0.29)]  # fmt: skip
    return p, [Prop(look, 0.74, -0.03, grow)], [*marks, *BEHIND_BODY]


def _jump(rng: random.Random, k: float, look: Look) -> Staged:
    table = animals.BOXES if look.kind in animals.BOXES else things.BOXES
    top = -table[look.kind][1]
    p = stand(0, k)
    p.x, p.hip_y, p.tilt = -0.02, -top - 0.20 * k, 0.16
    p.feet = [(-0.27 * k, -top - 0.06 * k), (0.27 * k, -top - 0.12 * k)]
    p.knees = (1, 1)
    p.hands = [(-0.26 * k, p.hip_y - 0.42 * k), (0.34 * k, p.hip_y - 0.42 * k)]
    return p, [Prop(look, 0.0, 0.0, 1.0)], BEHIND_BODY


def _hug(rng: random.Random, k: float, look: Look) -> Staged:
    p = crouch(0, k)
    grow = 1.2 if look.kind == "cat" else 1.0
    prop = Prop(look, 0.36, 0.0, grow, flip=rng.random() < 0.5)
    p.tilt = 0.22
    p.arm_layer = ["front", "front"]
    p.hands = [(0.30, -0.20), (0.34, -0.30)]
    return p, [prop], BEHIND_HAND


STAGES: dict[str, Callable[[random.Random, float, Look], Staged]] = {
    "hold": _hold, "carry": _carry, "push": _push, "pull": _pull, "ride": _ride, "kick": _kick,
    "throw": _throw, "feed": _feed, "walk": _walk, "pet": _pet, "look at": _look, "read": _read,
    "play": _play, "drink from": _drink, "eat": _eat, "sit on": _sit, "fly": _fly,
    "talk on": _talk, "photograph": _photograph, "point at": _point, "chase": _chase,
    "jump over": _jump, "hug": _hug,
}  # fmt: skip

# How often the eyes are on the object; otherwise on somebody or something else.
ATTENTION = {"look at": 1.0, "point at": 1.0, "photograph": 1.0, "read": 1.0, "feed": 1.0,
             "pet": 1.0, "kick": 1.0, "fly": 1.0, "throw": 1.0, "chase": 1.0, "eat": 0.6,
             "talk on": 0.0, "ride": 0.4, "sit on": 0.0, "drink from": 0.3}  # fmt: skip


def stage(rng: random.Random, verb: str, k: float, look: Look, camera: Look | None) -> Act:
    """One person (stature ``k``) doing ``verb`` with one thing or animal."""
    pose, props, order = STAGES[verb](rng, k, look)
    if camera is not None:
        props = [*props, Prop(camera, 0.21 * k, -0.535 * k, 1.1 * k)]
        order = [("thing", 0), ("back", 0), ("mid", 0), ("thing", 1), ("front", 0)]
    attends = rng.random() < ATTENTION.get(verb, 0.65)
    return Act(verb, look.kind, [pose], props, order, [("prop", 0) if attends else None])

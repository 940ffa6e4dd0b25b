"""Drawing people: a jointed figure with a large, readable head.

A figure is its hips, a leaning spine, and where hands and feet are; elbows and knees follow by
two-bone inverse kinematics. The torso always faces the viewer; the head turns, and the pupils
point, to where the person looks. Arm and leg 0 are on the figure's -x side, 1 on its +x side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from socialcli.miniature.world.canvas import Pen, Point, shade
from socialcli.miniature.world.faces import draw_hair_behind, draw_head
from socialcli.miniature.world.identity import SKINS, Identity, Outfit
from socialcli.miniature.world.vocabulary import COLOURS

# Proportions, in units of an adult's height.
SPINE, NECK = 0.25, 0.150
SHOULDER, HIP = 0.105, 0.062
ARM, LEG = 0.165, 0.152  # each of the two bones
HIP_HEIGHT = 0.325


@dataclass
class Pose:
    """One figure in its act's frame; lengths are already multiplied by ``k``, its stature."""

    x: float
    hip_y: float
    hands: list[Point]
    feet: list[Point]
    k: float = 1.0
    tilt: float = 0.0  # radians, positive leans towards +x
    nod: Point = (0.0, 0.0)  # head offset
    knees: tuple[int, int] = (-1, 1)  # +1: the knee points to +x
    arm_layer: list[str] = field(default_factory=lambda: ["mid", "front"])
    leg_layer: list[str] = field(default_factory=lambda: ["mid", "mid"])
    target: Point | None = None  # what the eyes are on, local frame
    smile: float = 1.0

    def along(self, up: float, right: float) -> Point:
        """The point ``up`` the spine from the hips and ``right`` of it (times stature)."""
        s, c = math.sin(self.tilt), math.cos(self.tilt)
        up, right = up * self.k, right * self.k
        return self.x + up * s + right * c, self.hip_y - up * c + right * s

    def shoulder(self, side: int) -> Point:
        return self.along(SPINE - 0.03, SHOULDER if side else -SHOULDER)

    def hip(self, side: int) -> Point:
        return self.along(0.0, HIP if side else -HIP)

    @property
    def head(self) -> Point:
        s, c = math.sin(self.tilt * 0.8), math.cos(self.tilt * 0.8)
        x, y = self.along(SPINE, 0)
        reach = NECK * self.k
        return x + reach * s + self.nod[0] * self.k, y - reach * c + self.nod[1] * self.k

    def solve(self) -> None:
        """Pull hands and feet into reach, so that the drawing and the keypoints agree."""
        for side in (0, 1):
            self.hands[side] = _within(self.shoulder(side), self.hands[side], 2 * ARM * self.k)
            self.feet[side] = _within(self.hip(side), self.feet[side], 2 * LEG * self.k)

    def elbow(self, side: int) -> Point:
        root, hand = self.shoulder(side), self.hands[side]
        dx, dy = hand[0] - root[0], hand[1] - root[1]
        if dy > 0 and abs(dx) < 0.45 * dy:
            bend = 1 if side else -1  # a hanging arm: outwards
        else:
            bend = -1 if dx > 0 else 1  # elbows hang down
        return _joint(root, hand, ARM * self.k, bend)

    def knee(self, side: int) -> Point:
        return _joint(self.hip(side), self.feet[side], LEG * self.k, self.knees[side])


def _within(root: Point, goal: Point, reach: float) -> Point:
    dx, dy = goal[0] - root[0], goal[1] - root[1]
    distance = math.hypot(dx, dy)
    if distance <= reach * 0.999:
        return goal
    scale = reach * 0.999 / distance
    return root[0] + dx * scale, root[1] + dy * scale


def _joint(root: Point, end: Point, bone: float, side: int) -> Point:
    """Where two equal bones from root to end meet; ``side`` picks one of the two solutions."""
    dx, dy = end[0] - root[0], end[1] - root[1]
    half = math.hypot(dx, dy) / 2
    if half < 1e-6:
        return root[0], root[1] + bone
    height = math.sqrt(max(bone * bone - half * half, 0.0)) * side / (2 * half)
    return (root[0] + end[0]) / 2 + dy * height, (root[1] + end[1]) / 2 - dx * height


def draw_back(pen: Pen, pose: Pose, who: Identity, wear: Outfit) -> None:
    """Limbs that pass behind what the figure sits on or holds, and long hair."""
    for side in (0, 1):
        if pose.leg_layer[side] == "back":
            _leg(pen, pose, side, who, wear)
    for side in (0, 1):
        if pose.arm_layer[side] == "back":
            _arm(pen, pose, side, who, wear)


def draw_mid(pen: Pen, pose: Pose, who: Identity, wear: Outfit) -> None:
    """Legs, torso, head."""
    x, y = pose.head
    draw_hair_behind(pen, x, y, pose.k * who.head, who)
    for side in (0, 1):
        if pose.arm_layer[side] == "mid":
            _arm(pen, pose, side, who, wear)
    for side in (0, 1):
        if pose.leg_layer[side] == "mid":
            _leg(pen, pose, side, who, wear)
    _torso(pen, pose, who, wear)
    draw_head(pen, pose, who)


def draw_front(pen: Pen, pose: Pose, who: Identity, wear: Outfit) -> None:
    """Limbs in front of everything."""
    for side in (0, 1):
        if pose.leg_layer[side] == "front":
            _leg(pen, pose, side, who, wear)
    for side in (0, 1):
        if pose.arm_layer[side] == "front":
            _arm(pen, pose, side, who, wear)


def _arm(pen: Pen, pose: Pose, side: int, who: Identity, wear: Outfit) -> None:
    k = pose.k
    skin = SKINS[who.skin]
    sleeve = shade(COLOURS[wear.top], 0.84)
    shoulder, elbow, hand = pose.shoulder(side), pose.elbow(side), pose.hands[side]
    if wear.long_sleeves:
        pen.limb([shoulder, elbow, hand], 0.078 * k, sleeve)
    else:
        pen.limb([elbow, hand], 0.060 * k, shade(skin, 0.94))
        pen.limb([shoulder, elbow], 0.080 * k, sleeve)
    pen.disc(*hand, 0.046 * k, skin)


def _leg(pen: Pen, pose: Pose, side: int, who: Identity, wear: Outfit) -> None:
    k = pose.k
    skin = shade(SKINS[who.skin], 0.92)
    cloth = shade(COLOURS[wear.bottom_colour], 0.86 if side else 0.96)
    hip, knee, foot = pose.hip(side), pose.knee(side), pose.feet[side]
    if wear.bottom == "trousers":
        pen.limb([hip, knee, foot], 0.088 * k, cloth)
    else:
        pen.limb([knee, foot], 0.064 * k, skin)
        pen.limb([hip, knee], 0.090 * k, skin if wear.bottom in ("skirt", "dress") else cloth)
    out = 0.018 * k if side else -0.018 * k
    pen.ellipse(foot[0] + out, foot[1] + 0.006 * k, 0.058 * k, 0.036 * k, wear.shoes)


def _torso(pen: Pen, pose: Pose, who: Identity, wear: Outfit) -> None:
    top = COLOURS[wear.top]
    k = pose.k
    # Neck first, shirt over it.
    nx, ny = pose.along(SPINE, 0)
    hx, hy = pose.head
    pen.limb([(nx, ny), ((nx + hx) / 2, (ny + hy) / 2)], 0.075 * k, shade(SKINS[who.skin], 0.86))
    at = pose.along
    if wear.bottom in ("skirt", "dress"):
        hem = -0.155 if wear.bottom == "dress" else -0.125
        # A skirt follows the thighs: it hangs between the hips and halfway to the knees.
        mid = [((a + b) / 2, (c + d) / 2) for (a, c), (b, d) in
               ((pose.hip(s), pose.knee(s)) for s in (0, 1))]  # fmt: skip
        left = min(mid[0][0], at(hem, -0.125)[0]) if abs(pose.tilt) < 0.5 else at(hem, -0.125)[0]
        right = max(mid[1][0], at(hem, 0.125)[0]) if abs(pose.tilt) < 0.5 else at(hem, 0.125)[0]
        low = max(mid[0][1], mid[1][1]) + 0.06 * k
        if abs(pose.tilt) >= 0.5:
            skirt = [at(0.05, -0.09), at(hem, -0.125), at(hem, 0.125), at(0.05, 0.09)]
        else:
            skirt = [at(0.05, -0.085), (left, low), (right, low), at(0.05, 0.085)]
        pen.poly(skirt, shade(COLOURS[wear.bottom_colour], 0.92))
    else:
        pen.limb([pose.hip(0), pose.hip(1)], 0.095 * k, shade(COLOURS[wear.bottom_colour], 0.92))
    pen.poly([at(0.24, -0.112), at(0.24, 0.112), at(0.0, 0.092), at(0.0, -0.092)], top)
    pen.limb([at(0.215, -0.088), at(0.215, 0.088)], 0.082 * k, top)
    if wear.pattern == "stripes":
        mark = shade(top, 0.62) if wear.top != "black" else (190, 190, 190)
        for up in (0.04, 0.11, 0.18):
            half = 0.094 + 0.018 * up / 0.24
            pen.poly([at(up, -half), at(up, half), at(up + 0.028, half), at(up + 0.028, -half)],
                     mark)  # fmt: skip
    elif wear.pattern == "dots":
        mark = (250, 250, 250) if wear.top != "white" else (90, 110, 200)
        for up, right in ((0.05, -0.05), (0.05, 0.05), (0.12, 0.0), (0.19, -0.05), (0.19, 0.05)):
            pen.disc(*at(up, right), 0.020 * k, mark)

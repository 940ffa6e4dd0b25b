"""Drawing heads: identity lives here, and the eyes.

The features sit a little towards where the person looks and the pupils point there exactly: the
direction from the head's centre to the target, whatever its distance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from socialcli.miniature.world.canvas import Colour, Pen, Point, shade
from socialcli.miniature.world.identity import HAIRS, IRISES, SKINS, Identity

if TYPE_CHECKING:
    from socialcli.miniature.world.people import Pose

HEAD_RX, HEAD_RY = 0.158, 0.165  # of a standard head, in adult heights
EYE_X = 0.066


def gaze_direction(pose: Pose) -> Point:
    """Unit vector from the head's centre to what the figure looks at; down-right is (+, +)."""
    if pose.target is None:
        return 0.0, 0.0
    x, y = pose.head
    dx, dy = pose.target[0] - x, pose.target[1] - y
    length = math.hypot(dx, dy) or 1.0
    return dx / length, dy / length


def landmarks(pose: Pose, who: Identity) -> dict[str, Point]:
    """Eyes, nose, mouth corners and ears in the act's frame, as `draw_head` draws them."""
    x, y = pose.head
    k = pose.k * who.head
    gx, gy = gaze_direction(pose)
    dx, dy = gx * 0.048 * k, gy * 0.034 * k
    half = EYE_X * k * who.wide * (1 - 0.12 * abs(gx))
    ry = HEAD_RY * who.tall * k
    mouth = (0.030, 0.048, 0.040)[who.mouth] * k
    my = y + 0.56 * ry + dy * 0.8
    rx = HEAD_RX * who.wide * k
    return {
        "eye0": (x + dx - half, y + dy),
        "eye1": (x + dx + half, y + dy),
        "nose": (x + dx * 1.45, y + 0.30 * ry + dy),
        "mouth0": (x + dx * 1.2 - mouth, my),
        "mouth1": (x + dx * 1.2 + mouth, my),
        "ear0": (x - rx * 0.97 - dx * 0.3, y + 0.08 * ry),
        "ear1": (x + rx * 0.97 - dx * 0.3, y + 0.08 * ry),
    }


def face_box(pose: Pose, who: Identity) -> tuple[float, float, float, float]:
    """Forehead to chin, cheek to cheek."""
    x, y = pose.head
    k = pose.k * who.head
    rx, ry = HEAD_RX * who.wide * k, HEAD_RY * who.tall * k
    return x - rx, y - 0.62 * ry, x + rx, y + 1.04 * ry


def head_box(pose: Pose, who: Identity) -> tuple[float, float, float, float]:
    """The head with its ears and the hair on its crown."""
    x, y = pose.head
    k = pose.k * who.head
    rx, ry = HEAD_RX * who.wide * k, HEAD_RY * who.tall * k
    return x - 1.1 * rx, y - 1.12 * ry, x + 1.1 * rx, y + 1.04 * ry


def draw_head(pen: Pen, pose: Pose, who: Identity) -> None:
    """Skull, ears, features, beard, hair, glasses, hat."""
    k = pose.k * who.head
    x, y = pose.head
    skin = SKINS[who.skin]
    rx, ry = HEAD_RX * who.wide * k, HEAD_RY * who.tall * k
    at = landmarks(pose, who)
    for ear in ("ear0", "ear1"):
        pen.disc(*at[ear], 0.034 * k, shade(skin, 0.86))
        if who.marks == 4:
            pen.disc(at[ear][0], at[ear][1] + 0.04 * k, 0.016 * k, (250, 206, 60))
    pen.ellipse(x, y, rx, ry, skin)
    if who.chin == 1:
        pen.poly([(x - rx * 0.97, y), (x + rx * 0.97, y), (x + rx * 0.72, y + ry),
                  (x - rx * 0.72, y + ry)], skin)  # fmt: skip
    elif who.chin == 2:
        pen.poly([(x - rx * 0.93, y + 0.3 * ry), (x + rx * 0.93, y + 0.3 * ry),
                  (x, y + 1.12 * ry)], skin)  # fmt: skip
    _beard(pen, pose, who, at, rx, ry)
    _features(pen, pose, who, at)
    _hair(pen, x, y, k, rx, ry, who)
    _glasses(pen, k, who, at, rx, x)
    _hat(pen, x, y, k, rx, ry, who)


def _beard(pen: Pen, pose: Pose, who: Identity, at: dict[str, Point], rx: float, ry: float) -> None:
    if not who.beard:
        return
    x, y = pose.head
    k = pose.k * who.head
    colour = HAIRS[who.hair_colour]
    nose = at["nose"]
    if who.beard == 4:
        mixed = tuple((3 * s + h) // 4 for s, h in zip(SKINS[who.skin], colour, strict=True))
        pen.cap(x, y, rx, ry, 20, 160, mixed)  # type: ignore[arg-type]
    if who.beard == 3:
        pen.cap(x, y + 0.03 * k, rx * 1.04, ry * 1.10, 12, 168, colour)
    if who.beard == 2:
        pen.ellipse(nose[0], y + 0.92 * ry, 0.058 * k, 0.052 * k, colour)
    if who.beard in (1, 3):
        pen.ellipse(nose[0], nose[1] + 0.042 * k, 0.075 * k, 0.024 * k, colour)


def _features(pen: Pen, pose: Pose, who: Identity, at: dict[str, Point]) -> None:
    k = pose.k * who.head
    gx, gy = gaze_direction(pose)
    skin = SKINS[who.skin]
    brow = shade(HAIRS[who.hair_colour], 0.75)
    if who.marks in (1, 2):
        for eye, out in (("eye0", -0.03), ("eye1", 0.03)):
            ex, ey = at[eye][0] + out * k, at[eye][1] + 0.072 * k
            if who.marks == 2:
                pen.ellipse(ex, ey, 0.032 * k, 0.022 * k, (240, 128, 124))
            else:
                for fx, fy in ((-0.02, 0.0), (0.012, 0.008), (-0.004, 0.022)):
                    pen.disc(ex + fx * k, ey + fy * k, 0.009 * k, shade(skin, 0.6))
    for eye in ("eye0", "eye1"):
        ex, ey = at[eye]
        pen.ellipse(ex, ey, 0.056 * k, 0.058 * k, shade(skin, 0.62))
        if who.female:  # lashes
            out = 1 if eye == "eye1" else -1
            pen.line(
                [(ex + out * 0.035 * k, ey - 0.04 * k), (ex + out * 0.085 * k, ey - 0.075 * k)],
                0.026 * k,
                (30, 24, 28),
            )
        pen.ellipse(ex, ey, 0.049 * k, 0.052 * k, (255, 255, 255))
        px, py = ex + gx * 0.024 * k, ey + gy * 0.026 * k
        pen.disc(px, py, 0.031 * k, IRISES[who.iris])
        pen.disc(px + gx * 0.004 * k, py + gy * 0.004 * k, 0.019 * k, (8, 8, 10))
        lift = (0.074, 0.074, 0.092)[who.brows] * k
        thick = (0.016, 0.034, 0.020)[who.brows] * k
        out = 0.006 * k if eye == "eye1" else -0.006 * k
        pen.line([(ex + out - 0.042 * k, ey - lift), (ex + out + 0.042 * k, ey - lift)], thick,
                 brow)  # fmt: skip
    nx, ny = at["nose"]
    size = ((0.022, 0.020), (0.040, 0.022), (0.020, 0.040))[who.nose]
    pen.ellipse(nx, ny - (0.015 * k if who.nose == 2 else 0), size[0] * k, size[1] * k,
                shade(skin, 0.78))  # fmt: skip
    (ax, ay), (bx, _) = at["mouth0"], at["mouth1"]
    mid, half = (ax + bx) / 2, (bx - ax) / 2
    red = (216, 36, 76) if who.female else (150, 66, 58) if who.skin < 5 else (122, 40, 46)
    if who.mouth == 2:
        pen.ellipse(mid, ay, half, 0.022 * k, red)
    else:
        pen.cap(mid, ay - 0.016 * k, half, 0.034 * k, 10, 170, red)
    if who.marks == 3:
        pen.disc(bx + 0.035 * k, ay - 0.02 * k, 0.013 * k, (70, 40, 30))


def _glasses(pen: Pen, k: float, who: Identity, at: dict[str, Point], rx: float, x: float) -> None:
    if not who.glasses:
        return
    (ax, ay), (bx, by) = at["eye0"], at["eye1"]
    thick = 0.016 * k
    if who.glasses == 1:
        pen.ring(ax, ay, 0.076 * k, thick, who.frame)
        pen.ring(bx, by, 0.076 * k, thick, who.frame)
    else:
        w, h = 0.064 * k, 0.062 * k
        for ex, ey in ((ax, ay), (bx, by)):
            points = [(ex - w, ey - h), (ex + w, ey - h), (ex + w, ey + h), (ex - w, ey + h)]
            if who.glasses == 2:
                pen.line([*points, points[0]], thick, who.frame)
            else:
                pen.line([points[3], points[2]], thick * 1.5, who.frame)
                pen.line([points[0], points[3]], thick, who.frame)
                pen.line([points[1], points[2]], thick, who.frame)
    pen.line([(x - rx, ay), (ax - 0.06 * k, ay)], thick, who.frame)
    pen.line([(bx + 0.06 * k, by), (x + rx, by)], thick, who.frame)


def draw_hair_behind(pen: Pen, x: float, y: float, k: float, who: Identity) -> None:
    colour: Colour = shade(HAIRS[who.hair_colour], 0.82)
    rx, ry = HEAD_RX * who.wide * k, HEAD_RY * who.tall * k
    if who.hair == "long":
        pen.limb([(x - rx * 0.8, y - 0.02 * k), (x - rx * 0.86, y + 0.22 * k)], 0.12 * k, colour)
        pen.limb([(x + rx * 0.8, y - 0.02 * k), (x + rx * 0.86, y + 0.22 * k)], 0.12 * k, colour)
    elif who.hair == "wavy":
        for dy in (0.0, 0.09, 0.18):
            for sign in (-1, 1):
                pen.disc(x + sign * rx * 0.95, y + dy * k, 0.075 * k, colour)
    elif who.hair == "bob":
        pen.ellipse(x, y + 0.02 * k, rx * 1.24, ry * 1.08, colour)
    elif who.hair == "afro":
        pen.ellipse(x, y - 0.05 * k, rx * 1.42, ry * 1.36, colour)
    elif who.hair == "ponytail":
        pen.limb([(x + rx * 0.6, y - ry * 0.8), (x + rx * 1.35, y - ry * 0.5),
                  (x + rx * 1.4, y + 0.16 * k)], 0.085 * k, colour)  # fmt: skip
    elif who.hair == "pigtails":
        for sign in (-1, 1):
            pen.limb([(x + sign * rx * 0.9, y - ry * 0.3), (x + sign * rx * 1.35, y + 0.02 * k),
                      (x + sign * rx * 1.3, y + 0.14 * k)], 0.08 * k, colour)  # fmt: skip
    elif who.hair == "bun" and who.hat == 0:
        pen.disc(x, y - ry * 1.16, 0.075 * k, colour)


def _hair(pen: Pen, x: float, y: float, k: float, rx: float, ry: float, who: Identity) -> None:
    colour = HAIRS[who.hair_colour]
    style = who.hair
    if style == "bald":
        return
    if style == "crew":
        pen.cap(x, y, rx * 1.01, ry * 1.02, 205, 335, colour)
        return
    if style == "mohawk":
        pen.poly([(x - 0.05 * k, y - ry * 0.78), (x - 0.06 * k, y - ry * 1.28),
                  (x + 0.06 * k, y - ry * 1.28), (x + 0.05 * k, y - ry * 0.78)],
                 colour)  # fmt: skip
        return
    pen.cap(x, y - 0.004 * k, rx * 1.06, ry * 1.08, 200, 340, colour)
    if style == "spiky":
        for at in (-0.10, -0.035, 0.035, 0.10):
            pen.poly([(x + (at - 0.05) * k, y - ry * 0.86), (x + at * 1.25 * k, y - ry * 1.38),
                      (x + (at + 0.05) * k, y - ry * 0.86)], colour)  # fmt: skip
    elif style == "curly":
        for at, up in ((-0.13, 0.55), (-0.075, 0.9), (0.0, 1.02), (0.075, 0.9), (0.13, 0.55)):
            pen.disc(x + at * k, y - up * ry, 0.058 * k, colour)
    elif style == "side":
        pen.poly([(x - rx, y - ry * 0.3), (x - rx * 0.3, y - ry), (x + rx, y - ry * 0.55),
                  (x + rx * 0.95, y - ry * 0.22), (x + rx * 0.1, y - ry * 0.42)],
                 colour)  # fmt: skip
    elif style in ("bob", "long", "wavy"):
        for sign in (-1, 1):
            pen.limb([(x + sign * rx * 0.78, y - ry * 0.62), (x + sign * rx * 1.0, y - ry * 0.1),
                      (x + sign * rx * 1.06, y + ry * 0.3)], 0.052 * k, colour)  # fmt: skip
    elif style == "afro":
        pen.cap(x, y - 0.01 * k, rx * 1.14, ry * 1.2, 205, 335, colour)


def _hat(pen: Pen, x: float, y: float, k: float, rx: float, ry: float, who: Identity) -> None:
    colour = who.hat_colour
    if who.hat == 1:
        pen.cap(x, y - 0.03 * k, rx * 1.08, ry * 1.12, 195, 345, colour)
        pen.limb([(x, y - ry * 0.42), (x + rx * 1.18, y - ry * 0.40)], 0.045 * k,
                 shade(colour, 0.75))  # fmt: skip
    elif who.hat == 2:
        pen.cap(x, y - 0.03 * k, rx * 1.10, ry * 1.2, 195, 345, colour)
        pen.limb([(x - rx * 0.95, y - ry * 0.5), (x + rx * 0.95, y - ry * 0.5)], 0.055 * k,
                 shade(colour, 1.4))  # fmt: skip
        pen.disc(x, y - ry * 1.36, 0.042 * k, shade(colour, 1.4))
    elif who.hat == 3:
        pen.cap(x, y - ry * 0.5, rx * 0.82, ry * 0.95, 180, 360, colour)
        pen.ellipse(x, y - ry * 0.56, rx * 1.42, 0.042 * k, shade(colour, 0.8))

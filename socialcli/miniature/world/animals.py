"""Drawing animals: one jointed quadruped with eight sets of proportions, and a bird.

An animal faces +x; its anchor is the ground below the middle of its body. `BOXES` is its extent
around the anchor in adult heights, `MOUTH` and `CROWN` where it eats and where a hand pats it,
`BACK` where a rider sits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from socialcli.miniature.world.canvas import Colour, Pen, shade

if TYPE_CHECKING:
    from socialcli.miniature.world.identity import Look


@dataclass(frozen=True)
class Build:
    """Proportions in adult heights."""

    length: float  # half length of the body
    girth: float  # half height of the body
    legs: float  # height of the belly's middle line over the ground
    thick: float  # of a leg
    head: tuple[float, float]  # head centre relative to the body's centre
    skull: tuple[float, float]
    muzzle: tuple[float, float]
    ears: str  # flop, point, long, fan, side
    tail: str  # up, curl, hair, puff, thin


BUILDS: dict[str, Build] = {
    "dog": Build(
        0.19, 0.095, 0.23, 0.055, (0.20, -0.15), (0.105, 0.095), (0.07, 0.05), "flop", "up"
    ),
    "cat": Build(
        0.15, 0.075, 0.17, 0.045, (0.16, -0.12), (0.095, 0.085), (0.04, 0.03), "point", "curl"
    ),
    "horse": Build(
        0.30, 0.135, 0.43, 0.075, (0.36, -0.30), (0.095, 0.10), (0.10, 0.065), "point", "hair"
    ),
    "sheep": Build(
        0.21, 0.15, 0.25, 0.05, (0.24, -0.09), (0.08, 0.09), (0.05, 0.045), "side", "puff"
    ),
    "cow": Build(
        0.30, 0.16, 0.39, 0.075, (0.34, -0.14), (0.10, 0.11), (0.085, 0.07), "side", "thin"
    ),
    "rabbit": Build(
        0.11, 0.085, 0.10, 0.045, (0.10, -0.11), (0.078, 0.075), (0.03, 0.03), "long", "puff"
    ),
    "elephant": Build(
        0.31, 0.22, 0.44, 0.12, (0.34, -0.12), (0.155, 0.16), (0.0, 0.0), "fan", "thin"
    ),
}

BOXES: dict[str, tuple[float, float, float, float]] = {
    "dog": (-0.32, -0.50, 0.36, 0.0),
    "cat": (-0.27, -0.41, 0.26, 0.0),
    "horse": (-0.40, -0.88, 0.56, 0.0),
    "sheep": (-0.27, -0.47, 0.36, 0.0),
    "cow": (-0.37, -0.68, 0.52, 0.0),
    "rabbit": (-0.15, -0.48, 0.20, 0.0),
    "elephant": (-0.38, -0.74, 0.56, 0.0),
    "bird": (-0.19, -0.27, 0.21, 0.0),
}
MOUTH = {
    "dog": (0.32, -0.36), "cat": (0.23, -0.28), "horse": (0.52, -0.68), "sheep": (0.33, -0.31),
    "cow": (0.47, -0.48), "rabbit": (0.18, -0.19), "elephant": (0.50, -0.24), "bird": (0.17, -0.17),
}  # fmt: skip
CROWN = {
    "dog": (0.16, -0.48), "cat": (0.14, -0.39), "horse": (0.28, -0.84), "sheep": (0.20, -0.43),
    "cow": (0.30, -0.66), "rabbit": (0.03, -0.28), "elephant": (0.24, -0.74), "bird": (0.08, -0.27),
}  # fmt: skip
BACK = {"horse": -0.565, "elephant": -0.66, "cow": -0.55, "sheep": -0.40}


def draw_animal(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    """Draw one animal standing at (x, y), facing +x."""
    if look.kind == "bird":
        _bird(pen, look, x, y, k)
    else:
        _quadruped(pen, look, BUILDS[look.kind], x, y, k)


def _quadruped(pen: Pen, look: Look, b: Build, x: float, y: float, k: float) -> None:
    coat, dark = look.main, shade(look.main, 0.74)
    cy = y - b.legs * k
    hx, hy = x + b.head[0] * k, cy + b.head[1] * k
    sock = look.second if look.pattern == "socks" else None
    for at in (-0.62, 0.84):
        _leg(pen, x + at * b.length * k, cy, y, b.thick * k, dark, None)
    _tail(pen, look, b, x, cy, k)
    pen.ellipse(x, cy, b.length * k * 1.06, b.girth * k, coat)
    for at in (-0.86, 0.60):
        _leg(pen, x + at * b.length * k, cy, y, b.thick * k, shade(coat, 0.9), sock)
    if look.kind == "sheep":
        for dx, dy in ((-0.9, -0.2), (-0.5, -0.7), (0.0, -0.85), (0.5, -0.7), (0.9, -0.2),
                       (-0.6, 0.5), (0.0, 0.6), (0.6, 0.5)):  # fmt: skip
            pen.disc(x + dx * b.length * k, cy + dy * b.girth * k, 0.075 * k, coat)
    _coat(pen, look, b, x, cy, k)
    if look.kind in ("horse", "cow", "dog"):
        pen.limb([(x + 0.75 * b.length * k, cy - 0.3 * b.girth * k), (hx, hy)], 0.12 * k *
                 (1.25 if look.kind != "dog" else 0.8), coat)  # fmt: skip
    if look.kind == "horse":
        pen.limb([(x + 0.5 * b.length * k, cy - b.girth * k), (hx - 0.06 * k, hy - 0.08 * k)],
                 0.07 * k, look.accent if look.pattern == "spots" else dark)  # fmt: skip
    _head(pen, look, b, hx, hy, k)


def _leg(
    pen: Pen, x: float, top: float, y: float, thick: float, colour: Colour, sock: Colour | None
) -> None:
    pen.line([(x, top), (x, y - 0.2 * thick)], thick, colour)
    if sock is not None:
        pen.line([(x, y - 1.5 * thick), (x, y)], thick, sock)
    pen.ellipse(x + 0.12 * thick, y - 0.28 * thick, 0.62 * thick, 0.3 * thick, shade(colour, 0.6))


def _coat(pen: Pen, look: Look, b: Build, x: float, cy: float, k: float) -> None:
    if look.pattern == "patches":
        pen.ellipse(x - 0.4 * b.length * k, cy - 0.1 * b.girth * k, 0.36 * b.length * k,
                    0.62 * b.girth * k, look.second)  # fmt: skip
        pen.ellipse(x + 0.42 * b.length * k, cy + 0.25 * b.girth * k, 0.24 * b.length * k,
                    0.42 * b.girth * k, look.second)  # fmt: skip
    elif look.pattern == "spots":
        for dx, dy in ((-0.6, -0.2), (-0.2, 0.35), (0.1, -0.45), (0.45, 0.15), (-0.75, 0.35)):
            pen.disc(x + dx * b.length * k, cy + dy * b.girth * k, 0.22 * b.girth * k, look.second)


def _tail(pen: Pen, look: Look, b: Build, x: float, cy: float, k: float) -> None:
    rear = x - b.length * k * 0.98
    colour = shade(look.main, 0.84)
    if b.tail == "up":
        pen.limb([(rear, cy - 0.03 * k), (rear - 0.1 * k, cy - 0.14 * k)], 0.05 * k, colour)
    elif b.tail == "curl":
        pen.limb([(rear, cy), (rear - 0.09 * k, cy - 0.05 * k), (rear - 0.08 * k, cy - 0.2 * k)],
                 0.042 * k, colour)  # fmt: skip
    elif b.tail == "hair":
        pen.limb([(rear, cy - 0.06 * k), (rear - 0.07 * k, cy + 0.0 * k), (rear - 0.06 * k,
                 cy + 0.2 * k)], 0.065 * k, shade(look.main, 0.6))  # fmt: skip
    elif b.tail == "puff":
        pen.disc(rear - 0.01 * k, cy - 0.02 * k, 0.045 * k, shade(look.main, 1.3))
    else:
        pen.limb([(rear, cy - 0.05 * k), (rear - 0.05 * k, cy + 0.1 * k)], 0.026 * k, colour)
        pen.disc(rear - 0.05 * k, cy + 0.12 * k, 0.028 * k, shade(look.main, 0.5))


def _head(pen: Pen, look: Look, b: Build, x: float, y: float, k: float) -> None:
    coat, dark = look.main, shade(look.main, 0.70)
    rx, ry = b.skull[0] * k, b.skull[1] * k
    face = look.second if look.kind == "sheep" or look.pattern == "patches" else coat
    if look.kind == "elephant":
        pen.ellipse(x - 0.12 * k, y + 0.01 * k, 0.15 * k, 0.18 * k, dark)
        pen.limb([(x + 0.10 * k, y + 0.02 * k), (x + 0.17 * k, y + 0.14 * k),
                  (x + 0.16 * k, y + 0.28 * k)], 0.085 * k, shade(coat, 0.9))  # fmt: skip
        pen.ellipse(x, y, rx, ry, coat)
        pen.ellipse(x - 0.10 * k, y + 0.02 * k, 0.10 * k, 0.13 * k, shade(coat, 0.86))
        pen.limb([(x + 0.08 * k, y + 0.11 * k), (x + 0.16 * k, y + 0.17 * k)], 0.03 * k,
                 (252, 250, 240))  # fmt: skip
    elif b.ears == "long":
        for at in (-0.045, 0.02):
            pen.tilted(x + at * k, y - 0.16 * k, 0.028 * k, 0.11 * k, at * 3, coat)
            pen.tilted(x + at * k, y - 0.16 * k, 0.013 * k, 0.08 * k, at * 3, (250, 180, 186))
    elif b.ears == "point":
        for at in (-0.065, 0.045):
            pen.poly([(x + (at - 0.035) * k, y - 0.5 * ry), (x + at * k, y - ry - 0.085 * k),
                      (x + (at + 0.04) * k, y - 0.6 * ry)], dark)  # fmt: skip
    if look.kind != "elephant":
        pen.ellipse(x, y, rx, ry, face)
        mx, my = b.muzzle
        down = 0.5 if look.kind in ("horse", "cow") else 0.3
        pen.ellipse(x + rx * 0.75, y + ry * down, mx * k, my * k,
                    shade(coat, 1.45) if look.kind != "cow" else (244, 184, 176))  # fmt: skip
        pen.disc(x + rx * 0.75 + mx * 0.75 * k, y + ry * (down - 0.2), 0.024 * k, (40, 30, 32))
    if b.ears == "flop":
        pen.tilted(x - 0.07 * k, y + 0.015 * k, 0.042 * k, 0.092 * k, 0.25, dark)
    elif b.ears == "side":
        pen.tilted(x - 0.085 * k, y - 0.05 * k, 0.06 * k, 0.03 * k, -0.3, shade(face, 0.8))
    if look.kind == "cow":
        pen.limb([(x - 0.03 * k, y - ry), (x + 0.0 * k, y - ry - 0.06 * k)], 0.03 * k,
                 (240, 228, 196))  # fmt: skip
    pen.disc(x + 0.25 * rx, y - 0.18 * ry, 0.030 * k, (255, 255, 255))
    pen.disc(x + 0.32 * rx, y - 0.16 * ry, 0.020 * k, (20, 18, 22))
    if look.kind in ("dog", "cat", "rabbit"):
        pen.limb([(x - 0.8 * rx, y + 0.88 * ry), (x + 0.1 * rx, y + 1.08 * ry)], 0.032 * k,
                 look.accent)  # fmt: skip
    if look.kind == "cat":
        pen.line([(x + 0.7 * rx, y + 0.3 * ry), (x + 1.4 * rx, y + 0.1 * ry)], 0.010 * k,
                 (90, 90, 90))  # fmt: skip


def _bird(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    for at in (-0.02, 0.04):
        pen.line([(x + at * k, y - 0.08 * k), (x + at * k, y)], 0.016 * k, (230, 140, 40))
    pen.poly(
        [(x - 0.08 * k, y - 0.12 * k), (x - 0.19 * k, y - 0.17 * k), (x - 0.18 * k, y - 0.09 * k)],
        shade(look.main, 0.7),
    )
    pen.ellipse(x, y - 0.125 * k, 0.115 * k, 0.082 * k, look.main)
    pen.disc(x + 0.09 * k, y - 0.195 * k, 0.072 * k, look.main)
    pen.poly([(x + 0.145 * k, y - 0.215 * k), (x + 0.21 * k, y - 0.185 * k), (x + 0.145 * k,
             y - 0.165 * k)], (244, 160, 40))  # fmt: skip
    wing = look.second if look.pattern != "plain" else shade(look.main, 0.76)
    pen.tilted(x - 0.03 * k, y - 0.13 * k, 0.07 * k, 0.045 * k, 0.3, wing)
    pen.disc(x + 0.10 * k, y - 0.21 * k, 0.026 * k, (255, 255, 255))
    pen.disc(x + 0.107 * k, y - 0.208 * k, 0.017 * k, (20, 18, 22))

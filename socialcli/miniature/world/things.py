"""Drawing things: each kind is one function and one box around it.

A thing's *anchor* is where it is held (hand-held things) or the middle of its foot (things that
stand). `BOXES` gives each kind's extent around its anchor in adult heights: (left, top, right,
bottom), before ``k`` scales it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from socialcli.miniature.world.canvas import Pen, shade

if TYPE_CHECKING:
    from socialcli.miniature.world.identity import Look

BOXES: dict[str, tuple[float, float, float, float]] = {
    "umbrella": (-0.34, -0.62, 0.34, 0.06),
    "cup": (-0.085, -0.10, 0.085, 0.08),
    "book": (-0.16, -0.11, 0.16, 0.11),
    "balloon": (-0.14, -0.60, 0.14, 0.02),
    "flower": (-0.10, -0.24, 0.10, 0.10),
    "ball": (-0.11, -0.22, 0.11, 0.0),
    "phone": (-0.055, -0.09, 0.055, 0.09),
    "apple": (-0.075, -0.11, 0.075, 0.07),
    "camera": (-0.11, -0.09, 0.11, 0.07),
    "guitar": (-0.20, -0.29, 0.42, 0.16),
    "bag": (-0.14, -0.06, 0.14, 0.22),
    "box": (-0.17, -0.28, 0.17, 0.0),
    "suitcase": (-0.15, -0.42, 0.15, 0.0),
    "chair": (-0.17, -0.50, 0.19, 0.0),
    "cake": (-0.16, -0.22, 0.16, 0.02),
    "cart": (-0.26, -0.44, 0.28, 0.0),
    "stroller": (-0.26, -0.48, 0.26, 0.0),
    "wheelbarrow": (-0.36, -0.34, 0.28, 0.0),
    "bicycle": (-0.44, -0.48, 0.44, 0.0),
    "skateboard": (-0.28, -0.12, 0.28, 0.0),
    "scooter": (-0.30, -0.52, 0.30, 0.0),
    "frisbee": (-0.12, -0.05, 0.12, 0.05),
    "bench": (-0.42, -0.46, 0.42, 0.0),
    "kite": (-0.17, -0.23, 0.17, 0.30),
}
DARK = (58, 54, 60)
STEEL = (170, 176, 184)
WOOD = (160, 108, 60)
RUBBER = (48, 46, 52)


def draw_thing(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    """Draw one thing with its anchor at (x, y) in the act's frame."""
    _DRAW[look.kind](pen, look, x, y, k)


def _mark(pen: Pen, look: Look, x: float, y: float, w: float, h: float) -> None:
    """The pattern that makes a particular thing recognisable, on a surface 2w by 2h."""
    second = look.second
    if look.pattern == "stripes":
        for at in (-0.55, 0.0, 0.55):
            pen.box(x + (at - 0.15) * w, y - h, x + (at + 0.15) * w, y + h, second)
    elif look.pattern == "band":
        pen.box(x - w, y - 0.3 * h, x + w, y + 0.3 * h, second)
    elif look.pattern == "dots":
        r = 0.26 * min(w, h)
        for dx, dy in ((-0.5, -0.45), (0.5, -0.45), (0.0, 0.05), (-0.5, 0.5), (0.5, 0.5)):
            pen.disc(x + dx * w, y + dy * h, r, second)
    elif look.pattern == "star":
        r = 0.75 * min(w, h)
        points = []
        for i in range(10):
            a, reach = -math.pi / 2 + i * math.pi / 5, r if i % 2 == 0 else 0.45 * r
            points.append((x + reach * math.cos(a), y + reach * math.sin(a)))
        pen.poly(points, second)


def _wheel(pen: Pen, x: float, y: float, r: float, hub: bool = True) -> None:
    pen.disc(x, y, r, RUBBER)
    if hub:
        pen.disc(x, y, r * 0.5, STEEL)


def _umbrella(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.line([(x, y - 0.55 * k), (x, y + 0.03 * k)], 0.026 * k, DARK)
    pen.arc(x + 0.025 * k, y + 0.03 * k, 0.028 * k, 0, 180, 0.024 * k, DARK)
    top = y - 0.32 * k
    pen.cap(x, top, 0.34 * k, 0.26 * k, 180, 360, look.main)
    if look.pattern != "plain":
        a, b = (0.13, 0.13) if look.pattern == "band" else (0.20, 0.07)
        for lo, hi in ((-a - b / 2, -a + b / 2), (a - b / 2, a + b / 2)):
            pen.poly([(x, top - 0.26 * k), (x + lo * k, top), (x + hi * k, top)], look.second)
        if look.pattern in ("dots", "star"):
            pen.disc(x, top - 0.08 * k, 0.045 * k, look.second)
    for at in (-0.227, 0.0, 0.227):
        pen.cap(x + at * k, top, 0.114 * k, 0.04 * k, 180, 360, shade(look.main, 0.7))
    pen.line([(x, y - 0.62 * k), (x, y - 0.56 * k)], 0.026 * k, DARK)


def _cup(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.ring(x + 0.05 * k, y - 0.005 * k, 0.042 * k, 0.018 * k, shade(look.main, 0.75))
    pen.poly([(x - 0.08 * k, y - 0.09 * k), (x + 0.055 * k, y - 0.09 * k),
              (x + 0.04 * k, y + 0.08 * k), (x - 0.065 * k, y + 0.08 * k)], look.main)  # fmt: skip
    _mark(pen, look, x - 0.012 * k, y + 0.005 * k, 0.05 * k, 0.055 * k)
    pen.ellipse(x - 0.012 * k, y - 0.09 * k, 0.067 * k, 0.018 * k, shade(look.main, 0.6))


def _book(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    for sign in (-1, 1):
        pen.poly([(x, y - 0.08 * k), (x + sign * 0.16 * k, y - 0.11 * k),
                  (x + sign * 0.16 * k, y + 0.09 * k), (x, y + 0.11 * k)],
                 look.main)  # fmt: skip
        pen.poly([(x, y - 0.10 * k), (x + sign * 0.135 * k, y - 0.115 * k),
                  (x + sign * 0.135 * k, y - 0.075 * k), (x, y - 0.06 * k)],
                 (250, 248, 238))  # fmt: skip
        if look.pattern != "plain":
            small = 0.06 if look.pattern == "star" else 0.045
            _mark(pen, look, x + sign * 0.08 * k, y + 0.02 * k, small * k, 0.06 * k)
    pen.line([(x, y - 0.08 * k), (x, y + 0.11 * k)], 0.014 * k, shade(look.main, 0.6))


def _balloon(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.line([(x, y), (x + 0.01 * k, y - 0.18 * k), (x, y - 0.30 * k)], 0.012 * k, DARK)
    pen.ellipse(x, y - 0.45 * k, 0.135 * k, 0.155 * k, look.main)
    _mark(pen, look, x, y - 0.44 * k, 0.08 * k, 0.07 * k)
    pen.poly([(x - 0.03 * k, y - 0.275 * k), (x + 0.03 * k, y - 0.275 * k), (x, y - 0.31 * k)],
             shade(look.main, 0.75))  # fmt: skip
    pen.tilted(x - 0.06 * k, y - 0.53 * k, 0.02 * k, 0.035 * k, 0.5, (255, 255, 255))


def _flower(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.line([(x, y - 0.14 * k), (x, y + 0.10 * k)], 0.024 * k, (46, 130, 60))
    pen.tilted(x + 0.04 * k, y + 0.01 * k, 0.05 * k, 0.02 * k, -0.6, (46, 130, 60))
    for i in range(5):
        a = i * 2 * math.pi / 5 - math.pi / 2
        px, py = x + 0.058 * k * math.cos(a), y + (-0.15 + 0.058 * math.sin(a)) * k
        striped = look.pattern in ("stripes", "star") and i % 2 == 0
        pen.disc(px, py, 0.044 * k, look.second if striped else look.main)
        if look.pattern == "dots":
            pen.disc(px, py, 0.016 * k, look.second)
    pen.disc(x, y - 0.15 * k, 0.036 * k, look.accent if look.pattern == "band" else (250, 200, 40))


def _ball(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    cy = y - 0.11 * k
    pen.disc(x, cy, 0.11 * k, shade(look.main, 0.78))
    pen.disc(x, cy, 0.098 * k, look.main)
    if look.pattern == "stripes":
        pen.box(x - 0.02 * k, cy - 0.097 * k, x + 0.02 * k, cy + 0.097 * k, look.second)
        pen.box(x - 0.097 * k, cy - 0.02 * k, x + 0.097 * k, cy + 0.02 * k, look.second)
    elif look.pattern == "band":
        pen.box(x - 0.095 * k, cy - 0.032 * k, x + 0.095 * k, cy + 0.032 * k, look.second)
    else:
        _mark(pen, look, x, cy, 0.08 * k, 0.08 * k)


def _phone(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.box(x - 0.055 * k, y - 0.09 * k, x + 0.055 * k, y + 0.09 * k, look.main)
    pen.box(x - 0.036 * k, y - 0.066 * k, x + 0.036 * k, y + 0.05 * k, (36, 44, 60))
    pen.disc(x, y + 0.07 * k, 0.012 * k, look.second if look.pattern != "plain" else DARK)


def _apple(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.line([(x, y - 0.05 * k), (x + 0.012 * k, y - 0.11 * k)], 0.018 * k, (96, 60, 34))
    pen.tilted(x + 0.04 * k, y - 0.085 * k, 0.034 * k, 0.016 * k, -0.4, (70, 160, 70))
    pen.disc(x - 0.022 * k, y, 0.056 * k, look.main)
    pen.disc(x + 0.022 * k, y, 0.056 * k, look.main)
    pen.ellipse(x, y + 0.01 * k, 0.065 * k, 0.062 * k, look.main)
    if look.pattern != "plain":
        pen.ellipse(x + 0.03 * k, y, 0.026 * k, 0.04 * k, look.second)
    pen.disc(x - 0.034 * k, y - 0.02 * k, 0.014 * k, (255, 255, 255))


def _camera(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.box(x - 0.05 * k, y - 0.09 * k, x + 0.04 * k, y - 0.05 * k, shade(look.main, 0.8))
    pen.box(x - 0.11 * k, y - 0.065 * k, x + 0.11 * k, y + 0.07 * k, look.main)
    if look.pattern != "plain":
        pen.box(x - 0.11 * k, y + 0.03 * k, x + 0.11 * k, y + 0.055 * k, look.second)
    pen.disc(x, y, 0.058 * k, DARK)
    pen.disc(x, y, 0.036 * k, (120, 190, 230))
    pen.disc(x - 0.012 * k, y - 0.012 * k, 0.012 * k, (255, 255, 255))


def _guitar(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    body = look.main
    pen.limb([(x, y), (x + 0.36 * k, y - 0.22 * k)], 0.05 * k, (92, 60, 36))
    pen.limb([(x + 0.36 * k, y - 0.22 * k), (x + 0.40 * k, y - 0.245 * k)], 0.075 * k, DARK)
    pen.disc(x - 0.055 * k, y + 0.02 * k, 0.14 * k, body)
    pen.disc(x + 0.085 * k, y - 0.05 * k, 0.105 * k, body)
    if look.pattern != "plain":
        pen.disc(x - 0.10 * k, y + 0.05 * k, 0.06 * k, look.second)
    pen.disc(x + 0.03 * k, y - 0.02 * k, 0.048 * k, (44, 32, 26))
    pen.line([(x - 0.10 * k, y + 0.055 * k), (x + 0.36 * k, y - 0.22 * k)], 0.012 * k,
             (248, 240, 220))  # fmt: skip


def _bag(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.ring(x, y + 0.035 * k, 0.085 * k, 0.026 * k, look.accent)
    pen.poly([(x - 0.11 * k, y + 0.05 * k), (x + 0.11 * k, y + 0.05 * k),
              (x + 0.14 * k, y + 0.22 * k), (x - 0.14 * k, y + 0.22 * k)], look.main)  # fmt: skip
    _mark(pen, look, x, y + 0.145 * k, 0.10 * k, 0.065 * k)
    pen.disc(x, y + 0.062 * k, 0.018 * k, (250, 210, 80))


def _box(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.box(x - 0.17 * k, y - 0.28 * k, x + 0.17 * k, y, look.main)
    _mark(pen, look, x, y - 0.12 * k, 0.12 * k, 0.09 * k)
    pen.box(x - 0.17 * k, y - 0.28 * k, x + 0.17 * k, y - 0.225 * k, shade(look.main, 0.72))
    pen.box(x - 0.03 * k, y - 0.28 * k, x + 0.03 * k, y - 0.18 * k, (226, 200, 150))


def _suitcase(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.line(
        [
            (x - 0.06 * k, y - 0.3 * k),
            (x - 0.06 * k, y - 0.41 * k),
            (x + 0.06 * k, y - 0.41 * k),
            (x + 0.06 * k, y - 0.3 * k),
        ],
        0.022 * k,
        DARK,
    )
    pen.box(x - 0.15 * k, y - 0.32 * k, x + 0.15 * k, y - 0.03 * k, look.main)
    _mark(pen, look, x, y - 0.175 * k, 0.10 * k, 0.10 * k)
    for at in (-0.145, 0.105):
        pen.box(x + at * k, y - 0.32 * k, x + (at + 0.04) * k, y - 0.03 * k, shade(look.main, 0.7))
    _wheel(pen, x - 0.1 * k, y - 0.022 * k, 0.024 * k, hub=False)
    _wheel(pen, x + 0.1 * k, y - 0.022 * k, 0.024 * k, hub=False)


def _chair(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    dark = shade(look.main, 0.68)
    for at in (-0.13, 0.13):
        pen.line([(x + at * k, y - 0.22 * k), (x + at * k, y)], 0.04 * k, dark)
    pen.box(x - 0.17 * k, y - 0.50 * k, x + 0.17 * k, y - 0.24 * k, look.main)
    _mark(pen, look, x, y - 0.37 * k, 0.12 * k, 0.09 * k)
    pen.box(x - 0.18 * k, y - 0.25 * k, x + 0.18 * k, y - 0.19 * k, dark)


def _cake(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.ellipse(x, y, 0.16 * k, 0.022 * k, (226, 228, 232))
    pen.box(x - 0.125 * k, y - 0.13 * k, x + 0.125 * k, y, (244, 222, 178))
    pen.box(x - 0.125 * k, y - 0.13 * k, x + 0.125 * k, y - 0.075 * k, look.main)
    for at in (-0.09, 0.0, 0.09):
        pen.disc(x + at * k, y - 0.075 * k, 0.026 * k, look.main)
    if look.pattern != "plain":
        pen.box(x - 0.125 * k, y - 0.04 * k, x + 0.125 * k, y - 0.018 * k, look.second)
    for at in (-0.07, 0.0, 0.07) if look.pattern in ("dots", "star") else (0.0,):
        pen.line([(x + at * k, y - 0.13 * k), (x + at * k, y - 0.185 * k)], 0.022 * k, look.accent)
        pen.ellipse(x + at * k, y - 0.20 * k, 0.014 * k, 0.022 * k, (255, 190, 50))


def _cart(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.line([(x - 0.26 * k, y - 0.42 * k), (x - 0.17 * k, y - 0.36 * k)], 0.03 * k, DARK)
    pen.disc(x - 0.25 * k, y - 0.42 * k, 0.022 * k, DARK)
    pen.poly([(x - 0.2 * k, y - 0.38 * k), (x + 0.28 * k, y - 0.38 * k),
              (x + 0.22 * k, y - 0.13 * k), (x - 0.14 * k, y - 0.13 * k)], look.main)  # fmt: skip
    _mark(pen, look, x + 0.04 * k, y - 0.255 * k, 0.14 * k, 0.09 * k)
    pen.line([(x - 0.2 * k, y - 0.375 * k), (x + 0.28 * k, y - 0.375 * k)], 0.03 * k,
             shade(look.main, 0.68))  # fmt: skip
    _wheel(pen, x - 0.09 * k, y - 0.065 * k, 0.065 * k)
    _wheel(pen, x + 0.17 * k, y - 0.065 * k, 0.065 * k)


def _stroller(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.line(
        [(x - 0.25 * k, y - 0.44 * k), (x - 0.1 * k, y - 0.26 * k), (x + 0.14 * k, y - 0.06 * k)],
        0.03 * k,
        STEEL,
    )
    pen.line([(x + 0.14 * k, y - 0.22 * k), (x - 0.12 * k, y - 0.06 * k)], 0.03 * k, STEEL)
    pen.disc(x - 0.24 * k, y - 0.44 * k, 0.024 * k, DARK)
    pen.cap(x + 0.03 * k, y - 0.27 * k, 0.22 * k, 0.18 * k, 0, 180, look.main)
    pen.cap(x + 0.03 * k, y - 0.27 * k, 0.22 * k, 0.21 * k, 270, 360, shade(look.main, 0.72))
    pen.poly(
        [(x + 0.03 * k, y - 0.27 * k), (x + 0.03 * k, y - 0.48 * k), (x + 0.25 * k, y - 0.27 * k)],
        shade(look.main, 0.72),
    )
    _mark(pen, look, x + 0.03 * k, y - 0.19 * k, 0.12 * k, 0.05 * k)
    _wheel(pen, x - 0.13 * k, y - 0.065 * k, 0.065 * k)
    _wheel(pen, x + 0.16 * k, y - 0.065 * k, 0.065 * k)


def _wheelbarrow(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.limb(
        [(x - 0.35 * k, y - 0.32 * k), (x - 0.1 * k, y - 0.16 * k), (x + 0.2 * k, y - 0.09 * k)],
        0.034 * k,
        WOOD,
    )
    pen.line([(x - 0.1 * k, y - 0.16 * k), (x - 0.12 * k, y)], 0.03 * k, DARK)
    pen.cap(x + 0.03 * k, y - 0.32 * k, 0.24 * k, 0.2 * k, 0, 180, look.main)
    _mark(pen, look, x + 0.03 * k, y - 0.24 * k, 0.12 * k, 0.05 * k)
    pen.line([(x - 0.21 * k, y - 0.32 * k), (x + 0.27 * k, y - 0.32 * k)], 0.028 * k,
             shade(look.main, 0.68))  # fmt: skip
    _wheel(pen, x + 0.19 * k, y - 0.085 * k, 0.085 * k)


def _bicycle(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    for at in (-0.27, 0.27):
        pen.ring(x + at * k, y - 0.165 * k, 0.165 * k, 0.036 * k, RUBBER)
        pen.disc(x + at * k, y - 0.165 * k, 0.03 * k, STEEL)
    hub, seat, bar = (x - 0.02 * k, y - 0.15 * k), (x - 0.1 * k, y - 0.37 * k), (
        x + 0.2 * k, y - 0.40 * k)  # fmt: skip
    for a, b in ((hub, seat), (hub, bar), (seat, bar), (hub, (x - 0.27 * k, y - 0.165 * k)),
                 (bar, (x + 0.27 * k, y - 0.165 * k))):  # fmt: skip
        pen.line([a, b], 0.034 * k, look.main)
    if look.pattern != "plain":
        pen.limb([(x + 0.0 * k, y - 0.38 * k), (x + 0.09 * k, y - 0.388 * k)], 0.045 * k,
                 look.second)  # fmt: skip
    pen.limb([(x - 0.16 * k, y - 0.39 * k), (x - 0.05 * k, y - 0.39 * k)], 0.045 * k, DARK)
    pen.limb([bar, (x + 0.18 * k, y - 0.46 * k), (x + 0.25 * k, y - 0.46 * k)], 0.03 * k, DARK)
    pen.disc(*hub, 0.04 * k, STEEL)


def _skateboard(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.limb(
        [
            (x - 0.26 * k, y - 0.10 * k),
            (x - 0.2 * k, y - 0.075 * k),
            (x + 0.2 * k, y - 0.075 * k),
            (x + 0.26 * k, y - 0.10 * k),
        ],
        0.044 * k,
        look.main,
    )
    if look.pattern != "plain":
        pen.line([(x - 0.12 * k, y - 0.075 * k), (x + 0.12 * k, y - 0.075 * k)], 0.022 * k,
                 look.second)  # fmt: skip
    _wheel(pen, x - 0.15 * k, y - 0.032 * k, 0.034 * k)
    _wheel(pen, x + 0.15 * k, y - 0.032 * k, 0.034 * k)


def _scooter(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    _wheel(pen, x - 0.22 * k, y - 0.055 * k, 0.055 * k)
    _wheel(pen, x + 0.24 * k, y - 0.055 * k, 0.055 * k)
    pen.limb([(x - 0.22 * k, y - 0.085 * k), (x + 0.2 * k, y - 0.085 * k)], 0.05 * k, look.main)
    pen.line([(x + 0.24 * k, y - 0.07 * k), (x + 0.17 * k, y - 0.47 * k)], 0.036 * k,
             look.second if look.pattern != "plain" else STEEL)  # fmt: skip
    pen.limb([(x + 0.11 * k, y - 0.49 * k), (x + 0.22 * k, y - 0.49 * k)], 0.036 * k, DARK)


def _frisbee(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    pen.ellipse(x, y, 0.12 * k, 0.05 * k, look.main)
    pen.ellipse(x, y - 0.006 * k, 0.075 * k, 0.026 * k, shade(look.main, 0.7))
    if look.pattern != "plain":
        pen.ellipse(x, y - 0.006 * k, 0.04 * k, 0.016 * k, look.second)


def _bench(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    dark = shade(look.main, 0.66)
    for at in (-0.35, 0.35):
        pen.line([(x + at * k, y - 0.45 * k), (x + at * k, y)], 0.045 * k, dark)
    for at in (-0.43, -0.33):
        pen.box(x - 0.42 * k, y + (at - 0.03) * k, x + 0.42 * k, y + (at + 0.04) * k, look.main)
    if look.pattern != "plain":
        pen.box(x - 0.42 * k, y - 0.43 * k, x + 0.42 * k, y - 0.405 * k, look.second)
    pen.box(x - 0.42 * k, y - 0.25 * k, x + 0.42 * k, y - 0.18 * k, shade(look.main, 0.85))


def _kite(pen: Pen, look: Look, x: float, y: float, k: float) -> None:
    left, right = (x - 0.17 * k, y - 0.04 * k), (x + 0.17 * k, y - 0.04 * k)
    top, low = (x, y - 0.23 * k), (x, y + 0.17 * k)
    pen.line(
        [
            low,
            (x + 0.04 * k, y + 0.21 * k),
            (x - 0.03 * k, y + 0.25 * k),
            (x + 0.02 * k, y + 0.29 * k),
        ],
        0.018 * k,
        look.accent,
    )
    pen.poly([top, right, low, left], look.main)
    if look.pattern != "plain":
        pen.poly([top, right, (x, y - 0.04 * k)], look.second)
        pen.poly([low, left, (x, y - 0.04 * k)], look.second)
    for at in (0.21, 0.265):
        pen.disc(x + 0.01 * k, y + at * k, 0.026 * k, look.accent)


_DRAW = {name[1:]: function for name, function in list(globals().items())
         if name[1:] in BOXES and callable(function)}  # fmt: skip

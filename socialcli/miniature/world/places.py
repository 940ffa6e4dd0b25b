"""Backgrounds: nine places, each with details that vary from scene to scene.

Drawn in picture units: (0, 0) top left, (100, 100) bottom right; ``horizon`` is where the ground
begins. Nobody's pixels (instance 0).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from socialcli.miniature.world.canvas import Colour, Pen, shade

SKY: Colour = (176, 220, 248)


def draw_place(pen: Pen, place: str, horizon: float, rng: random.Random) -> None:
    """Fill the picture with one place."""
    _DRAW[place](pen, horizon, rng)


def _fill(pen: Pen, horizon: float, above: Colour, below: Colour) -> None:
    pen.box(-1, -1, 101, horizon, above)
    pen.box(-1, horizon, 101, 101, below)


def _clouds(pen: Pen, rng: random.Random, colour: Colour = (250, 252, 255)) -> None:
    for _ in range(rng.randrange(3)):
        x, y, r = rng.uniform(5, 95), rng.uniform(5, 22), rng.uniform(3.5, 6)
        for dx, grow in ((-r, 0.75), (0, 1.0), (r, 0.7)):
            pen.ellipse(x + dx, y, r * grow * 1.2, r * grow * 0.8, colour)


def _sun(pen: Pen, rng: random.Random) -> None:
    if rng.random() < 0.5:
        pen.disc(rng.choice((12.0, 86.0)), 13, 6.5, (255, 226, 92))


def _tree(pen: Pen, x: float, y: float, r: float, leaf: Colour) -> None:
    pen.box(x - r * 0.16, y - r * 1.6, x + r * 0.16, y, (126, 86, 54))
    pen.disc(x, y - r * 2.1, r, leaf)
    pen.disc(x - r * 0.6, y - r * 1.6, r * 0.62, shade(leaf, 0.92))
    pen.disc(x + r * 0.6, y - r * 1.6, r * 0.62, shade(leaf, 0.92))


def _park(pen: Pen, horizon: float, rng: random.Random) -> None:
    _fill(pen, horizon, SKY, (150, 208, 120))
    _sun(pen, rng)
    _clouds(pen, rng)
    for _ in range(rng.randint(1, 3)):
        _tree(pen, rng.uniform(2, 98), horizon + rng.uniform(0, 3), rng.uniform(7, 11),
              rng.choice(((104, 176, 92), (126, 188, 88), (88, 158, 96))))  # fmt: skip
    pen.poly([(30, 101), (46, horizon), (54, horizon), (78, 101)], (232, 214, 172))


def _beach(pen: Pen, horizon: float, rng: random.Random) -> None:
    _fill(pen, horizon, (168, 222, 250), (248, 226, 168))
    _sun(pen, rng)
    _clouds(pen, rng)
    pen.box(-1, horizon - 16, 101, horizon, (92, 178, 216))
    for _ in range(3):
        x, y = rng.uniform(0, 90), rng.uniform(horizon - 13, horizon - 3)
        pen.box(x, y, x + 9, y + 1.2, (190, 230, 244))
    pen.box(-1, horizon - 1.5, 101, horizon + 1.0, (246, 246, 240))
    if rng.random() < 0.4:
        x = rng.choice((14.0, 84.0))
        pen.poly([(x, horizon - 27), (x, horizon - 13), (x + 10, horizon - 13)], (252, 252, 252))
        pen.box(x - 5, horizon - 13, x + 12, horizon - 10, (170, 90, 60))


def _street(pen: Pen, horizon: float, rng: random.Random) -> None:
    _fill(pen, horizon, (196, 222, 240), (172, 174, 180))
    x = -4.0
    while x < 100:
        width, top = rng.uniform(15, 24), rng.uniform(14, 34)
        wall = rng.choice(((222, 186, 160), (204, 196, 214), (226, 210, 170), (186, 204, 208)))
        pen.box(x, top, x + width, horizon, wall)
        for wy in range(int(top) + 4, int(horizon) - 7, 11):
            for wx in (x + 3.0, x + width - 7.0):
                pen.box(wx, wy, wx + 4, wy + 6, shade(wall, 0.72))
        x += width
    pen.box(-1, horizon, 101, horizon + 3.0, (206, 206, 208))
    for at in range(4, 100, 24):
        pen.box(at, 92.5, at + 12, 94.5, (240, 238, 220))


def _room(pen: Pen, horizon: float, rng: random.Random) -> None:
    wall = rng.choice(((244, 226, 200), (214, 228, 236), (236, 214, 220), (220, 232, 208)))
    _fill(pen, horizon, wall, (198, 158, 116))
    for y in (horizon + 8, horizon + 18, horizon + 29):
        pen.box(-1, y, 101, y + 0.8, (180, 140, 100))
    pen.box(-1, horizon - 2, 101, horizon, shade(wall, 0.8))
    x = rng.uniform(6, 60)
    if rng.random() < 0.6:
        pen.box(x, 12, x + 28, 40, (250, 250, 248))
        pen.box(x + 2, 14, x + 26, 38, (170, 216, 246))
        pen.box(x + 13, 12, x + 15, 40, (250, 250, 248))
    else:
        pen.box(x, 14, x + 20, 32, (140, 96, 60))
        pen.box(x + 2, 16, x + 18, 30, rng.choice(((220, 190, 120), (150, 190, 160))))
    pen.ellipse(50, 93, 44, 6, rng.choice(((190, 120, 110), (120, 140, 176), (150, 150, 120))))


def _snow(pen: Pen, horizon: float, rng: random.Random) -> None:
    _fill(pen, horizon, (190, 208, 226), (238, 243, 250))
    for _ in range(rng.randint(1, 3)):
        x, h = rng.uniform(4, 96), rng.uniform(18, 28)
        for part in (0.0, 0.3, 0.6):
            pen.poly(
                [
                    (x - 8 + part * 7, horizon + 1 - part * h),
                    (x, horizon - h * (part * 0.6 + 0.42)),
                    (x + 8 - part * 7, horizon + 1 - part * h),
                ],
                (84, 132, 110),
            )
    for _ in range(16):
        pen.disc(rng.uniform(0, 100), rng.uniform(0, horizon), 0.9, (255, 255, 255))


def _meadow(pen: Pen, horizon: float, rng: random.Random) -> None:
    _fill(pen, horizon, (190, 228, 246), (176, 214, 108))
    _sun(pen, rng)
    _clouds(pen, rng)
    pen.ellipse(rng.uniform(10, 40), horizon + 6, 46, 17, (142, 196, 104))
    pen.ellipse(rng.uniform(60, 95), horizon + 7, 40, 14, (158, 206, 110))
    pen.box(-1, horizon + 4, 101, 101, (176, 214, 108))
    for _ in range(14):
        pen.disc(rng.uniform(0, 100), rng.uniform(horizon + 6, 99), 1.1,
                 rng.choice(((252, 250, 240), (250, 214, 80), (236, 150, 190))))  # fmt: skip


def _kitchen(pen: Pen, horizon: float, rng: random.Random) -> None:
    tone = rng.choice(((206, 226, 220), (240, 232, 206), (226, 216, 230)))
    _fill(pen, horizon, tone, (222, 218, 210))
    for at in range(0, 100, 14):
        pen.box(at, horizon, at + 0.8, 101, (200, 196, 190))
    for y in (horizon + 9, horizon + 20):
        pen.box(-1, y, 101, y + 0.8, (200, 196, 190))
    cupboard = rng.choice(((176, 142, 108), (130, 160, 170), (196, 120, 104)))
    pen.box(-1, horizon - 24, 101, horizon, cupboard)
    pen.box(-1, horizon - 26, 101, horizon - 23, (238, 238, 236))
    for at in range(2, 100, 20):
        pen.box(at, horizon - 20, at + 16, horizon - 2, shade(cupboard, 1.18))
        pen.box(at + 7, horizon - 18, at + 10, horizon - 17, (90, 80, 76))
    for at in range(2, 80, 26):
        pen.box(at, 4, at + 22, 20, shade(cupboard, 1.1))


def _playground(pen: Pen, horizon: float, rng: random.Random) -> None:
    _fill(pen, horizon, SKY, (226, 196, 148))
    _clouds(pen, rng)
    pen.box(-1, horizon, 101, horizon + 4, (140, 198, 112))
    x = rng.choice((12.0, 70.0))
    for at in (x - 6, x + 22):
        pen.line([(at, horizon + 3), (x + 8, horizon - 30)], 1.8, (206, 92, 80))
    for at in (x + 4, x + 12):
        pen.line([(at, horizon - 22), (at, horizon - 5)], 0.9, (110, 110, 118))
    pen.box(x + 2, horizon - 6, x + 14, horizon - 4, (86, 120, 180))
    y = 84.0 - x
    pen.line([(y, horizon + 3), (y, horizon - 22), (y + 20, horizon + 3)], 2.6, (240, 190, 80))


def _desert(pen: Pen, horizon: float, rng: random.Random) -> None:
    _fill(pen, horizon, (250, 224, 178), (236, 190, 124))
    pen.disc(rng.uniform(15, 85), 16, 7, (255, 240, 170))
    pen.ellipse(rng.uniform(0, 40), horizon + 6, 40, 14, (226, 172, 108))
    pen.ellipse(rng.uniform(60, 100), horizon + 7, 38, 12, (220, 164, 100))
    pen.box(-1, horizon + 5, 101, 101, (236, 190, 124))
    for _ in range(rng.randint(0, 2)):
        x, h = rng.uniform(5, 95), rng.uniform(14, 22)
        pen.limb([(x, horizon + 4), (x, horizon - h)], 3.6, (112, 160, 92))
        pen.limb([(x, horizon - h * 0.3), (x + 5, horizon - h * 0.4), (x + 5, horizon - h * 0.75)],
                 2.6, (112, 160, 92))  # fmt: skip


def draw_foreground(pen: Pen, place: str, rng: random.Random) -> None:
    """Something low in front of everybody, at one side: it hides feet and wheels, never faces."""
    x = rng.choice((rng.uniform(-4, 14), rng.uniform(86, 104)))
    if place in ("room", "kitchen"):
        pen.box(x - 7, 86, x + 7, 101, (166, 110, 70))
        for dx in (-4.0, 0.0, 4.0):
            pen.tilted(x + dx, 80, 2.2, 6.5, dx * 0.1, (90, 160, 90))
    elif place == "street":
        pen.box(x - 4, 78, x + 4, 101, (196, 62, 56))
        pen.ellipse(x, 78, 4.6, 3, (226, 90, 80))
    else:
        leaf = {"snow": (228, 236, 246), "desert": (196, 150, 96)}.get(place, (86, 150, 84))
        for dx, dy, r in ((-6, 3, 6.5), (0, 0, 7.5), (6, 3, 6.5)):
            pen.disc(x + dx, 94 + dy, r, leaf)


_DRAW: dict[str, Callable[[Pen, float, random.Random], None]] = {
    "park": _park, "beach": _beach, "street": _street, "room": _room, "snow": _snow,
    "meadow": _meadow, "kitchen": _kitchen, "playground": _playground, "desert": _desert,
}  # fmt: skip

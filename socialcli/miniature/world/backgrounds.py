"""The world's places without anybody in them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from socialcli.miniature.world.canvas import Canvas, Pen
from socialcli.miniature.world.places import draw_place
from socialcli.miniature.world.vocabulary import LIGHTS, PLACES

if TYPE_CHECKING:
    from PIL import Image


def background(number: int, size: int) -> Image.Image:
    """Background ``number``: a place in some light, RGB, ``size`` x ``size`` pixels.

    The same number is the same picture, anywhere.
    """
    rng = random.Random(f"background {number}")
    place, light = rng.choice(sorted(PLACES)), rng.choice(list(LIGHTS))
    factor = 3 if size <= 160 else 2
    canvas = Canvas(size, factor)
    page = Pen(canvas, 0.0, 0.0, size * factor / 100, mirror=False)
    draw_place(page, place, rng.uniform(58, 70), rng)
    return canvas.finish(LIGHTS[light])[0]

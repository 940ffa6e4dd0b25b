"""Five points of a face drawn as InstantID's ControlNet has learnt to see them.

The eyes and the corners of the mouth are joined to the nose by slim ellipses in six tenths of their
colour; the points are dots over them. Widths are in pixels, whatever the picture's size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from socialcli.vision.skeletons import limb_outline

if TYPE_CHECKING:
    from PIL import Image

LIMBS = ((0, 2), (1, 2), (3, 2), (4, 2))  # eyes, nose, corners of the mouth, as records order them
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
DOT = 10  # radius in pixels


def draw(points: Sequence[Sequence[float]], size: tuple[int, int]) -> Image.Image:
    """An RGB picture on black.

    Args:
        points: (5, 2) landmarks (`records.FACE_LANDMARKS`) in pixels. size: width and height.
    """
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", size)
    pen = ImageDraw.Draw(picture)
    places = [(float(x), float(y)) for x, y in points]
    for start, end in LIMBS:
        dark = tuple(int(0.6 * c) for c in COLOURS[start])
        pen.polygon(limb_outline(places[start], places[end]), fill=dark)
    for (x, y), colour in zip(places, COLOURS, strict=True):
        for row in range(-DOT, DOT + 1):  # the pixels of OpenCV's circle, which Pillow's are not
            half = math.isqrt(DOT**2 - row**2)
            pen.line((int(x) - half, int(y) + row, int(x) + half, int(y) + row), fill=colour)
    return picture


def fitted(
    landmarks: Sequence[Sequence[float]], shown: tuple[int, int], size: tuple[int, int]
) -> list[tuple[float, float]]:
    """Landmarks of one picture in the pixels of another, as large as fits, in its middle.

    Args:
        landmarks: normalised. shown: width and height of their picture. size: of the other.
    """
    scale = min(size[0] / shown[0], size[1] / shown[1])
    left, top = ((size[axis] - shown[axis] * scale) / 2 for axis in (0, 1))
    return [(left + x * shown[0] * scale, top + y * shown[1] * scale) for x, y in landmarks]

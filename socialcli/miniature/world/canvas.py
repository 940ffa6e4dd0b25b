"""Drawing: a supersampled picture whose fourth channel says whose pixel it is.

Every shape writes its colour and the number of the instance it belongs to in one stroke (the
picture is kept in Pillow's four-channel mode ``CMYK``, whose channels are independent), so the
masks are the drawing itself and cannot disagree with it.

Shapes are given in the *local* frame of a `Pen`: x to the right, y down, the ground at y = 0, an
adult one unit tall. The pen maps local units to pixels and may mirror them.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    from PIL import Image

Colour = tuple[int, int, int]
Point = tuple[float, float]

_CIRCLE = [(math.cos(i * math.pi / 8), math.sin(i * math.pi / 8)) for i in range(16)]


@cache
def shade(colour: Colour, factor: float) -> Colour:
    """The colour darkened (factor < 1) or moved towards white (factor > 1; 2 is white)."""
    if factor <= 1:
        r, g, b = (round(c * factor) for c in colour)
    else:
        r, g, b = (round(c + (255 - c) * (factor - 1)) for c in colour)
    return r, g, b


class Canvas:
    """A square picture of ``size`` pixels, drawn ``factor`` times larger and averaged down."""

    def __init__(self, size: int, factor: int) -> None:
        from PIL import Image, ImageDraw

        self.size, self.factor = size, factor
        self.side = size * factor
        self.image = Image.new("CMYK", (self.side, self.side))
        self.draw = ImageDraw.Draw(self.image)

    def finish(self, light: tuple[float, float, float]) -> tuple[Image.Image, numpy.ndarray]:
        """The picture (RGB, size x size), lit, and its instance map (uint8, 0 = background).

        A pixel belongs to the instance drawn at its centre.
        """
        from PIL import Image

        small = self.image.reduce(self.factor)
        bands = list(small.split()[:3])
        if light != (1.0, 1.0, 1.0):
            bands = [b.point(_curve(gain)) for b, gain in zip(bands, light, strict=True)]
        return Image.merge("RGB", bands), self.owners()

    def owners(self) -> numpy.ndarray:
        """(size, size) uint8: the instance at the centre of every pixel."""
        import numpy

        every = numpy.asarray(self.image.getchannel(3))
        middle = self.factor // 2
        return every[middle :: self.factor, middle :: self.factor].copy()


@cache
def _curve(gain: float) -> list[int]:
    return [min(255, round(value * gain)) for value in range(256)]


class Pen:
    """Draws in a local frame: pixel = origin + (±x, y) * scale."""

    def __init__(self, canvas: Canvas, ox: float, oy: float, scale: float, mirror: bool) -> None:
        self.draw = canvas.draw
        self.ox, self.oy, self.scale = ox, oy, scale
        self.sx = -scale if mirror else scale
        self.mirror = mirror
        self.id = 0

    def to_pixels(self, point: Point) -> Point:
        """Local point -> pixel of the supersampled picture."""
        return self.ox + point[0] * self.sx, self.oy + point[1] * self.scale

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        cx, cy, s = self.ox + x * self.sx, self.oy + y * self.scale, self.scale
        a, b = rx * s, ry * s
        self.draw.ellipse((cx - a, cy - b, cx + a, cy + b), fill=(*colour, self.id))

    def disc(self, x: float, y: float, r: float, colour: Colour) -> None:
        self.ellipse(x, y, r, r, colour)

    def ring(self, x: float, y: float, r: float, width: float, colour: Colour) -> None:
        """A circle's line, ``width`` thick, inside radius ``r``; what it encloses stays."""
        cx, cy, s = self.ox + x * self.sx, self.oy + y * self.scale, self.scale
        a = r * s
        self.draw.ellipse(
            (cx - a, cy - a, cx + a, cy + a),
            outline=(*colour, self.id),
            width=max(1, round(width * s)),
        )

    def poly(self, points: list[Point], colour: Colour) -> None:
        ox, oy, sx, s = self.ox, self.oy, self.sx, self.scale
        self.draw.polygon([(ox + x * sx, oy + y * s) for x, y in points], fill=(*colour, self.id))

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        a, c = self.ox + x0 * self.sx, self.ox + x1 * self.sx
        if a > c:
            a, c = c, a
        self.draw.rectangle(
            (a, self.oy + y0 * self.scale, c, self.oy + y1 * self.scale), fill=(*colour, self.id)
        )

    def line(self, points: list[Point], width: float, colour: Colour) -> None:
        """Straight strokes with flat ends."""
        ox, oy, sx, s = self.ox, self.oy, self.sx, self.scale
        self.draw.line(
            [(ox + x * sx, oy + y * s) for x, y in points],
            fill=(*colour, self.id),
            width=max(1, round(width * s)),
        )

    def limb(self, points: list[Point], width: float, colour: Colour) -> None:
        """A stroke with round joints and ends."""
        ox, oy, sx, s = self.ox, self.oy, self.sx, self.scale
        at = [(ox + x * sx, oy + y * s) for x, y in points]
        ink = (*colour, self.id)
        draw, r = self.draw, width * s / 2
        draw.line(at, fill=ink, width=max(1, round(width * s)))
        for x, y in at:
            draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)

    def tilted(
        self, x: float, y: float, rx: float, ry: float, angle: float, colour: Colour
    ) -> None:
        """An ellipse turned by ``angle`` radians (clockwise as seen, before mirroring)."""
        c, s = math.cos(angle), math.sin(angle)
        self.poly(
            [(x + u * rx * c - v * ry * s, y + u * rx * s + v * ry * c) for u, v in _CIRCLE],
            colour,
        )

    def arc(
        self, x: float, y: float, r: float, start: int, end: int, width: float, colour: Colour
    ) -> None:
        """Part of a circle's line, degrees clockwise from +x."""
        if self.mirror:
            start, end = 180 - end, 180 - start
        cx, cy, a = self.ox + x * self.sx, self.oy + y * self.scale, r * self.scale
        self.draw.arc(
            (cx - a, cy - a, cx + a, cy + a),
            start,
            end,
            fill=(*colour, self.id),
            width=max(1, round(width * self.scale)),
        )

    def cap(
        self, x: float, y: float, rx: float, ry: float, start: int, end: int, colour: Colour
    ) -> None:
        """The part of an ellipse cut off by the chord between two angles (as `arc`)."""
        if self.mirror:
            start, end = 180 - end, 180 - start
        cx, cy, s = self.ox + x * self.sx, self.oy + y * self.scale, self.scale
        a, b = rx * s, ry * s
        box = (cx - a, cy - b, cx + a, cy + b)
        self.draw.chord(box, start, end, fill=(*colour, self.id))

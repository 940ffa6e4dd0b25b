"""Paint a sample's annotations over its picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from socialcli.errors import SampleFailed
from socialcli.reports.marks import LAYERS, Mark, Scale, marks
from socialcli.reports.view import View
from socialcli.vision import masks as rle
from socialcli.vision import text

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

FINE = 2  # drawn this many times larger and reduced, for smooth edges
SHADE = (0, 0, 0, 150)  # under every line, so that it shows on any background
_MOST_PIXELS = 2_000_000_000  # of all masks of a picture: some seconds' work
_FILL, _EDGE = 70, 235  # opacity of a mask and of its outline


def annotate(picture: Image, view: View, layers: tuple[str, ...] = LAYERS) -> Image:
    """The picture with everything known about it drawn over it.

    Args:
        picture: RGB, upright, at the size it will be shown.
        layers: which of `marks.LAYERS` to draw.
    """
    from PIL import Image, ImageDraw

    result = picture.convert("RGBA")
    if "layout" in layers:
        for _, colour, mask in layout(view, result.size):
            result.alpha_composite(tint(mask, colour))
    # A layout's segments are made of the masks: one of the two is enough to see.
    if "masks" in layers and not ("layout" in layers and view.layout is not None):
        for _, colour, mask in masks(view, result.size):
            result.alpha_composite(tint(mask, colour))
    scale = Scale(*result.size)
    large = (result.width * FINE, result.height * FINE)
    over = Image.new("RGBA", large, (0, 0, 0, 0))
    canvas = ImageDraw.Draw(over)
    labels = []
    for mark in marks(view, scale, text.width):
        if mark.layer not in layers:
            continue
        if mark.kind == "label":
            labels.append(mark)
        else:
            _paint(canvas, mark, scale.line)
    result.alpha_composite(over.reduce(FINE))
    canvas = ImageDraw.Draw(result)
    for mark in labels:
        tag(canvas, mark, scale)
    return result.convert("RGB")


def masks(view: View, size: tuple[int, int]) -> list[tuple[int, str, numpy.ndarray]]:
    """(mask id, colour, (height, width) bool at ``size``) of each mask that can be decoded,
    largest first, so that small things are painted over large ones."""
    named = [(mask, view.colour("mask", mask.id) or "#BBBBBB") for mask in view.masks]
    return _decoded(view, named, size, "mask")


def layout(view: View, size: tuple[int, int]) -> list[tuple[int, str, numpy.ndarray]]:
    """The same of each segment of the sample's layout."""
    segments = view.layout.segments if view.layout is not None else []
    return _decoded(view, [(segment, segment.colour) for segment in segments], size, "segment")


def _decoded(
    view: View, named: list[tuple[Any, str]], size: tuple[int, int], what: str
) -> list[tuple[int, str, numpy.ndarray]]:
    import numpy
    from PIL import Image

    decoded = []
    left = _MOST_PIXELS
    for mask, colour in named:
        height, width = mask.rle["size"]
        left -= height * width
        if left < 0:
            view.wrong(f"{what} {mask.id} and those after it are not shown: they are too large")
            break
        try:
            whole = rle.decode(mask.rle)
        except SampleFailed as error:
            view.wrong(f"{what} {mask.id}: {error}")
            continue
        small = Image.fromarray(whole.astype(numpy.uint8) * 255).resize(
            size, Image.Resampling.BILINEAR
        )
        decoded.append((mask.id, colour, numpy.array(small) > 127))
    return sorted(decoded, key=lambda item: -int(item[2].sum()))


def edge(mask: numpy.ndarray) -> numpy.ndarray:
    """The outermost pixels of a mask, two wide; the picture's border is no edge."""
    import numpy

    inner = mask
    for _ in range(2):
        padded = numpy.pad(inner, 1, mode="edge")
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & inner
    return mask & ~inner


def tint(mask: numpy.ndarray, colour: str) -> Image:
    """A mask as a translucent RGBA picture with a strong outline."""
    import numpy
    from PIL import Image

    levels = mask.astype(numpy.uint8)
    levels[edge(mask)] = 2
    tinted = Image.new("RGBA", (mask.shape[1], mask.shape[0]), colour)
    opacity = Image.fromarray(levels).point([0, _FILL, _EDGE] + [0] * 253)
    tinted.putalpha(opacity)
    return tinted


def tag(canvas: ImageDraw, mark: Mark, scale: Scale) -> None:
    """A name on its coloured ground."""
    left, top, right, bottom = mark.at
    ground, ink = tag_colours(mark)
    canvas.rounded_rectangle((left, top, right, bottom), radius=scale.text * 0.25, fill=ground)
    size = scale.text
    text.draw(canvas, left + 0.35 * size, top + 0.02 * size, mark.text, size, ink)


def tag_colours(mark: Mark) -> tuple[str, str]:
    """Ground and ink of a label: verbs are white on black, names black on their colour."""
    return ("#111111", "#FFFFFF") if mark.layer == "interactions" else (mark.colour, "#111111")


def _paint(canvas: ImageDraw, mark: Mark, line: float) -> None:
    at = [v * FINE for v in mark.at]
    wide = max(1, round(line * FINE))
    shade = wide + max(2, round(line * FINE * 0.9))
    if mark.kind in ("dot", "ring"):
        x, y, radius = at
        rim = max(2, round(0.5 * line * FINE))
        circle = (x - radius, y - radius, x + radius, y + radius)
        outer = (x - radius - rim, y - radius - rim, x + radius + rim, y + radius + rim)
        if mark.kind == "dot":
            canvas.ellipse(outer, fill=SHADE)
            canvas.ellipse(circle, fill=mark.colour)
        else:
            canvas.ellipse(outer, outline=SHADE, width=wide + 2 * rim)
            canvas.ellipse(circle, outline=mark.colour, width=wide)
        return
    strokes = _strokes(mark, at, line)
    for colour, width in ((SHADE, shade), (mark.colour, wide)):
        for stroke in strokes:
            canvas.line(stroke, fill=colour, width=width, joint="curve")
            for x, y in (stroke[:2], stroke[-2:]):  # round ends
                radius = width / 2
                canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _strokes(mark: Mark, at: list[float], line: float) -> list[list[float]]:
    """The polylines of a rect, a line or an arrow, cut up where it is dashed."""
    if mark.kind == "rect":
        left, top, right, bottom = at
        sides = [left, top, right, top, right, bottom, left, bottom, left, top]
        paths = [sides[i : i + 4] for i in range(0, 8, 2)] if mark.dashed else [sides]
    else:
        paths = [at]
    if mark.dashed:
        paths = [dash for path in paths for dash in _dashes(path, line * FINE * 4)]
    if mark.kind == "arrow":
        paths.append([v * FINE for v in arrow_head(mark.at, line)])
    return paths


def arrow_head(at: tuple[float, ...], line: float) -> list[float]:
    """The head of an arrow as a polyline: x, y of one barb, the tip, the other barb."""
    x, y, tip_x, tip_y = at
    angle = math.atan2(tip_y - y, tip_x - x)
    long = min(6 * line, math.hypot(tip_x - x, tip_y - y))
    barbs = []
    for turn in (2.6, -2.6):
        barbs += [tip_x + long * math.cos(angle + turn), tip_y + long * math.sin(angle + turn)]
    return [*barbs[:2], tip_x, tip_y, *barbs[2:]]


def _dashes(path: list[float], dash: float) -> list[list[float]]:
    x, y, end_x, end_y = path
    length = math.hypot(end_x - x, end_y - y)
    count = min(max(1, round(length / (2 * dash))), 500)
    dashes: list[Any] = []
    for number in range(count):
        a, b = number / count, (number + 0.5) / count
        dashes.append(
            [x + (end_x - x) * a, y + (end_y - y) * a, x + (end_x - x) * b, y + (end_y - y) * b]
        )
    return dashes

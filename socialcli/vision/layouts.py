"""Layouts: which part of a picture to be made shows what (`records.Layout`).

A layout's segments are a partition: every pixel belongs to exactly one. What comes from masks or
from a drawing is made one here (`partition`), and what says it is one is checked (`check`).
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from socialcli.errors import SampleFailed
from socialcli.vision import masks as rle

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

    from socialcli.records import XYXY, Keypoints, Layout, Segment

OVERLAPS = ("front", "error")
FILLS = ("background", "nearest", "error")
SOFT_EDGE = 1e-3  # share of a drawing up to which a colour without a prompt is a soft edge
NEAR = 0.05  # of the picture's sides: so far beyond its segment a joint may lie
BACKGROUND = "#303030"


def colours(count: int) -> list[str]:
    """``count`` colours that differ from each other, from `BACKGROUND`, white and black."""
    hexes = []
    for number in range(count):
        hue = (number * 0.618034) % 1  # the golden ratio: neighbours in the list are far apart
        value = (1.0, 0.72)[number // 7 % 2]
        rgb = colorsys.hsv_to_rgb(hue, (0.85, 0.55)[number // 14 % 2], value)
        hexes.append("#" + "".join(f"{round(255 * c):02x}" for c in rgb))
    return hexes


def rgb(colour: str) -> tuple[int, int, int]:
    """``#rrggbb`` as three numbers from 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def check(layout: Layout) -> None:
    """Whether a layout's segments are a partition, told from their runs alone.

    Raises:
        SampleFailed: a segment is no mask or has no pixel, segments overlap or leave holes, or a
            skeleton stands outside its segment.
    """
    from pycocotools import mask as coco

    codes = [rle.check(segment.rle) for segment in layout.segments]
    for segment, code in zip(layout.segments, codes, strict=True):
        if not coco.area(code):
            raise SampleFailed(f"layout.json: segment {segment.id} has no pixel")
        if segment.keypoints is not None and outside(segment.keypoints, box(code)):
            raise SampleFailed(
                f"layout.json: the skeleton of segment {segment.id} stands outside it; move "
                "it, or leave it out"
            )
    total, union = sum(int(coco.area(code)) for code in codes), int(coco.area(coco.merge(codes)))
    if total > union:
        ids = [segment.id for segment in layout.segments]
        over = next(
            f"{ids[a]} and {ids[b]}"
            for b in range(len(codes))
            for a in range(b)
            if coco.area(coco.merge([codes[a], codes[b]], intersect=True))
        )
        raise SampleFailed(
            f"layout.json: segments {over} overlap ({total - union:,} pixels have more than one); "
            "say which is in front (depth), and make it again"
        )
    if (holes := layout.width * layout.height - union) > 0:
        raise SampleFailed(
            f"layout.json: {holes:,} pixels belong to no segment; fill them "
            "(--fill background or nearest)"
        )


def decoded(layout: Layout) -> list[numpy.ndarray]:
    """The (height, width) bool masks of a layout's segments.

    Raises:
        SampleFailed: see `check`.
    """
    check(layout)
    return [rle.decode(segment.rle) for segment in layout.segments]


def box(code: dict[str, Any]) -> XYXY:
    """The normalised box of a mask's run-length code."""
    from pycocotools import mask as coco

    left, top, width, height = map(float, coco.toBbox(code))
    high, wide = code["size"]
    return left / wide, top / high, (left + width) / wide, (top + height) / high


def word(segment: Segment) -> str:
    """What a detector looks for to find a segment's thing: its word, else its prompt."""
    return (segment.word or segment.prompt).strip().lower()


def outside(keypoints: Keypoints, box: XYXY) -> bool:
    """Whether fewer than half of a skeleton's joints lie in its segment's box or within `NEAR` of
    it. A skeleton without a known joint stands nowhere, and so not outside."""
    seen = [point for point in keypoints.points if point[2] > 0]
    left, top, right, bottom = box
    within = sum(
        left - NEAR <= x <= right + NEAR and top - NEAR <= y <= bottom + NEAR for x, y, _ in seen
    )
    return within < len(seen) / 2


def partition(
    masks: Sequence[numpy.ndarray],
    names: Sequence[str],
    depths: Sequence[float | None] = (),
    overlap: str = "front",
    fill: str = "background",
) -> tuple[list[numpy.ndarray], numpy.ndarray]:
    """Masks without overlaps, and the pixels that are left over.

    Args:
        masks: (height, width) bool each, at least one.
        names: what they are called in messages.
        depths: of each, 0 nearest; one without is behind those with, and of two without the smaller
            one is in front.
        overlap: ``front``: the nearer one keeps the pixels; ``error``.
        fill: ``nearest``: what is left over goes to the nearest mask; ``error``; ``background``:
            it is given back.

    Returns:
        The masks, some perhaps empty now, and (height, width) bool of the rest.

    Raises:
        SampleFailed: masks overlap, or leave holes, where that is an error.
    """
    import numpy

    depths = list(depths) or [None] * len(masks)
    infinite = float("inf")
    keys = [
        (infinite if d is None else d, int(m.sum())) for d, m in zip(depths, masks, strict=True)
    ]
    owner = numpy.full(masks[0].shape, -1)
    for number in sorted(range(len(masks)), key=lambda n: keys[n]):
        taken = masks[number] & (owner >= 0)
        if overlap == "error" and taken.any():
            other = int(numpy.bincount(owner[taken]).argmax())
            raise SampleFailed(
                f"{names[number]} and {names[other]} overlap in {int(taken.sum()):,} pixels; "
                "--overlap front gives them to the nearer one"
            )
        owner[masks[number] & ~taken] = number
    holes = owner < 0
    if holes.any() and fill == "error":
        raise SampleFailed(
            f"{int(holes.sum()):,} pixels belong to no segment; --fill background or nearest"
        )
    if holes.any() and fill == "nearest" and not holes.all():
        from scipy import ndimage

        places = ndimage.distance_transform_edt(holes, return_distances=False, return_indices=True)
        owner = owner[tuple(places)]
    return [owner == number for number in range(len(masks))], owner < 0


def picture(layout: Layout) -> Image:
    """The colour segment picture, RGB."""
    import numpy
    from PIL import Image

    canvas = numpy.zeros((layout.height, layout.width, 3), numpy.uint8)
    for segment in layout.segments:
        canvas[rle.decode(segment.rle)] = rgb(segment.colour)
    return Image.fromarray(canvas)


def of_picture(drawing: Image, wanted: Sequence[str]) -> list[numpy.ndarray]:
    """The masks of a drawing's colours. Pixels of soft edges go to the nearest of them.

    Args:
        wanted: the colours that have a prompt.

    Raises:
        SampleFailed: a colour that has none, or one that has and is not in the drawing.
    """
    import numpy

    pixels = numpy.asarray(drawing.convert("RGB")).astype(numpy.int64)
    codes = pixels @ numpy.array([65536, 256, 1])
    known = [int(colour[1:], 16) for colour in wanted]
    there, counts = numpy.unique(codes, return_counts=True)
    strange = ~numpy.isin(there, known) & (counts > SOFT_EDGE * codes.size)
    for at in strange.nonzero()[0][:1]:
        raise SampleFailed(
            f"the colour #{there[at]:06x} ({counts[at]:,} pixels) has no prompt: give it a "
            "segment, or paint it over"
        )
    owner = numpy.full(codes.shape, -1)
    for number, code in enumerate(known):
        owner[codes == code] = number
        if code not in there:
            raise SampleFailed(f"the colour {wanted[number]} has a prompt and no pixel")
    if (owner < 0).any():
        from scipy import ndimage

        places = ndimage.distance_transform_edt(
            owner < 0, return_distances=False, return_indices=True
        )
        owner = owner[tuple(places)]
    return [owner == number for number in range(len(known))]


def shrunk(masks: Sequence[numpy.ndarray], height: int, width: int) -> numpy.ndarray:
    """A partition in another resolution, (S, height, width) bool: a cell belongs to the segment
    that covers most of it, and of two that cover it alike to the smaller one, whatever their order.

    Raises:
        SampleFailed: a segment is left without a cell.
    """
    import numpy
    from PIL import Image

    areas = [int(mask.sum()) for mask in masks]
    firsts = [int(mask.argmax()) for mask in masks]
    order = sorted(range(len(masks)), key=lambda n: (areas[n], firsts[n]))
    covers = [
        numpy.asarray(
            Image.fromarray(masks[n].astype(numpy.float32)).resize(
                (width, height), Image.Resampling.BOX
            )
        )
        for n in order
    ]
    # Rounded, so that what differs in the last bit only is a tie.
    owner = numpy.array(order)[numpy.stack(covers).round(4).argmax(axis=0)]
    small = numpy.stack([owner == number for number in range(len(masks))])
    for number, mask in enumerate(small):
        if not mask.any():
            raise SampleFailed(
                f"segment number {number + 1} of the layout ({areas[number]:,} pixels) is too "
                f"small for {width}x{height} latents: make it larger, or draw a larger picture"
            )
    return small


def resized(layout: Layout, width: int, height: int) -> Layout:
    """The same layout for another size in pixels. Segments that vanish in it are left out."""
    import numpy

    if (layout.width, layout.height) == (width, height):
        return layout
    rows = (numpy.arange(height) + 0.5) * layout.height / height
    columns = (numpy.arange(width) + 0.5) * layout.width / width
    at = numpy.ix_(rows.astype(int), columns.astype(int))
    small = [(s, rle.decode(s.rle)[at]) for s in layout.segments]
    kept = [replace(s, rle=rle.encode(mask)) for s, mask in small if mask.any()]
    return replace(layout, width=width, height=height, segments=kept)

"""Skeletons drawn as OpenPose draws them: what a pose ControlNet looks at.

The eighteen joints, their order, the seventeen limbs and the rainbow of colours are OpenPose's, as
ControlNet's own annotator paints them on black: limbs as slim ellipses in six tenths of their
colour, joints as dots over them. COCO's skeleton has no neck; it is the middle of the shoulders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

# OpenPose's joints as COCO's (`records.COCO_KEYPOINTS`); the neck (None) lies between 5 and 6.
JOINTS = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12),
    (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
    (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
    (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
STICK = 4 / 512  # half the width of a limb and of a joint, in short sides of the picture
WIDE = 4  # the same in pixels, of ControlNet's own annotators
STYLES = ("v11", "v10", "scaled")
ARC = 12  # corners of half an ellipse

Joint = tuple[float, float]


def joints(keypoints: Sequence[Sequence[float]]) -> list[Joint | None]:
    """OpenPose's eighteen joints of COCO's seventeen keypoints (x, y, visibility or score).

    Those at or below 0 are unknown, and so is the neck where a shoulder is; coordinates stay in
    the frame they are in.
    """
    placed: list[Joint | None] = []
    for at in JOINTS:
        parts = [keypoints[i] for i in ((5, 6) if at is None else (at,))]
        known = all(p[2] > 0 for p in parts)
        x, y = (sum(p[axis] for p in parts) / len(parts) for axis in (0, 1))
        placed.append((x, y) if known else None)
    return placed


def draw(
    people: Sequence[Sequence[Sequence[float]]],
    size: tuple[int, int],
    stick: float = STICK,
    style: str = "scaled",
) -> Image.Image:
    """An RGB picture of skeletons on black.

    Args:
        people: seventeen COCO keypoints (x, y, visibility or score) a person, x and y normalised
            to [0, 1]; unknown ones (third number at or below 0) and their limbs are left out.
        size: width and height of the picture in pixels.
        stick: of ``scaled``: half the width of limbs and joints, in short sides of the picture.
        style: one of `STYLES`. ``v10`` is ControlNet's first annotator (every joint, then each limb
            blended over what is there, so that limbs darken the joints under them), ``v11`` that of
            ControlNet 1.1 and controlnet_aux (of each person the limbs, then the joints); limbs of
            both are `WIDE` pixels half wide whatever the size, so draw them in the size that is
            generated and never resize them. ``scaled`` is v11 with limbs as wide as they are at 512
            pixels, all joints over all limbs: what the miniature ControlNet has learnt.
    """
    from PIL import Image, ImageDraw

    if style != "scaled":
        return _annotator(people, size, style)
    picture = Image.new("RGB", size)
    pen = ImageDraw.Draw(picture)
    half = stick * min(size)
    width, height = size
    skeletons = [
        [None if j is None else (j[0] * width, j[1] * height) for j in joints(person)]
        for person in people
    ]
    for skeleton in skeletons:
        for (a, b), colour in zip(LIMBS, COLOURS, strict=False):
            start, end = skeleton[a], skeleton[b]
            if start is not None and end is not None:
                dark = tuple(round(0.6 * c) for c in colour)
                pen.polygon(_ellipse(start, end, half), fill=dark)
    for skeleton in skeletons:
        for joint, colour in zip(skeleton, COLOURS, strict=True):
            if joint is not None:
                x, y = joint
                pen.ellipse((x - half, y - half, x + half, y + half), fill=colour)
    return picture


def _annotator(
    people: Sequence[Sequence[Sequence[float]]], size: tuple[int, int], style: str
) -> Image.Image:
    """The two generations of ControlNet's annotator; numbers are cut to whole ones where theirs
    are."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", size)
    width, height = size
    skeletons = [
        [None if j is None else (j[0] * width, j[1] * height) for j in joints(person)]
        for person in people
    ]

    def dots(skeleton: list[Joint | None]) -> None:
        pen = ImageDraw.Draw(picture)
        for joint, colour in zip(skeleton, COLOURS, strict=True):
            if joint is not None:
                x, y = int(joint[0]), int(joint[1])
                pen.ellipse((x - WIDE, y - WIDE, x + WIDE, y + WIDE), fill=colour)

    if style == "v10":
        for skeleton in skeletons:
            dots(skeleton)
    for skeleton in skeletons:
        for (a, b), colour in zip(LIMBS, COLOURS, strict=False):
            start, end = skeleton[a], skeleton[b]
            if start is None or end is None:
                continue
            outline = limb_outline(start, end)
            if style == "v10":
                over = picture.copy()
                ImageDraw.Draw(over).polygon(outline, fill=colour)
                picture.paste(Image.blend(picture, over, 0.6))
            else:
                ImageDraw.Draw(picture).polygon(outline, fill=tuple(int(0.6 * c) for c in colour))
        if style == "v11":
            dots(skeleton)
    return picture


def limb_outline(start: Joint, end: Joint) -> list[Joint]:
    """The outline of a limb as OpenCV's ellipse2Poly makes it: a centre, half axes and a turn in
    whole pixels and degrees, a corner a degree."""
    x, y = int((start[0] + end[0]) / 2), int((start[1] + end[1]) / 2)
    half = int(math.dist(start, end) / 2)
    turn = math.radians(int(math.degrees(math.atan2(start[1] - end[1], start[0] - end[0]))))
    cos, sin = math.cos(turn), math.sin(turn)
    corners = []
    for degree in range(360):
        angle = math.radians(degree)
        along, across = half * math.cos(angle), WIDE * math.sin(angle)
        place = x + along * cos - across * sin, y + along * sin + across * cos
        corners.append((round(place[0]), round(place[1])))
    return corners  # type: ignore[return-value]


def _ellipse(start: Joint, end: Joint, half: float) -> list[Joint]:
    """The outline of an ellipse from one point to another, ``2 * half`` wide."""
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    along = (end[0] - start[0]) / 2, (end[1] - start[1]) / 2
    length = math.hypot(*along)
    if length < 1e-6:
        return [start, end]
    across = -along[1] / length * half, along[0] / length * half
    turns = [math.pi * i / ARC for i in range(2 * ARC)]
    return [
        (x + math.cos(t) * along[0] + math.sin(t) * across[0],
         y + math.cos(t) * along[1] + math.sin(t) * across[1])
        for t in turns
    ]  # fmt: skip

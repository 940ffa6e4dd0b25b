"""A picture resized, cropped and perhaps mirrored, and all its records with it.

Source: Social Context Feedback (arXiv 2507.16095), section 4.1: the shortest side resized to 512,
then a random crop
of 512 x 512 (the official code of SSR-Encoder crops the middle and mirrors half of the pictures).

Records go in and come out normalised (`socialcli.records`), first to the whole upright picture,
then to the square. What is cut off by the square's edge is cut; what leaves it is dropped.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from socialcli.errors import SampleFailed, UsageError
from socialcli.records import Box, Face, Gaze, Keypoints, Person, Point, keypoint_layouts
from socialcli.vision import boxes

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

    from socialcli.records import XYXY

CROPS = ("random", "centre")
KEEP_BODY = 0.3  # share of a body, object or head box that must stay for it to be kept
KEEP_HEAD = 0.6
KEEP_FACE = 0.9  # a cut face is another face to a recogniser
# Points of a mirrored face change sides: where each new point comes from.
FACE_MIRROR = (1, 0, 2, 4, 3)


@dataclass(frozen=True)
class Frame:
    """Where a square lies in a picture.

    ``width`` and ``height`` are the whole picture's once its shortest side is ``size`` pixels;
    the square starts at (``left``, ``top``) there and is mirrored last if ``flip``.
    """

    width: int
    height: int
    left: int
    top: int
    size: int
    flip: bool = False

    @property
    def corner(self) -> tuple[int, int]:
        """Top and left of the square in the whole picture as it is shown: mirrored if ``flip``."""
        return self.top, self.width - self.size - self.left if self.flip else self.left

    # --- pixels ---

    def picture(self, image: Image) -> numpy.ndarray:
        """The square of an RGB picture: (size, size, 3) uint8; bilinear with antialiasing."""
        import numpy
        from PIL.Image import Resampling

        scale_x, scale_y = image.width / self.width, image.height / self.height
        part = (self.left * scale_x, self.top * scale_y)
        end = ((self.left + self.size) * scale_x, (self.top + self.size) * scale_y)
        end = (min(end[0], image.width), min(end[1], image.height))  # rounding may overstep
        square = image.resize((self.size, self.size), Resampling.BILINEAR, box=(*part, *end))
        pixels = numpy.array(square)  # a copy: Pillow's own is read-only
        return numpy.ascontiguousarray(pixels[:, ::-1] if self.flip else pixels)

    def mask(self, mask: numpy.ndarray) -> numpy.ndarray:
        """The square of a (H, W) mask of the whole picture, any size: (size, size) bool.

        Each pixel takes the value at its centre.
        """
        import numpy

        middle = numpy.arange(self.size) + 0.5
        rows = ((self.top + middle) * mask.shape[0] / self.height).astype(int)
        columns = ((self.left + middle) * mask.shape[1] / self.width).astype(int)
        rows, columns = rows.clip(0, mask.shape[0] - 1), columns.clip(0, mask.shape[1] - 1)
        square = numpy.asarray(mask, dtype=bool)[rows][:, columns]
        return numpy.ascontiguousarray(square[:, ::-1] if self.flip else square)

    # --- records ---

    def point(self, point: Point) -> Point:
        """A point of the picture in the square's coordinates; outside [0, 1] if it left."""
        x = (point[0] * self.width - self.left) / self.size
        y = (point[1] * self.height - self.top) / self.size
        return (1 - x if self.flip else x), y

    def box(self, xyxy: XYXY, keep: float = KEEP_BODY) -> XYXY | None:
        """What the square shows of a box; None when that is less than ``keep`` of it."""
        left, top = self.point((xyxy[0], xyxy[1]))
        right, bottom = self.point((xyxy[2], xyxy[3]))
        moved = (min(left, right), top, max(left, right), bottom)
        shown = boxes.clip(moved)
        whole = boxes.area(moved)
        return shown if whole > 0 and boxes.area(shown) >= keep * whole else None

    def boxes(self, known: list[Box]) -> list[Box]:
        """The boxes that stay, under their ids, with their keypoints."""
        kept = []
        for box in known:
            xyxy = self.box(box.xyxy)
            if xyxy is not None:
                points = None if box.keypoints is None else self.keypoints(box.keypoints)
                kept.append(dataclasses.replace(box, xyxy=xyxy, keypoints=points))
        return kept

    def keypoints(self, known: Keypoints) -> Keypoints:
        """Keypoints; those that left have visibility 0. Mirrored, left and right change names.

        Raises:
            SampleFailed: a layout that is not known has to be mirrored.
        """
        order = list(range(len(known.points)))
        if self.flip:
            layout = keypoint_layouts.layout(known.layout)
            if layout is None or len(order) != len(layout.names):
                raise SampleFailed(f"keypoints of layout '{known.layout}' cannot be mirrored here")
            order = layout.mirror()
        points = []
        for index in order:
            x, y, visibility = known.points[index]
            (x, y), seen = self.point((x, y)), visibility
            points.append((x, y, seen if 0 <= x <= 1 and 0 <= y <= 1 else 0.0))
        scores = None if known.scores is None else [known.scores[index] for index in order]
        return dataclasses.replace(known, points=points, scores=scores)

    def face(self, face: Face) -> Face | None:
        """A face with its landmarks; None when part of it left (it would be another face)."""
        xyxy = self.box(face.xyxy, KEEP_FACE)
        if xyxy is None:
            return None
        landmarks = None
        if face.landmarks is not None:
            landmarks = [self.point(p) for p in face.landmarks]
            if self.flip:
                landmarks = [landmarks[index] for index in FACE_MIRROR]
            if not all(_inside(p) for p in landmarks):
                return None
        return dataclasses.replace(face, xyxy=xyxy, landmarks=landmarks)

    def gaze(self, gaze: Gaze) -> Gaze:
        """A gaze: a target that left is no longer inside, the direction stays.

        The vector is measured in pixels, whose proportions no resize here changes.
        """
        vector = gaze.vector
        if vector is not None and self.flip:
            vector = (-vector[0], vector[1])
        point = None if gaze.point is None else self.point(gaze.point)
        inside = gaze.inside
        if point is not None and not _inside(point):
            point, inside = None, False
        points = None
        if gaze.points is not None:
            points = [p for p in map(self.point, gaze.points) if _inside(p)] or None
        return dataclasses.replace(gaze, point=point, vector=vector, inside=inside, points=points)

    def person(self, person: Person) -> Person:
        """A person with the parts that stay; their gaze goes with their head."""
        head = None if person.head is None else self.box(person.head, KEEP_HEAD)
        gaze = person.gaze
        if person.head is not None and head is None:
            gaze = None
        return dataclasses.replace(
            person,
            xyxy=None if person.xyxy is None else self.box(person.xyxy),
            head=head,
            face=None if person.face is None else self.face(person.face),
            keypoints=None if person.keypoints is None else self.keypoints(person.keypoints),
            gaze=None if gaze is None else self.gaze(gaze),
        )


def choose(
    width: int,
    height: int,
    size: int,
    rng: random.Random,
    crop: str = "random",
    flip: float = 0.5,
) -> Frame:
    """A square for a picture of ``width`` x ``height`` pixels.

    Args:
        size: side of the square. crop: "random" (uniform) or "centre".
        flip: probability of mirroring. rng: two numbers are drawn, whatever the options.

    Raises:
        UsageError: unknown ``crop``.
    """
    if crop not in CROPS:
        raise UsageError(f"--crop {crop}: choose {', '.join(CROPS)}")
    place, mirrored = rng.random(), rng.random() < flip
    short = min(width, height)
    wide, high = max(size, round(width * size / short)), max(size, round(height * size / short))
    if crop == "centre":
        return Frame(wide, high, (wide - size) // 2, (high - size) // 2, size, mirrored)
    left, top = int(place * (wide - size + 1)), int(place * (high - size + 1))
    return Frame(wide, high, left, top, size, mirrored)


def _inside(point: Point) -> bool:
    return 0 <= point[0] <= 1 and 0 <= point[1] <= 1

"""Faces that fill their picture: detectors miss them, and see them with room about them.

Face detectors are trained on faces with their surroundings. Of a picture cropped to a face they
often see nothing, or take an eye for a face. Where a detector found nobody for sure, it looks a
second time at the same picture in the middle of a grey canvas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.records import Face
from socialcli.vision import boxes

if TYPE_CHECKING:
    from PIL.Image import Image

MARGIN = 0.5  # on every side, of the picture's longer one
LEAST = 0.4  # of the picture's shorter side: a smaller face would have been seen at first
SURE = 0.75  # a picture with a face of this score needs no second look
_GREY = (127, 127, 127)


def detect(detector: Any, images: list[Image], margin: float = MARGIN) -> list[list[Face]]:
    """Faces of each picture, largest first, with a second look where the first is sure of none.

    Args:
        detector: a `roles.FaceDetector`.
        images: RGB.
        margin: of the second look, see `MARGIN`; 0: no second look.

    Returns:
        Faces in the pictures' own normalised frames. Those of a second look are at least `LEAST`
        large; their boxes are cut at the picture's edges, their landmarks may lie beyond them.
    """
    detected: list[list[Face]] = detector.detect(images)
    again = [i for i, faces in enumerate(detected) if all((f.score or 0) < SURE for f in faces)]
    if again and margin > 0:
        wide = [_widened(images[i], margin) for i in again]
        for i, faces in zip(again, detector.detect(wide), strict=True):
            large = _large([_back(face, images[i], margin) for face in faces], images[i])
            # What lies in a face that fills the picture is one of its eyes, or the same face.
            others = [face for face in detected[i] if not any(_inside(face, one) for one in large)]
            detected[i] = sorted([*large, *others], key=lambda face: -boxes.area(face.xyxy))
    return detected


def _inside(face: Face, other: Face) -> bool:
    """Whether a face's middle lies in another."""
    x, y = (face.xyxy[0] + face.xyxy[2]) / 2, (face.xyxy[1] + face.xyxy[3]) / 2
    left, top, right, bottom = other.xyxy
    return left <= x <= right and top <= y <= bottom


def _pad(image: Image, margin: float) -> int:
    return round(max(image.size) * margin)


def _widened(image: Image, margin: float) -> Image:
    from PIL import Image as Images

    pad = _pad(image, margin)
    canvas = Images.new("RGB", (image.width + 2 * pad, image.height + 2 * pad), _GREY)
    canvas.paste(image, (pad, pad))
    return canvas


def _back(face: Face, image: Image, margin: float) -> Face:
    """A face of the canvas in the picture's own frame."""
    pad = _pad(image, margin)

    def point(x: float, y: float) -> tuple[float, float]:
        return (
            (x * (image.width + 2 * pad) - pad) / image.width,
            (y * (image.height + 2 * pad) - pad) / image.height,
        )

    left, top = point(*face.xyxy[:2])
    right, bottom = point(*face.xyxy[2:])
    points = [point(x, y) for x, y in face.landmarks] if face.landmarks is not None else None
    return Face(boxes.clip((left, top, right, bottom)), face.score, points)


def _large(faces: list[Face], image: Image) -> list[Face]:
    def side(face: Face) -> float:
        left, top, right, bottom = face.xyxy
        return min((right - left) * image.width, (bottom - top) * image.height)

    return [face for face in faces if side(face) >= LEAST * min(image.size)]

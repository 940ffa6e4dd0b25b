"""People's masks by MediaPipe's selfie segmentation, whose model comes with the package.

It tells people from what is behind them and nothing else, so that boxes of objects and animals get
no mask. It sees one blob, not who is who: it runs on a window about each box, and the mask is cut
at the box, so that two people who overlap share what lies in both boxes. It rates nothing: these
masks have neither a predicted IoU nor a stability score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.backends import BackendInfo
from socialcli.backends.quiet import quiet_stderr
from socialcli.backends.roles import Segment
from socialcli.records import Model
from socialcli.vision import boxes as geometry

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

    from socialcli.backends import ModelSpec
    from socialcli.records import XYXY

INFO = BackendInfo(
    summary="MediaPipe's selfie segmentation inside the boxes of people; no masks for the rest.",
    licence="Apache-2.0",
    model="selfie_segmentation, in the package",
    size="in the package",
    packages=("mediapipe",),
    extra="mediapipe",
)
MARGIN = 0.15  # of the box's size, on every side: what is behind a person helps to see them
THRESHOLD = 0.5  # of the model's probability


class MediaPipeSegmenter:
    """A `roles.Segmenter` for boxes that hold a person."""

    kinds = ("person",)

    def __init__(self, spec: ModelSpec) -> None:
        with quiet_stderr():
            import mediapipe
            import numpy

            self._selfie = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(
                model_selection=0
            )
            self._selfie.process(numpy.zeros((64, 64, 3), numpy.uint8))  # it talks the first time
        self.model = Model(
            backend="mediapipe",
            model=f"mediapipe {mediapipe.__version__} selfie_segmentation",
            role=spec.role,
            options={"probability": THRESHOLD},
        )

    def segment(self, images: list[Image], boxes: list[list[XYXY]]) -> list[list[Segment]]:
        import numpy

        segments = []
        for image, own_boxes in zip(images, boxes, strict=True):
            pixels = numpy.asarray(image)
            segments.append([Segment(self._one(pixels, box)) for box in own_boxes])
        return segments

    def _one(self, pixels: numpy.ndarray, box: XYXY) -> numpy.ndarray:
        import numpy

        height, width = pixels.shape[:2]
        across, down = (box[2] - box[0]) * MARGIN, (box[3] - box[1]) * MARGIN
        grown = (box[0] - across, box[1] - down, box[2] + across, box[3] + down)
        window = _pixels(grown, width, height)
        mask = numpy.zeros((height, width), dtype=bool)
        part = numpy.ascontiguousarray(pixels[window])
        if min(part.shape[:2]) < 8:
            return mask
        mask[window] = self._selfie.process(part).segmentation_mask > THRESHOLD
        inside = numpy.zeros_like(mask)
        inside[_pixels(box, width, height)] = True
        return mask & inside


def _pixels(box: XYXY, width: int, height: int) -> tuple[slice, slice]:
    """Rows and columns of the pixels a normalised box touches."""
    import math

    left, top, right, bottom = geometry.clip(box)
    return (
        slice(math.floor(top * height), math.ceil(bottom * height)),
        slice(math.floor(left * width), math.ceil(right * width)),
    )


def load(spec: ModelSpec) -> MediaPipeSegmenter:
    return MediaPipeSegmenter(spec)

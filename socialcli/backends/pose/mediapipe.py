"""Body keypoints by MediaPipe, whose medium model comes with the package.

MediaPipe finds one person per picture, so it is run on each person's box. Its 33 points are mapped
to COCO's 17.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.backends import BackendInfo
from socialcli.backends.pose.keypoints import scored
from socialcli.backends.quiet import quiet_stderr
from socialcli.records import XYXY, Keypoints, Model
from socialcli.vision import boxes as geometry

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.backends import ModelSpec

INFO = BackendInfo(
    summary="MediaPipe's pose model (medium) on each person; finds a single person by itself.",
    licence="Apache-2.0",
    model="medium, in the package",
    size="in the package",
    packages=("mediapipe",),
    extra="mediapipe",
)
# MediaPipe's number of each of records.COCO_KEYPOINTS; both name sides as the person has them.
FROM_MEDIAPIPE = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
MARGIN = 0.1  # of the box's size, on every side


def load(spec: ModelSpec) -> MediaPipePose:
    """Load the medium model; it runs on the CPU. The other two would be downloaded: never asked."""
    return MediaPipePose(spec)


class MediaPipePose:
    """A `PoseEstimator` and a `PersonDetector` (of the most prominent person)."""

    def __init__(self, spec: ModelSpec) -> None:
        self.threshold = float(spec.options.get("threshold", 0.5))
        with quiet_stderr():
            import mediapipe
            import numpy

            self._pose = mediapipe.solutions.pose.Pose(static_image_mode=True, model_complexity=1)
            self._pose.process(numpy.zeros((64, 64, 3), numpy.uint8))
        self.model = Model(
            backend="mediapipe",
            model=f"mediapipe {mediapipe.__version__} pose medium",
            role=spec.role,
            options={"threshold": self.threshold},
        )

    def estimate(
        self, images: list[Image], boxes: list[list[XYXY]]
    ) -> list[list[Keypoints | None]]:
        """Keypoints of the person in each box; None where MediaPipe sees nobody."""
        return [
            [self._one(image, box) for box in own] for image, own in zip(images, boxes, strict=True)
        ]

    def people(self, images: list[Image]) -> list[list[tuple[XYXY, float]]]:
        """The box about the visible keypoints of the most prominent person of each picture."""
        result: list[list[tuple[XYXY, float]]] = []
        for image in images:
            person = self._one(image, (0.0, 0.0, 1.0, 1.0))
            seen = [p for p in person.points if p[2] > 0] if person else []
            if person is None or len(seen) < 4:
                result.append([])
                continue
            left, right = min(p[0] for p in seen), max(p[0] for p in seen)
            top, bottom = min(p[1] for p in seen), max(p[1] for p in seen)
            margin = 0.1 * max(right - left, bottom - top)  # a head rises above its eyes
            box = geometry.clip((left - margin, top - margin, right + margin, bottom + margin))
            result.append([(box, sum(person.scores or [0.0]) / len(person.points))])
        return result

    def _one(self, image: Image, box: XYXY) -> Keypoints | None:
        import numpy

        across, down = (box[2] - box[0]) * MARGIN, (box[3] - box[1]) * MARGIN
        grown = geometry.clip((box[0] - across, box[1] - down, box[2] + across, box[3] + down))
        size = numpy.array([image.width, image.height])
        left, top = (int(v) for v in grown[:2] * size)
        right, bottom = (int(v) for v in numpy.ceil(grown[2:] * size))
        if right - left < 8 or bottom - top < 8:
            return None
        window = numpy.ascontiguousarray(numpy.asarray(image)[top:bottom, left:right])
        landmarks = self._pose.process(window).pose_landmarks
        if landmarks is None:
            return None
        points = numpy.array(
            [
                (landmarks.landmark[i].x, landmarks.landmark[i].y, landmarks.landmark[i].visibility)
                for i in FROM_MEDIAPIPE
            ]
        )
        points[:, :2] = (points[:, :2] * (right - left, bottom - top) + (left, top)) / size
        return scored(points, self.threshold)

"""Faces by MediaPipe, whose models come with the package: works without a hub and without a GPU.

MediaPipe's full-range detector sees a picture at 192x192, where the faces of a group are too small.
So it runs on the whole picture and on ever smaller overlapping square windows, and what several
windows found is merged; what only one small window saw must convince the face mesh as well. Five
landmarks come from the face mesh, run on a window of twice the face's side. There is no identity
embedding in MediaPipe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo
from socialcli.backends.quiet import quiet_stderr
from socialcli.records import XYXY, Face, Model
from socialcli.vision import boxes

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

    from socialcli.backends import ModelSpec

INFO = BackendInfo(
    summary="MediaPipe's full-range face detector on overlapping windows. No identity embedding.",
    licence="Apache-2.0",
    model="full-range, in the package",
    size="in the package",
    packages=("mediapipe",),
    extra="mediapipe",
)
SHRINK = 1.5  # each round's windows are this much smaller
ROUNDS = 5
SMALLEST = 256  # pixels a side; the detector itself sees 192
SAME_FACE = 0.3  # IoU
# Faces below this score must be large and convince the face mesh. In photographs that packages
# ship, true faces score 0.86 and more, an engine 0.68, galaxies 0.72, a face that fills its picture
# 0.61.
SURE = 0.75
LARGE = 0.25  # of the picture's shorter side

# Face mesh points: the two irises' centres, the tip of the nose and the corners of the mouth, in
# the order of records.FACE_LANDMARKS (the viewer's left first).
MESH_LANDMARKS = (468, 473, 1, 61, 291)


def load(spec: ModelSpec) -> MediaPipeFaces:
    """Load the detector and the face mesh; both run on the CPU."""
    return MediaPipeFaces(spec)


class FaceMesh:
    """The 478 points of a face, irises included."""

    def __init__(self) -> None:
        with quiet_stderr():
            import mediapipe
            import numpy

            self._mesh = mediapipe.solutions.face_mesh.FaceMesh(
                static_image_mode=True, max_num_faces=1, refine_landmarks=True
            )
            self._mesh.process(numpy.zeros((64, 64, 3), numpy.uint8))  # it talks the first time

    def points(self, pixels: numpy.ndarray, box: XYXY, times: float) -> numpy.ndarray | None:
        """(478, 3) points of the face in a box: x, y in pixels, z on their scale, smaller nearer.

        Args:
            pixels: (H, W, 3) uint8. box: normalised; the mesh looks at a square of ``times`` its
                longer side about its centre.

        Returns:
            None where the mesh finds no face, or one whose middle lies outside the box.
        """
        import numpy

        height, width = pixels.shape[:2]
        centre = numpy.array([(box[0] + box[2]) * width, (box[1] + box[3]) * height]) / 2
        half = times * max((box[2] - box[0]) * width, (box[3] - box[1]) * height) / 2
        left, top = (int(max(v - half, 0)) for v in centre)
        right, bottom = (int(v + half) + 1 for v in centre)
        window = numpy.ascontiguousarray(pixels[top:bottom, left:right])
        if min(window.shape[:2]) < 8:
            return None
        meshes = self._mesh.process(window).multi_face_landmarks
        if not meshes:
            return None
        points = numpy.array([(p.x, p.y, p.z) for p in meshes[0].landmark])
        points = points * [window.shape[1], window.shape[0], window.shape[1]] + [left, top, 0]
        x, y = points[:, :2].mean(0) / (width, height)
        return points if box[0] <= x <= box[2] and box[1] <= y <= box[3] else None


class MediaPipeFaces:
    """A `FaceDetector`."""

    embeds = False

    def __init__(self, spec: ModelSpec) -> None:
        self.threshold = float(spec.options.get("threshold", 0.5))
        with quiet_stderr():
            import mediapipe
            import numpy

            self._detector = mediapipe.solutions.face_detection.FaceDetection(
                model_selection=1, min_detection_confidence=self.threshold
            )
            self._detector.process(numpy.zeros((64, 64, 3), numpy.uint8))
        self._mesh = FaceMesh()
        self.model = Model(
            backend="mediapipe",
            model=f"mediapipe {mediapipe.__version__} face_detection full-range, face_mesh",
            role=spec.role,
            options={"threshold": self.threshold},
        )

    def detect(self, images: list[Image]) -> list[list[Face]]:
        """Faces of each picture, largest first; landmarks where the face mesh finds them."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> list[Face]:
        import numpy

        pixels = numpy.asarray(image)
        detections: list[tuple[float, XYXY]] = []
        for number, window in enumerate(windows(image.width, image.height)):
            detections += self._in_window(pixels, window) * (2 if number == 0 else 1)
        result = []
        for votes, score, xyxy in merge(detections):
            mesh = self._mesh.points(pixels, xyxy, times=2.0)
            if not self._is_face(image, votes, score, xyxy, mesh is not None):
                continue
            points = None
            if mesh is not None:
                chosen = mesh[list(MESH_LANDMARKS), :2] / (image.width, image.height)
                points = [(float(x), float(y)) for x, y in chosen]
            result.append(Face(boxes.clip(xyxy), score, points))
        return sorted(result, key=lambda face: -boxes.area(face.xyxy))

    def _is_face(self, image: Image, votes: int, score: float, xyxy: XYXY, meshed: bool) -> bool:
        """Lace, foliage, galaxies and engines look like small faces: of those more is asked."""
        if not meshed and votes < 2:
            return False
        sides = (xyxy[2] - xyxy[0]) * image.width, (xyxy[3] - xyxy[1]) * image.height
        sure = max(self.threshold, min(self.threshold + 0.25, SURE))
        return score >= sure or (meshed and max(sides) >= LARGE * min(image.size))

    def _in_window(
        self, pixels: numpy.ndarray, window: tuple[int, int, int, int]
    ) -> list[tuple[float, XYXY]]:
        """Faces of one window that its edges do not cut, as (score, normalised box)."""
        import numpy

        height, width = pixels.shape[:2]
        left, top, right, bottom = window
        part = numpy.ascontiguousarray(pixels[top:bottom, left:right])
        result: list[tuple[float, XYXY]] = []
        detections: list[Any] = self._detector.process(part).detections or []
        for detection in detections:
            box = detection.location_data.relative_bounding_box
            x, y = left + box.xmin * (right - left), top + box.ymin * (bottom - top)
            w, h = box.width * (right - left), box.height * (bottom - top)
            cut = (
                (x < left and left > 0)
                or (y < top and top > 0)
                or (x + w > right and right < width)
                or (y + h > bottom and bottom < height)
            )
            if w > 0 and h > 0 and not cut:
                xyxy = (x / width, y / height, (x + w) / width, (y + h) / height)
                result.append((float(detection.score[0]), xyxy))
        return result


def windows(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """The whole picture, then square windows of shrinking size, each half over its neighbour."""
    result = [(0, 0, width, height)]
    side = max(width, height)
    for _ in range(1, ROUNDS):
        side = int(side / SHRINK)
        if side < SMALLEST:
            break
        starts = []
        for length in (width, height):
            steps = max(0, -(-(length - side) * 2 // side))  # as many as half overlaps need
            starts.append(
                [(length - side) * i // steps for i in range(steps + 1)] if steps else [0]
            )
        result += [
            (x, y, min(x + side, width), min(y + side, height))
            for y in starts[1]
            for x in starts[0]
        ]
    return result


def merge(scored: list[tuple[float, XYXY]]) -> list[tuple[int, float, XYXY]]:
    """One (votes, score, box) per face: the best of the detections that mean the same face.

    Two mean the same where they overlap, or where the middle of one lies in the other.
    """
    import numpy

    if not scored:
        return []
    xyxy = numpy.array([box for _, box in scored])
    middle = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    left = numpy.ones(len(scored), dtype=bool)
    result = []
    for best in boxes.nms(xyxy, numpy.array([score for score, _ in scored]), SAME_FACE):
        if not left[best]:
            continue
        inside = ((middle > xyxy[best, :2]) & (middle < xyxy[best, 2:])).all(1)
        same = left & (inside | (boxes.iou(xyxy[best], xyxy)[0] > SAME_FACE))
        left &= ~same
        result.append((int(same.sum()), *scored[best]))
    return result

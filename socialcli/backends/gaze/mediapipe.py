"""Direction of gaze from the irises, by MediaPipe's face mesh: a direction, never a target.

The mesh gives the head's own axes (the line through the outer corners of the eyes, and forehead to
chin) and the irises. An iris that sits off the middle of its eye by d tells that the eyeball has
turned by asin(d / r), r being the eyeball's radius: about 12 mm where the opening of an eye is
about 29 mm wide. Both eyes are averaged, the direction is turned from the head's axes into the
picture's, and what lies in the picture's plane is the gaze vector.

Someone who looks within about 12 degrees of the camera has no direction in the picture's plane:
``vector`` is left out, and ``inside`` is False, since the camera is not in the picture. For all
others ``inside`` and ``point`` are unknown and left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.backends import BackendInfo
from socialcli.records import Gaze, Model

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

    from socialcli.backends import ModelSpec
    from socialcli.records import XYXY

INFO = BackendInfo(
    summary="Direction of gaze from MediaPipe's irises and head pose. No gaze point.",
    licence="Apache-2.0",
    model="face_mesh with irises, in the package",
    size="in the package",
    packages=("mediapipe",),
    extra="mediapipe",
)
# Mesh points of each eye: iris, outer corner, inner corner (the viewer's left eye first).
EYES = ((468, 33, 133), (473, 263, 362))
FOREHEAD, CHIN = 10, 152
EYE_WIDTH = 29.0  # mm, corner to corner
EYEBALL = 12.0  # mm, radius
AT_CAMERA = 0.2  # shorter in-plane parts have no direction: asin(0.2) is 11.5 degrees


def load(spec: ModelSpec) -> IrisGaze:
    """Load the face mesh; it runs on the CPU."""
    return IrisGaze(spec)


class IrisGaze:
    """A `GazeEstimator` of directions."""

    def __init__(self, spec: ModelSpec) -> None:
        import mediapipe

        from socialcli.backends.face.mediapipe import FaceMesh

        self._mesh = FaceMesh()
        self.model = Model(
            backend="mediapipe",
            model=f"mediapipe {mediapipe.__version__} face_mesh, irises",
            role=spec.role,
        )

    def gaze(self, images: list[Image], heads: list[list[XYXY]]) -> list[list[Gaze | None]]:
        """Direction of gaze of each head; None where no face is seen in it."""
        import numpy

        result: list[list[Gaze | None]] = []
        for image, own_heads in zip(images, heads, strict=True):
            pixels = numpy.asarray(image)
            meshes = [self._mesh.points(pixels, head, times=1.5) for head in own_heads]
            result.append([None if m is None else from_direction(direction(m)) for m in meshes])
        return result


def from_direction(direction: numpy.ndarray) -> Gaze:
    """A direction in space (x right, y down, z away from the camera) as a gaze in the picture."""
    import numpy

    flat = float(numpy.hypot(direction[0], direction[1]))
    if flat < AT_CAMERA:
        return Gaze(inside=False)
    return Gaze(vector=(float(direction[0]) / flat, float(direction[1]) / flat))


def direction(mesh: numpy.ndarray) -> numpy.ndarray:
    """(478, 3) face mesh -> unit vector of the gaze: x right, y down, z away from the camera."""
    import numpy

    across = _unit(mesh[EYES[1][1]] - mesh[EYES[0][1]])
    down = mesh[CHIN] - mesh[FOREHEAD]
    down = _unit(down - across * (down @ across))
    forward = numpy.cross(down, across)  # out of the face: towards the camera when seen from before
    turns = []
    for iris, outer, inner in EYES:
        width = numpy.linalg.norm(mesh[outer] - mesh[inner])
        off = mesh[iris] - (mesh[outer] + mesh[inner]) / 2
        turns.append([off @ across / width, off @ down / width])
    x, y = numpy.mean(turns, axis=0) * (EYE_WIDTH / EYEBALL)
    x, y = numpy.array([x, y]) / max(1.0, float(numpy.hypot(x, y)))  # no eye turns further
    return across * x + down * y + forward * numpy.sqrt(max(0.0, 1 - x * x - y * y))


def _unit(vector: numpy.ndarray) -> numpy.ndarray:
    import numpy

    return vector / max(float(numpy.linalg.norm(vector)), 1e-9)

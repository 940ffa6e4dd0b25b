"""Face crops as ArcFace wants them: five landmarks brought onto a template by a similarity.

Two paths with one definition: numpy for annotation (`similarity`, `crop`) and torch for training
losses (`similarity_torch`, `crop_torch`, `crop_boxes_torch`), where gradients reach pixels and
landmarks. Both sample bilinearly with black outside, as OpenCV's warpAffine does, and like it do
not smooth before shrinking, because that is how the recognisers' training crops were made.

Frames: landmarks and boxes come normalised (`socialcli.records`). Inside, a pixel's centre has
whole coordinates and the left edge of the picture is at -0.5; landmarks are x * width, without the
half, because detectors (SCRFD, and so ArcFace's training data) count pixels that way.
Source: Umeyama 1991 for the fit; Deng et al., ArcFace, 2019 for the template.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy
    import torch
    from PIL.Image import Image

    from socialcli.records import Face

SIZE = 112
# Where the landmarks (records.FACE_LANDMARKS) belong in a 112x112 crop, in pixels.
TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


def similarity(points: numpy.ndarray, size: int = SIZE) -> numpy.ndarray:
    """The rotation, scale and shift that bring five landmarks closest to the template.

    In the plane the least-squares similarity has a closed form: with points as complex numbers z
    and the template as w, both about their means, the factor is sum(conj(z) w) / sum(|z|^2).

    Args:
        points: (..., 5, 2) landmarks in pixels. size: side of the crop.

    Returns:
        (..., 2, 3) float64, crop pixel = matrix @ (x, y, 1). Landmarks that all coincide give
        numbers that are not finite.
    """
    import numpy

    points = numpy.asarray(points, dtype=numpy.float64)
    template = numpy.asarray(TEMPLATE) * (size / SIZE)
    mean, goal = points.mean(-2), template.mean(0)
    z, w = points - mean[..., None, :], template - goal
    with numpy.errstate(divide="ignore", invalid="ignore"):
        spread = (z**2).sum((-1, -2))
        a = (z * w).sum((-1, -2)) / spread
        b = (z[..., 0] * w[..., 1] - z[..., 1] * w[..., 0]).sum(-1) / spread
    rotation = numpy.stack([numpy.stack([a, -b], -1), numpy.stack([b, a], -1)], -2)
    shift = goal - (rotation @ mean[..., None])[..., 0]
    return numpy.concatenate([rotation, shift[..., None]], -1)


def alignable(points: numpy.ndarray) -> bool:
    """Whether five landmarks in pixels define a similarity: they must not coincide."""
    import numpy

    matrix = similarity(points)
    return bool(numpy.isfinite(matrix).all() and abs(numpy.linalg.det(matrix[:, :2])) > 1e-12)


def crop(picture: numpy.ndarray, landmarks: numpy.ndarray, size: int = SIZE) -> numpy.ndarray:
    """One aligned face.

    Args:
        picture: (H, W, 3) of any number type.
        landmarks: (5, 2), normalised, in the order of `records.FACE_LANDMARKS`.

    Returns:
        (size, size, 3) float32 in the range of ``picture``; what lies outside it is 0.

    Raises:
        ValueError: the landmarks coincide, no similarity is defined.
    """
    import numpy

    height, width = picture.shape[:2]
    points = numpy.asarray(landmarks, dtype=numpy.float64) * (width, height)
    if not alignable(points):
        raise ValueError("the face's landmarks coincide")
    matrix = similarity(points, size)
    back = numpy.linalg.inv(matrix[:, :2])
    rows, columns = numpy.mgrid[:size, :size]
    there = numpy.stack([columns, rows], -1) - matrix[:, 2]
    return _bilinear(picture, there @ back.T)


def _bilinear(picture: numpy.ndarray, at: numpy.ndarray) -> numpy.ndarray:
    """(H, W, C) sampled at (..., 2) pixel coordinates x, y; 0 outside."""
    import numpy

    height, width = picture.shape[:2]
    at = numpy.clip(at, -2, max(height, width) + 1)  # far outside is as good as just outside
    low = numpy.floor(at).astype(numpy.int64)
    part = at - low
    pixels = picture.reshape(height * width, -1)
    # By axis, for the corner before and the one behind: place, whether it is inside, weight.
    sides = [
        [(low[..., axis] + step, part[..., axis] if step else 1 - part[..., axis])
         for step in (0, 1)]
        for axis in (0, 1)
    ]  # fmt: skip
    across, down = (
        [(place.clip(0, end - 1), (place >= 0) & (place < end), weight) for place, weight in side]
        for side, end in zip(sides, (width, height), strict=True)
    )
    total: Any = 0.0
    for x, inside_x, weight_x in across:
        for y, inside_y, weight_y in down:
            weight = weight_x * weight_y * (inside_x & inside_y)
            total = total + pixels.take(y * width + x, axis=0) * weight[..., None]
    return numpy.asarray(total, dtype=numpy.float32)


def similarity_torch(points: torch.Tensor, size: int = SIZE) -> torch.Tensor:
    """`similarity` in torch: (..., 5, 2) pixels -> (..., 2, 3); gradients reach ``points``."""
    import torch

    template = points.new_tensor(TEMPLATE) * (size / SIZE)
    mean, goal = points.mean(-2), template.mean(0)
    z, w = points - mean[..., None, :], template - goal
    spread = (z**2).sum((-1, -2))
    a = (z * w).sum((-1, -2)) / spread
    b = (z[..., 0] * w[..., 1] - z[..., 1] * w[..., 0]).sum(-1) / spread
    rotation = torch.stack([torch.stack([a, -b], -1), torch.stack([b, a], -1)], -2)
    shift = goal - (rotation @ mean[..., None])[..., 0]
    return torch.cat([rotation, shift[..., None]], -1)


def crop_torch(pictures: torch.Tensor, landmarks: torch.Tensor, size: int = SIZE) -> torch.Tensor:
    """Aligned faces, differentiable in pixels and landmarks.

    Args:
        pictures: (B, C, H, W), any range.
        landmarks: (B, 5, 2) normalised, one face a picture (repeat a picture for more).

    Returns:
        (B, C, size, size) in the range of ``pictures``; 0 outside the picture.
    """
    import torch

    height, width = pictures.shape[-2:]
    matrix = similarity_torch(landmarks * landmarks.new_tensor([width, height]), size)
    back = torch.linalg.inv(matrix[..., :2])
    steps = torch.arange(size, device=pictures.device, dtype=landmarks.dtype)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1).reshape(1, -1, 2)
    at = (grid - matrix[:, None, :, 2]) @ back.transpose(-1, -2)
    return _sample(pictures, at.reshape(-1, size, size, 2))


def crop_boxes_torch(
    pictures: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Boxes cut out and resized without alignment, differentiable in pixels and boxes.

    Args:
        pictures: (B, C, H, W). boxes: (B, 4) normalised xyxy; they may leave the picture.
        size: (height, width) of the crops.

    Returns:
        (B, C, height, width): the picture at the middle of each cell of the box; 0 outside.
    """
    import torch

    height, width = pictures.shape[-2:]
    left, top, right, bottom = boxes.unbind(-1)
    fractions = [(torch.arange(n, device=boxes.device, dtype=boxes.dtype) + 0.5) / n for n in size]
    y = top[:, None] + (bottom - top)[:, None] * fractions[0]
    x = left[:, None] + (right - left)[:, None] * fractions[1]
    x, y = x[:, None, :].expand(-1, size[0], -1), y[:, :, None].expand(-1, -1, size[1])
    return _sample(pictures, torch.stack([x * width - 0.5, y * height - 0.5], -1))


def _sample(pictures: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Bilinear samples of (B, C, H, W) at (B, h, w, 2) pixel coordinates x, y; 0 outside."""
    import torch.nn.functional as F

    height, width = pictures.shape[-2:]
    grid = (2 * at + 1) / at.new_tensor([width, height]) - 1
    return F.grid_sample(
        pictures,
        grid.to(pictures.dtype),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )


def crop_all(images: list[Image], detected: list[list[Face]], size: int = SIZE) -> numpy.ndarray:
    """Every face of every picture, aligned: (number of faces, size, size, 3), RGB 0 to 255.

    Raises:
        ValueError: a face has no landmarks, or they coincide.
    """
    import numpy

    crops = []
    for image, faces in zip(images, detected, strict=True):
        pixels = numpy.asarray(image)
        for face in faces:
            if face.landmarks is None:
                raise ValueError("a face without landmarks cannot be aligned")
            crops.append(crop(pixels, numpy.asarray(face.landmarks), size))
    return numpy.stack(crops) if crops else numpy.zeros((0, size, size, 3), numpy.float32)


def deal_out(rows: numpy.ndarray, detected: list[list[Face]]) -> list[numpy.ndarray]:
    """Rows for all faces of a batch, back to one float32 array per picture."""
    import numpy

    ends = numpy.cumsum([len(faces) for faces in detected])
    return [part.astype(numpy.float32) for part in numpy.split(rows, ends[:-1])] if detected else []

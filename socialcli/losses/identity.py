"""The identity loss: the faces of the estimated picture are recognised as those of the original.

Source: Social Context Feedback (arXiv 2507.16095), section 3B and Eq. 3: the embeddings of a frozen
ArcFace, read at
the places of the faces in x0, also from the estimate. Eq. 3 cuts out the face's box as it is;
ArcFace was trained on faces aligned by five landmarks. Both are here: a face with landmarks is
aligned, one without is cut out plainly.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from socialcli.losses import per_sample
from socialcli.vision import faces


def loss(
    network: Callable[[Tensor], Tensor],
    pictures: Tensor,
    owners: Tensor,
    targets: Tensor,
    boxes: Tensor,
    landmarks: Tensor | None = None,
    normalised: bool = True,
    size: int = faces.SIZE,
) -> Tensor:
    """Squared distance between the embeddings of N faces and their targets, Eq. 3.

    Args:
        network: (N, 3, size, size) in [-1, 1] -> (N, D), `socialcli.networks.iresnet` for one.
        pictures: estimates (B, 3, H, W) in [-1, 1].
        owners: (N,) int64, the picture of each face. targets: (N, D), what `embed` gave for the
            original pictures (raw: they are normalised here when that is asked for).
        boxes: (N, 4) face boxes, normalised xyxy.
        landmarks: (N, 5, 2) normalised, in the order of `records.FACE_LANDMARKS`; NaN in the rows
            of faces without them. None: every face is cut out by its box.
        normalised: compare directions: the squared distance of unit vectors, 2 - 2 cos, in
            [0, 4]. False: the mean over the D numbers of the raw squared difference, which is of
            the same order (raw embeddings are some 20 long, so that the squared norm is near 800
            for two strangers).

    Returns:
        (B,), the mean over a picture's faces; 0 where they agree or where there is none.
    """
    if len(owners) == 0:
        return per_sample.silent(pictures)
    embeddings = embed(network, pictures, owners, boxes, landmarks, size)
    targets = targets.to(embeddings.dtype).detach()
    if normalised:
        values = (F.normalize(embeddings, dim=-1) - F.normalize(targets, dim=-1)).square().sum(-1)
    else:
        values = (embeddings - targets).square().mean(-1)
    return per_sample.mean(values, owners, len(pictures))


def embed(
    network: Callable[[Tensor], Tensor],
    pictures: Tensor,
    owners: Tensor,
    boxes: Tensor,
    landmarks: Tensor | None = None,
    size: int = faces.SIZE,
) -> Tensor:
    """(N, D) raw embeddings of N faces, float32 or wider; arguments as in `loss`."""
    embeddings = network(crops(pictures, owners, boxes, landmarks, size))
    return embeddings.float() if embeddings.itemsize < 4 else embeddings


def crops(
    pictures: Tensor,
    owners: Tensor,
    boxes: Tensor,
    landmarks: Tensor | None = None,
    size: int = faces.SIZE,
) -> Tensor:
    """N faces cut out: (N, 3, size, size) in [-1, 1], black (-1) outside the picture.

    Differentiable in the pixels. Arguments as in `loss`.
    """
    # The crops of `socialcli.vision.faces` are 0 outside, which has to mean black.
    light = pictures[owners] + 1
    boxes = boxes.to(light.dtype)
    aligned = torch.zeros(len(owners), dtype=torch.bool, device=owners.device)
    if landmarks is not None:
        landmarks = landmarks.to(light.dtype)
        aligned = landmarks.isfinite().flatten(1).all(1)
    parts = torch.zeros(len(owners), light.shape[1], size, size).to(light)
    if landmarks is not None and aligned.any():
        cut = faces.crop_torch(light[aligned], landmarks[aligned], size)
        parts = parts.index_put((aligned.nonzero()[:, 0],), cut)
    if not aligned.all():
        cut = faces.crop_boxes_torch(light[~aligned], boxes[~aligned], (size, size))
        parts = parts.index_put(((~aligned).nonzero()[:, 0],), cut)
    return parts - 1

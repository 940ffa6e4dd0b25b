"""RoIAlign in plain torch: what lies under boxes of a feature map, differentiable in the map.

He et al., "Mask R-CNN" (ICCV 2017), section 3, with the half-cell shift that later implementations
call ``aligned``: a box is divided into cells, each is sampled at as many points as it is feature
cells long (rounded up), bilinearly, and their mean is taken. Rows and columns are independent, so
that all boxes of a map are two products of matrices.
"""

from __future__ import annotations

import torch
from torch import Tensor


def roi_align(features: Tensor, boxes: Tensor, size: int, scale: float) -> Tensor:
    """What lies under each box.

    Args:
        features: (C, h, w). boxes: (N, 4) xyxy in any unit; they get no gradient. size: cells of
            the result along each side. scale: feature cells per unit of the boxes.

    Returns:
        (N, C, size, size). What lies beyond the map by more than a cell counts as 0.
    """
    height, width = features.shape[-2:]
    edges = boxes.detach().to(features.dtype) * scale - 0.5
    down = _weights(edges[:, 1], edges[:, 3], size, height)
    across = _weights(edges[:, 0], edges[:, 2], size, width)
    return torch.einsum("npi,cij,nqj->ncpq", down, features, across)


def _weights(start: Tensor, end: Tensor, size: int, length: int) -> Tensor:
    """How much each of ``length`` feature cells counts in each cell of a box: (N, size, length)."""
    cell = (end - start) / size
    points = cell.ceil()  # samples in each cell of a box
    most = max(int(points.max()), 1) if len(points) else 1
    number = torch.arange(most, device=start.device, dtype=start.dtype)
    share = (number + 0.5) / points.clamp(min=1)[:, None]  # (N, most), of a cell
    first = torch.arange(size, device=start.device, dtype=start.dtype)
    at = start[:, None, None] + (first[:, None] + share[:, None]) * cell[:, None, None]
    counts = (number < points[:, None])[:, None] & (at >= -1) & (at <= length)
    cells = torch.arange(length, device=start.device, dtype=start.dtype)
    near = (1 - (at.clamp(0, length - 1)[..., None] - cells).abs()).clamp(min=0)
    return (near * counts[..., None]).sum(2) / points.clamp(min=1)[:, None, None]

"""Points of heat maps, differentiable: one soft argmax for gaze and pose."""

from __future__ import annotations

import torch
from torch import Tensor

SHARPNESS = 20.0  # e^20 between peak and floor, against the few thousand cells of a map
LOWEST_PEAK = 0.1  # a lower one is noise, which must not be sharpened to a peak


def soft_argmax(maps: Tensor, x: Tensor, y: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """The mean cell of heat maps under softmax(sharpness * map / its peak).

    Dividing by the peak keeps the mean at the blob however sure the network was of it; the peak
    itself gets no gradient, everything else of the blob does.

    Args:
        maps: (..., h, w), about 0 away from the blob.
        x: (w,), the coordinate of each column; y: (h,), of each row.

    Returns:
        (..., 2) points x, y.
    """
    peak = maps.detach().flatten(-2).amax(-1).clamp(min=LOWEST_PEAK)[..., None]
    weights = (maps.flatten(-2) * (sharpness / peak)).softmax(-1).unflatten(-1, maps.shape[-2:])
    return torch.stack([(weights.sum(-2) * x).sum(-1), (weights.sum(-1) * y).sum(-1)], -1)

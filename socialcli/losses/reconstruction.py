"""The reconstruction loss: a picture is like another, in its pixels, its edges, and from afar."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

EDGES, SCALES = 0.25, (2, 4)


def loss(pictures: Tensor, truth: Tensor) -> Tensor:
    """How far pictures are from what they should be.

    Absolute and squared difference of the pixels, plus `EDGES` times the absolute difference of
    neighbours' differences (across and down), plus the absolute difference of the pictures
    averaged over squares of `SCALES` pixels; each is a mean over its own pixels.

    Args:
        pictures, truth: (B, 3, H, W) in [-1, 1], H and W multiples of 4.

    Returns:
        (B,); 0 where they agree.
    """
    pictures = pictures.float() if pictures.itemsize < 4 else pictures
    wrong = pictures - truth.to(pictures.dtype).detach()
    across, down = wrong.diff(dim=-1).abs(), wrong.diff(dim=-2).abs()
    total = _mean(wrong.abs()) + _mean(wrong.square()) + EDGES * (_mean(across) + _mean(down))
    for scale in SCALES:
        total = total + _mean(F.avg_pool2d(wrong, scale).abs())
    return total


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1)

"""The cross-attention loss of learned interactions: the relation's map follows the poses' maps.

Source: Customizing Text-to-Image Generation with Inverted Interaction, Eqs. 6 and 7::

    G    = Norm((CA(P1) + CA(P2)) * Mask)
    L_CA = | CA(R) - G | ^ 2      averaged over the map's cells

CA are the cross-attention maps of the words, Mask the two subjects together. The paper does not say
what Norm is, and calls CA itself "normalized". Here both maps of the difference are normalised in
the same way, so that the loss compares where they look and not how much: by their smallest and
largest value (``min-max``, the default), by their sum (``sum``), or not at all (``none``). G is a
target: it gets no gradient.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from socialcli.losses import per_sample

NORMS = ("min-max", "sum", "none")
TINY = 1e-6


def loss(relation: Tensor, poses: Tensor, mask: Tensor, norm: str = "min-max") -> Tensor:
    """Eq. 7 of each sample.

    Args:
        relation: (B, h, w) map of the relation word, at least 0: the mean of its tokens, heads and
            layers.
        poses: (B, 2, h, w) maps of the two pose words, likewise.
        mask: (B, H, W) of the two subjects together, in [0, 1], of any size.
        norm: one of `NORMS`.

    Returns:
        (B,): 0 where the relation looks where the poses look, and for a sample with an empty mask.
    """
    goal = target(poses, mask, norm).detach()
    there = mask.flatten(1).amax(1) > 0
    values = (normalised(relation, norm) - goal).square().flatten(1).mean(1)
    return torch.where(there, values, per_sample.silent(relation))


def target(poses: Tensor, mask: Tensor, norm: str = "min-max") -> Tensor:
    """G of Eq. 6: (B, h, w), 0 outside the mask; arguments as in `loss`."""
    height, width = poses.shape[-2:]
    small = F.adaptive_avg_pool2d(mask.to(poses.dtype)[:, None], (height, width))[:, 0]
    return normalised(poses.sum(1) * small, norm)


def normalised(maps: Tensor, norm: str) -> Tensor:
    """Norm: (B, h, w) -> the same shape.

    ``min-max`` gives [0, 1] (a map that is the same everywhere becomes 0), ``sum`` a map whose mean
    is 1.
    """
    flat = maps.flatten(1)
    if norm == "min-max":
        low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
        flat = (flat - low) / (high - low).clamp(min=TINY)
    elif norm == "sum":
        flat = flat / flat.mean(1, keepdim=True).clamp(min=TINY)
    return flat.view_as(maps)

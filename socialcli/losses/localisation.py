"""The localisation loss: a subject's word attends to the subject's pixels and to no others.

Source: FastComposer (arXiv 2305.10431), section 4.2: the mean of the attention on the background
minus its mean on the subject. The printed loss lies in [-1, 1]; here one is added, so that it is 0
where all attention is on the subject. Gradients are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from socialcli.errors import UsageError

_NONE = 1e-5  # as the authors', against division by nothing


def loss(maps: Sequence[Tensor], masks: Tensor, shown: Tensor) -> Tensor:
    """One value per sample: the mean over its subjects, all heads and layers.

    Args:
        maps: of each layer (B, heads, K, h, w) cross-attention to the words of K subjects,
            probabilities.
        masks: (B, K, S, S) in [0, 1], where each subject is; brought to the size of each map.
        shown: (B, K) bool, which of the K subjects there are.

    Returns:
        (B,) in [0, 2]; 0 for a sample without subjects.

    Raises:
        UsageError: no maps, or of other subjects than there are masks.
    """
    if not maps or any(m.shape[0] != len(masks) or m.shape[2] != masks.shape[1] for m in maps):
        raise UsageError(
            f"attention of {[tuple(m.shape) for m in maps]} and masks of {tuple(masks.shape)}: "
            "samples and subjects must be as many"
        )
    counted = shown.to(maps[0].dtype)
    total = torch.zeros(len(masks), dtype=maps[0].dtype, device=maps[0].device)
    for layer in maps:
        inside = functional.interpolate(
            masks.to(layer), tuple(layer.shape[-2:]), mode="bilinear", antialias=True
        )[:, None]
        outside = 1 - inside
        on = (layer * inside).sum((-1, -2)) / (inside.sum((-1, -2)) + _NONE)
        off = (layer * outside).sum((-1, -2)) / (outside.sum((-1, -2)) + _NONE)
        each = (1 + off - on).mean(1)  # (B, K), over heads
        total = total + (each * counted).sum(1) / counted.sum(1).clamp(min=1)
    return total / len(maps)

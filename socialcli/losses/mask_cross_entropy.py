"""How far the marked pixels are from those that should be, pixel by pixel."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy of each sample, the mean over classes and pixels.

    Multi-Subject Personalization (arXiv 2405.12742), A.4: a sigmoid for each subject.

    Args:
        logits: (B, K, H, W), any number. masks: the same shape, in [0, 1].

    Returns:
        (B,), at least 0.
    """
    each = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    return each.flatten(1).mean(1)

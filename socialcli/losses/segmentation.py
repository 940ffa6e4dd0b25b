"""How far the marked pixels are from those that should be: cross-entropy, and overlap."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy of each sample, the mean over classes and pixels.

    Multi-Subject Personalization (arXiv 2405.12742), A.4: a sigmoid for each subject.

    Args:
        logits: (B, K, H, W), any number. masks: the same shape, in [0, 1].

    Returns:
        (B,), at least 0.
    """
    each = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    return each.flatten(1).mean(1)


def dice(logits: Tensor, masks: Tensor) -> Tensor:
    """1 - 2 |P M| / (|P| + |M|) of each sample, all classes together, P the sigmoids.

    It does not shrink with the share of pixels that are some subject's, which is small.
    Source: Milletari et al., V-Net (arXiv 1606.04797), without the squares.

    Args:
        logits, masks: as of `cross_entropy`.

    Returns:
        (B,) in [0, 1]; 0 where the mask is met, also by nothing where nothing is to be marked.
    """
    chance, masks = logits.sigmoid().flatten(1), masks.flatten(1)
    both = (chance * masks).sum(1)
    return 1 - (2 * both + 1) / (chance.sum(1) + masks.sum(1) + 1)

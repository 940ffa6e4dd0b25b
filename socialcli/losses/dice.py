"""How little the marked pixels overlap those that should be marked."""

from __future__ import annotations

from torch import Tensor


def loss(logits: Tensor, masks: Tensor) -> Tensor:
    """1 - 2 |P M| / (|P| + |M|) of each sample, all classes together, P the sigmoids.

    It does not shrink with the share of pixels that are some subject's, which is small.
    Source: Milletari et al., V-Net (arXiv 1606.04797), without the squares.

    Args:
        logits: (B, K, H, W), any number. masks: the same shape, in [0, 1].

    Returns:
        (B,) in [0, 1]; 0 where the mask is met, also by nothing where nothing is to be marked.
    """
    chance, masks = logits.sigmoid().flatten(1), masks.flatten(1)
    both = (chance * masks).sum(1)
    return 1 - (2 * both + 1) / (chance.sum(1) + masks.sum(1) + 1)

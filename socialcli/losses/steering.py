"""Relation steering: draw a word to prepositions and away from the other words of its text."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def loss(
    words: Tensor, positives: Tensor, negatives: Tensor, there: Tensor, temperature: float = 0.07
) -> Tensor:
    """Relation steering of each sample: InfoNCE with several positives.

        -log( sum_P exp(cos(r, p) / T) / (sum_P exp(cos(r, p) / T) + sum_N exp(cos(r, n) / T)) )

    ReVersion (arXiv 2303.13495), Eq. 4; as in its public code all vectors are normalised, and
    neither positives nor negatives get a gradient.

    Args:
        words: (B, D) token embeddings of the relations, r.
        positives: (B, P, D), of prepositions. negatives: (B, M, D), of the text's other words.
        there: (B, M) bool, which negatives there are; the others are padding.
        temperature: T.

    Returns:
        (B,), float32 or wider, at least 0; 0 for a sample without negatives.
    """
    others = functional.normalize(torch.cat([positives, negatives], 1).detach(), dim=-1)
    # In bfloat16 the difference below, and most of its gradient, would be rounded to 0.
    with torch.autocast(words.device.type, enabled=False):
        cosines = (others @ functional.normalize(words, dim=-1)[..., None])[..., 0]
    logits = cosines / temperature
    count = positives.shape[1]
    against = logits[:, count:].masked_fill(~there, -torch.inf)
    both = torch.cat([logits[:, :count], against], 1)
    return both.logsumexp(1) - logits[:, :count].logsumexp(1)

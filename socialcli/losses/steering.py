"""Relation steering: draw a word to prepositions and away from the other words of its text."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def loss(word: Tensor, positives: Tensor, negatives: Tensor, temperature: float = 0.07) -> Tensor:
    """Relation steering of one word: InfoNCE with several positives.

        -log( sum_P exp(cos(r, p) / T) / (sum_P exp(cos(r, p) / T) + sum_N exp(cos(r, n) / T)) )

    ReVersion (arXiv 2303.13495), Eq. 4; its public code normalises all vectors, and neither
    positives nor negatives get a gradient.

    Args:
        word: (D,) token embedding of the relation.
        positives: (P, D), of prepositions. negatives: (M, D), of the text's other words; M may be
            0, and then the loss is 0.

    Returns:
        Scalar, at least 0.
    """
    others = functional.normalize(torch.cat([positives, negatives]).detach(), dim=-1)
    logits = others @ functional.normalize(word, dim=-1) / temperature
    return logits.logsumexp(0) - logits[: len(positives)].logsumexp(0)

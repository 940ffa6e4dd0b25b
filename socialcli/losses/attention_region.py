"""The face-wise attention loss: a learned word attends where an ordinary word would.

Source: Identity Embedding (arXiv 2402.00631), Eq. 4 and Algorithm 1: L_attention = |A_r - A_t|^2,
where A_t are the cross-attention maps of "a photo of the face of V*", A_r those of "a photo of the
face of person" with the same queries. (The algorithm prints MSE(A_t, A_t).) A_r is a target: it
gets no gradient.

Eq. 4 is a sum of squares, Algorithm 1 a mean. They differ by the number of heads, tokens and
places, 630,784 in the paper's maps of 8 x 77 x 32 x 32, and the paper's weight of 0.003 fits the
sum alone: a mean of squared differences of probabilities is below 1e-4. So the sum is the
default.
"""

from __future__ import annotations

from torch import Tensor

from socialcli.errors import UsageError

REDUCTIONS = ("sum", "mean")


def loss(target: Tensor, reference: Tensor, reduction: str = "sum") -> Tensor:
    """Eq. 4 of each sample.

    Args:
        target: (B, heads, K, h, w) maps of the learned word's text, probabilities.
        reference: the same shape, of the ordinary word's text.
        reduction: one of `REDUCTIONS`, over heads, tokens and places.

    Returns:
        (B,): 0 where both are equal.

    Raises:
        UsageError: no such reduction, or shapes that differ.
    """
    if reduction not in REDUCTIONS or target.shape != reference.shape:
        raise UsageError(
            f"attention of {tuple(target.shape)} and {tuple(reference.shape)}, reduced by "
            f"'{reduction}': shapes must be equal, and it is one of {', '.join(REDUCTIONS)}"
        )
    square = (target - reference.detach()).square().flatten(1)
    return square.sum(1) if reduction == "sum" else square.mean(1)

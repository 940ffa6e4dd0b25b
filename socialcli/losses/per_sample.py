"""From values of faces, people and pairs to one value per sample."""

from __future__ import annotations

import torch
from torch import Tensor


def mean(values: Tensor, owners: Tensor, count: int) -> Tensor:
    """The mean of each sample's own values.

    Args:
        values: (N,). owners: (N,) int64, which of ``count`` samples each value belongs to.

    Returns:
        (count,); exactly 0 for a sample without values.
    """
    total = values.new_zeros(count).index_add(0, owners, values)
    number = values.new_zeros(count).index_add(0, owners, torch.ones_like(values))
    return total / number.clamp(min=1)


def silent(pictures: Tensor) -> Tensor:
    """(B, ...) -> (B,) exact zeros that may be differentiated: the sum of no pixels.

    Zeros of their own would have no gradient function, and 0 * picture is NaN where a picture is.
    """
    return pictures[:, :0].flatten(1).sum(1)

"""The response loss: two networks answer the same small change of their input alike.

A network that is only asked for another's outputs may get them from elsewhere in its input; what
flows back through it is then of little use. Differences of outputs are the derivative along the
change, so this asks for the Jacobian, with forward passes alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from socialcli.losses import reconstruction


def loss(change: Tensor, truth: Tensor) -> Tensor:
    """Absolute difference of the changes of the outputs, over the size of the true change.

    Args:
        change, truth: (B, ...): how much the outputs of the network that learns, and of the one
            it learns from, changed.

    Returns:
        (B,); 0 where they agree and where nothing changed, 1 for a network that does not answer.
    """
    change = change.float() if change.itemsize < 4 else change
    truth = truth.to(change.dtype).detach()
    size = truth.abs().flatten(1).mean(1)
    off = (change - truth).abs().flatten(1).mean(1)
    return (off / size.clamp(min=1e-12)) * (size > 0)


def compare(
    student: Callable[[Tensor], Tensor],
    teacher: Callable[[Tensor], Tensor],
    latents: Tensor,
    change: Tensor,
) -> dict[str, Tensor]:
    """How far a decoder is from another: in its pictures, and in how it answers a change.

    Args:
        student, teacher: latents (B, C, h, w) -> pictures (B, 3, H, W) in about [-1, 1]; the
            teacher's are taken without gradient.
        latents: where both are compared. change: (B, C, h, w), added for the second comparison.

    Returns:
        ``reconstruction`` and ``response``, (B,) each: `reconstruction.loss` at both places, and
        `loss` between them.
    """
    both = torch.cat([latents, latents + change])
    with torch.no_grad():
        truth = teacher(both).float()
    drawn = student(both).float()
    (before, after), (was, becomes) = drawn.chunk(2), truth.chunk(2)
    first, second = reconstruction.loss(drawn, truth).chunk(2)
    return {
        "reconstruction": (first + second) / 2,
        "response": loss(after - before, becomes - was),
    }

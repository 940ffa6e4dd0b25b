"""The denoising loss: predicted against true noise (or velocity).

Source: Social Context Feedback (arXiv 2507.16095), section 3: "the mean squared error between the
true noise and the predicted noise".
"""

from __future__ import annotations

from torch import Tensor


def loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each sample.

    Args:
        predicted: (B, C, h, w), what the UNet says. target: the same shape, what it should say
            (`socialcli.diffusion.schedule.target`).

    Returns:
        (B,), float32 or wider; 0 where both are equal.
    """
    wide = predicted.float() if predicted.itemsize < 4 else predicted
    return (wide - target.to(wide.dtype)).square().flatten(1).mean(1)

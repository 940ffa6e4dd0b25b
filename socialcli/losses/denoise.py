"""The denoising loss: predicted against true noise (or velocity).

Source: Social Context Feedback (arXiv 2507.16095), section 3: "the mean squared error between the
true noise and the predicted noise".
"""

from __future__ import annotations

from torch import Tensor


def loss(predicted: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared error of each sample.

    Args:
        predicted: (B, C, h, w), what the UNet says. target: the same shape, what it should say
            (`socialcli.diffusion.schedule.target`).
        weight: (B, 1, h, w), at least 0: how much each place counts. The mean is the weighted one,
            so a sample counts as much however small its subject; where nothing counts it is 0.

    Returns:
        (B,), float32 or wider; 0 where both are equal.
    """
    wide = predicted.float() if predicted.itemsize < 4 else predicted
    errors = (wide - target.to(wide.dtype)).square()
    if weight is None:
        return errors.flatten(1).mean(1)
    errors, weight = errors.mean(1), weight[:, 0].to(errors)
    total = weight.flatten(1).sum(1)
    return (errors * weight).flatten(1).sum(1) / total.clamp(min=1e-8)

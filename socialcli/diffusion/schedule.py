"""Between noise, velocity and the latents themselves: Eq. 1 of Social Context Feedback.

One definition for every noise schedule: ``alphas`` is the cumulative product of 1 - beta, which
each scheduler of diffusers has as ``alphas_cumprod``. With a = alphas[t]:

    z_t = sqrt(a) z_0 + sqrt(1 - a) noise;  velocity = sqrt(a) noise - sqrt(1 - a) z_0
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from socialcli.errors import UsageError

TYPES = ("epsilon", "v_prediction", "sample")


def schedule(scheduler: Any) -> tuple[Tensor, str]:
    """(alphas, prediction type) of any diffusers scheduler; alphas is (T,) float64 in [0, 1].

    Raises:
        UsageError: it has no ``alphas_cumprod`` (flow matching), or predicts something else.
    """
    alphas = getattr(scheduler, "alphas_cumprod", None)
    kind = scheduler.config.get("prediction_type", "epsilon")
    if alphas is None:
        raise UsageError(
            f"{type(scheduler).__name__} has no alphas_cumprod; use a model trained with DDPM noise"
        )
    if kind not in TYPES:
        raise UsageError(f"the model predicts '{kind}'; there are {', '.join(TYPES)}")
    return torch.as_tensor(alphas, dtype=torch.float64), kind


def noisy(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas: Tensor) -> Tensor:
    """z_t: (B, C, h, w) latents with noise of (B,) timesteps."""
    signal, rest = _roots(timesteps, alphas, latents)
    return signal * latents + rest * noise


def target(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas: Tensor, kind: str) -> Tensor:
    """What the network should say: the noise, the velocity or the latents; (B, C, h, w)."""
    if kind == "epsilon":
        return noise
    if kind == "sample":
        return latents
    signal, rest = _roots(timesteps, alphas, latents)
    return signal * noise - rest * latents


def estimate(
    noisy: Tensor, predicted: Tensor, timesteps: Tensor, alphas: Tensor, kind: str
) -> Tensor:
    """The latents z_0 that a prediction means, Eq. 1.

    Args:
        noisy: z_t, (B, C, h, w). predicted: what the network said of it.
        timesteps: (B,) int64. alphas, kind: of `schedule`.

    Returns:
        (B, C, h, w) of at least float32. Where no signal is left (alpha 0, as in schedules
        rescaled to zero terminal signal) epsilon says nothing; 1e-8 stands in for alpha there.
    """
    wide = noisy.float() if noisy.itemsize < 4 else noisy
    predicted = predicted.to(wide.dtype)
    if kind == "sample":
        return predicted
    signal, rest = _roots(timesteps, alphas, wide)
    if kind == "v_prediction":
        return signal * wide - rest * predicted
    return (wide - rest * predicted) / signal.clamp(min=1e-4)


def _roots(timesteps: Tensor, alphas: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(alpha) and sqrt(1 - alpha) for (B,) timesteps, shaped (B, 1, 1, 1)."""
    chosen = alphas.to(timesteps.device)[timesteps].reshape(-1, *[1] * (like.ndim - 1))
    return chosen.sqrt().to(like), (1 - chosen).sqrt().to(like)

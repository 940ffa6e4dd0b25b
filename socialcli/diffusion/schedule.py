"""Between noise, velocity and the latents themselves.

Source: Social Context Feedback (arXiv 2507.16095), Eq. 1. One definition for every noise schedule:
``alphas_cumprod`` is the cumulative product of 1 - beta, which each scheduler of diffusers has
under this name. With a = alphas_cumprod[t]:

    z_t = sqrt(a) z_0 + sqrt(1 - a) noise;  velocity = sqrt(a) noise - sqrt(1 - a) z_0
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from socialcli.errors import UsageError

TYPES = ("epsilon", "v_prediction", "sample")


def schedule(scheduler: Any) -> tuple[Tensor, str]:
    """(alphas_cumprod, prediction type) of any diffusers scheduler.

    Returns:
        alphas_cumprod (T,) float64 in [0, 1]; one of `TYPES`.

    Raises:
        UsageError: it has no ``alphas_cumprod`` (flow matching), or predicts something else.
    """
    alphas_cumprod = getattr(scheduler, "alphas_cumprod", None)
    prediction_type = scheduler.config.get("prediction_type", "epsilon")
    if alphas_cumprod is None:
        raise UsageError(
            f"{type(scheduler).__name__} has no alphas_cumprod; use a model trained with DDPM noise"
        )
    if prediction_type not in TYPES:
        raise UsageError(f"the model predicts '{prediction_type}'; there are {', '.join(TYPES)}")
    return torch.as_tensor(alphas_cumprod, dtype=torch.float64), prediction_type


def noisy(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """z_t: (B, C, h, w) latents with noise of (B,) timesteps."""
    signal, rest = _roots(timesteps, alphas_cumprod, latents)
    return signal * latents + rest * noise


def target(
    latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor, prediction_type: str
) -> Tensor:
    """What the network should say: the noise, the velocity or the latents; (B, C, h, w)."""
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "sample":
        return latents
    signal, rest = _roots(timesteps, alphas_cumprod, latents)
    return signal * noise - rest * latents


def estimate(
    noisy: Tensor,
    model_pred: Tensor,
    timesteps: Tensor,
    alphas_cumprod: Tensor,
    prediction_type: str,
) -> Tensor:
    """The latents z_0 that a prediction means, Eq. 1.

    Args:
        noisy: z_t, (B, C, h, w). model_pred: what the network said of it.
        timesteps: (B,) int64. alphas_cumprod, prediction_type: of `schedule`.

    Returns:
        (B, C, h, w) of at least float32. Where no signal is left (alpha 0, as in schedules
        rescaled to zero terminal signal) epsilon says nothing; 1e-8 stands in for alpha there.
    """
    wide = noisy.float() if noisy.itemsize < 4 else noisy
    model_pred = model_pred.to(wide.dtype)
    if prediction_type == "sample":
        return model_pred
    signal, rest = _roots(timesteps, alphas_cumprod, wide)
    if prediction_type == "v_prediction":
        return signal * wide - rest * model_pred
    return (wide - rest * model_pred) / signal.clamp(min=1e-4)


def _roots(timesteps: Tensor, alphas_cumprod: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(alpha) and sqrt(1 - alpha) for (B,) timesteps, shaped (B, 1, 1, 1)."""
    chosen = alphas_cumprod.to(timesteps.device)[timesteps].reshape(-1, *[1] * (like.ndim - 1))
    return chosen.sqrt().to(like), (1 - chosen).sqrt().to(like)

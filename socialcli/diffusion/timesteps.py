"""Which timesteps are drawn, and at which of them each feedback speaks.

Source: Social Context Feedback (arXiv 2507.16095), section 3F (gates), section 4.1 (piece-wise
uniform timesteps), section 4.3 and Table 1 (weights inversely proportional to the loss curves).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from socialcli.errors import UsageError

NAMES = ("boundary", "identity", "gaze", "pose", "interaction")


def piecewise(uniform: Tensor, total: int = 1000, knee: int = 500, ratio: float = 2.0) -> Tensor:
    """Timesteps from uniform numbers: those below ``knee`` are ``ratio`` times as likely.

    Args:
        uniform: (B,) in [0, 1). total: number of timesteps.

    Returns:
        (B,) int64 in [0, total), monotonous in ``uniform``.

    Raises:
        UsageError: a knee outside [0, total], or a ratio that is not above 0.
    """
    if not 0 <= knee <= total or not ratio > 0:
        raise UsageError(
            f"timesteps need a knee in [0, {total}] and a ratio above 0, not {knee} and {ratio}"
        )
    mass = uniform.double() * (ratio * knee + total - knee)
    low = mass / ratio
    steps = torch.where(mass < ratio * knee, low, mass - ratio * knee + knee)
    return steps.floor().long().clamp(0, total - 1)


def importance(uniform: Tensor, total: int = 1000, strength: float = 0.5) -> Tensor:
    """Timesteps from uniform numbers, noisy ones more often: P(t) is proportional to
    1 - strength cos(pi t / total), ReVersion (arXiv 2303.13495), Eq. 7.

    Args:
        uniform: (B,) in [0, 1). total: number of timesteps. strength: in [0, 1]; 0: all alike.

    Returns:
        (B,) int64 in [0, total), monotonous in ``uniform``.
    """
    at = torch.arange(total, dtype=torch.float64)
    mass = (1 - strength * torch.cos(torch.pi * at / total)).cumsum(0)
    steps = torch.searchsorted(mass, uniform.double() * mass[-1], right=True)
    return steps.clamp(max=total - 1)


@dataclass(frozen=True)
class Gate:
    """A feedback's timesteps, both ends included, its weight, and the curve that divides it."""

    low: int
    high: int
    weight: float
    curve: tuple[float, ...] = field(default=())

    def open(self, timesteps: Tensor) -> Tensor:
        """(B,) bool: which samples this feedback is asked about."""
        if self.weight == 0:
            return torch.zeros_like(timesteps, dtype=torch.bool)
        return (timesteps >= self.low) & (timesteps <= self.high)

    def weights(self, timesteps: Tensor, total: int = 1000) -> Tensor:
        """(B,) float32: the feedback's weight at each timestep, 0 where the gate is closed.

        With a curve of n numbers (the loss's mean in n equal parts of [0, total)) the weight is
        shared out inversely to it, so that its mean over the parts that the gate spans stays
        ``weight``: the feedback is shifted between timesteps, not strengthened. Where the curve
        is below a hundredth of its peak that hundredth counts, since a loss that falls silent
        (interaction beyond t = 500) would otherwise get all the weight there is.
        """
        value = torch.full(timesteps.shape, float(self.weight), device=timesteps.device)
        if self.curve:
            inverse = self._inverse(total).to(timesteps.device)
            value = value * inverse[(timesteps * len(inverse) // total).clamp(0, len(inverse) - 1)]
        return torch.where(self.open(timesteps), value, 0)

    def _inverse(self, total: int) -> Tensor:
        curve = torch.tensor(self.curve, dtype=torch.float32)
        inverse = 1 / curve.clamp(min=max(float(curve.max()) / 100, 1e-12))
        centres = (torch.arange(len(curve)) + 0.5) * (total / len(curve))
        inside = (centres >= self.low) & (centres <= self.high)
        return inverse / (inverse[inside] if inside.any() else inverse).mean()


def parse(name: str, text: str) -> tuple[int, int]:
    """The two ends of a gate, as written: "0-200", or "all" or "none".

    Raises:
        UsageError: written otherwise.
    """
    if text == "all":
        return 0, 2**31
    if text == "none":
        return 1, 0
    low, dash, high = text.partition("-")
    if not dash or not low.strip().isdigit() or not high.strip().isdigit() or int(low) > int(high):
        raise UsageError(f"--gate-{name} {text}: write it as 0-200, all or none")
    return int(low), int(high)


def read_curves(path: str) -> dict[str, tuple[float, ...]]:
    """Loss curves from a JSON file: {"gaze": [n means], ...}, n equal parts of the timesteps.

    Raises:
        UsageError: no such file, or it holds something else.
    """
    import json

    try:
        body = json.loads(Path(path).read_bytes())
        curves = {name: tuple(float(v) for v in body[name]) for name in NAMES if name in body}
        if not curves or any(not c or min(c) < 0 for c in curves.values()):
            raise ValueError("no curve of numbers in it")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(
            f"--curves {path}: not a file of loss curves ({error}); write one with --write-curves"
        ) from None
    return curves

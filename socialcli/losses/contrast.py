"""InfoNCE between a subject's word and the words of backgrounds.

Source: Towards More Accurate Personalized Image Generation, Eq. 5:

    L = -log( S_P / (S_P + S_N) ),  S_P = sum over P of exp(v_i . v_j / tau),
                                    S_N = sum over N of exp(v_i . A_k / tau)

with one logarithm over the two whole sums (not, as elsewhere, a mean of logarithms), v_i the
contextual embedding of the subject's word in the text of picture i, A_k that of the attractor of
picture k. P are the ordered pairs of different pictures, N all pairs (i, k).

Section 6.1 weights it by a function of the training's progress, of which Figure 16 shows the
shapes and no formula; `schedule` says which are used here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from socialcli.errors import UsageError

SCHEDULES = ("zero", "one", "linear", "exponential", "sigmoid", "cosine")
SHARPNESS = 5.0  # of exponential; sigmoid's slope is twice it


def loss(
    subject: Tensor, attractors: Tensor, temperature: float = 0.07, normalised: bool = True
) -> Tensor:
    """Eq. 5.

    Args:
        subject: (N, D), v_1 to v_N, N at least 2. attractors: (M, D), A_1 to A_M, M at least 1.
        temperature: tau, above 0.
        normalised: dot products of vectors of length 1, so in [-1, 1]; else of the vectors as they
            are. CLIP's are some thirty long, and exp(900 / tau) leaves nothing of the gradient.

    Returns:
        A scalar, float32 or wider, at least 0: log(1 + S_N / S_P). It falls as the v_i come
        together and as they leave the A_k.

    Raises:
        UsageError: fewer than two subjects' vectors or no attractor's, or widths that differ.
    """
    if len(subject) < 2 or len(attractors) < 1 or subject.shape[1:] != attractors.shape[1:]:
        raise UsageError(
            f"InfoNCE needs vectors (N, D) of two texts at least and attractors (M, D), not "
            f"{tuple(subject.shape)} and {tuple(attractors.shape)}"
        )
    v, a = _wide(subject), _wide(attractors)
    if normalised:
        v, a = (torch.nn.functional.normalize(rows, dim=-1) for rows in (v, a))
    with torch.autocast(v.device.type, enabled=False):
        together, apart = v @ v.T, v @ a.T
    same = together / temperature
    others = ~torch.eye(len(v), dtype=torch.bool, device=v.device)
    positive = torch.logsumexp(same[others], 0)
    negative = torch.logsumexp((apart / temperature).flatten(), 0)
    return torch.nn.functional.softplus(negative - positive)


def schedule(name: str, progress: float) -> float:
    """The weight of the contrastive loss, in [0, 1].

    ``zero`` and ``one`` are constants. All others rise from 0 to 1 with the progress x: ``linear``
    x; ``exponential`` (1 - e^-5x) / (1 - e^-5), early; ``sigmoid`` 1 / (1 + e^-10(x - 1/2)), moved
    and scaled to meet both ends; ``cosine`` (1 - cos pi x) / 2. That the exponential rises early is
    read from section 6.1, which puts it beside the constant one and says that a low weight at the
    beginning is what the better ones have in common.

    Args:
        progress: steps done over all steps, in [0, 1].

    Raises:
        UsageError: no such schedule.
    """
    x = min(max(progress, 0.0), 1.0)
    if name in ("zero", "one"):
        return float(name == "one")
    if name == "linear":
        return x
    if name == "exponential":
        return math.expm1(-SHARPNESS * x) / math.expm1(-SHARPNESS)
    if name == "sigmoid":
        low, here, high = (1 / (1 + math.exp(-2 * SHARPNESS * (y - 0.5))) for y in (0.0, x, 1.0))
        return (here - low) / (high - low)
    if name == "cosine":
        return (1 - math.cos(math.pi * x)) / 2
    raise UsageError(f"no schedule '{name}' of the contrast; there are {', '.join(SCHEDULES)}")


def _wide(rows: Tensor) -> Tensor:
    return rows.to(torch.float32) if rows.itemsize < 4 else rows

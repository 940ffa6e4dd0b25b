"""Subject-aware guidance: a network that knows the subjects pulls each segment towards its own.

Source: Multi-Subject Personalization (arXiv 2405.12742), A.4; the loss is `losses.subject_aware`.
In each step the clean picture that the predictions mean is decoded, each segment of it is shown to
the network alone, and the estimate is moved against the gradient of the loss. The paper does not
say what the gradient is taken of, nor its weight: here it is taken of the estimate, not through
the UNet, and its length is a share of the estimate's own, so that a weight means the same in every
step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.generation import adapters

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.conditioning import Step
    from socialcli.diffusion.regions import Regions

STRIDE = 32  # the network's pictures are multiples of it


def channel(segment: records.Segment, subjects: Sequence[dict[str, str]]) -> int | None:
    """Which of a network's subjects a segment shows: the one of its `subject`, else the one whose
    identifier its prompt has; None where it shows none of them."""
    for number, one in enumerate(subjects):
        if segment.subject and one.get("name") == segment.subject:
            return number
    for number, one in enumerate(subjects):
        if one.get("identifier") and adapters.calls(segment.prompt, one["identifier"]):
            return number
    return None


def push(
    network: Any,
    decode: Callable[[Tensor], Tensor],
    regions: Regions,
    channels: Sequence[int | None],
    form: str,
    weight: float,
) -> Callable[[Step, Tensor], Tensor]:
    """What `regions.Composite.push` takes.

    Args:
        network: (B, 3, H, W) RGB in [0, 1] -> (B, K, H, W) logits.
        decode: latents -> pictures in [-1, 1], differentiable.
        channels: of each row, which of the K subjects it shows; None: no guidance.
        form: one of `losses.subject_aware.FORMS`.
        weight: how far the estimate is moved, as a share of its root mean square.
    """
    import torch

    chosen = [row for row, which in enumerate(channels) if which is not None]
    wanted = [which for which in channels if which is not None]

    def moved(step: Step, pred: Tensor) -> Tensor:
        if not chosen:
            return pred
        clean = regions.merge(step.estimate(pred, step.latents))
        with torch.inference_mode(False), torch.enable_grad():
            clean = clean.clone().requires_grad_(True)
            loss = _loss(network, decode, regions, chosen, wanted, form, clean)
            (slope,) = torch.autograd.grad(loss, clean)
        inside = regions.masks.clone()
        inside[[row for row in range(len(inside)) if row not in chosen]] = False
        slope = slope * regions.merge(inside.to(slope))
        size = slope.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        length = clean.detach().square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        change = -weight * length * slope / size.clamp(min=1e-12)
        # Each row in its own segment: what another row sees there is that row's business.
        return pred + regions.spread(_as_prediction(step, change)).to(pred) * inside.to(pred)

    return moved


def _loss(
    network: Any,
    decode: Callable[[Tensor], Tensor],
    regions: Regions,
    chosen: Sequence[int],
    wanted: Sequence[int],
    form: str,
    clean: Tensor,
) -> Tensor:
    """The sum over the segments that show a subject."""
    import torch
    from torch.nn import functional

    from socialcli.losses import subject_aware

    pictures = (decode(clean).float() / 2 + 0.5).clamp(0, 1)
    side = [-(-n // STRIDE) * STRIDE for n in pictures.shape[-2:]]
    pictures = functional.interpolate(pictures, side, mode="bilinear", antialias=True)
    masks = functional.interpolate(regions.masks[list(chosen)].float(), side).to(pictures)
    parts = pictures[regions.pictures[list(chosen)].to(pictures.device)] * masks
    logits = network(parts)[torch.arange(len(chosen)), torch.tensor(wanted)]
    return subject_aware.loss(logits, masks[:, 0], form).sum()


def _as_prediction(step: Step, change: Tensor) -> Tensor:
    """What a change of the clean estimate is as a change of the prediction, by its type."""
    from socialcli.diffusion import schedule

    alphas_cumprod, kind = schedule.schedule(step.scheduler)
    t = int(step.timestep.round().long().clamp(0, len(alphas_cumprod) - 1))
    signal, noise = float(alphas_cumprod[t]) ** 0.5, (1 - float(alphas_cumprod[t])) ** 0.5
    if kind == "sample":
        return change
    if kind == "v_prediction":
        return -change / max(noise, 1e-4)
    return -change * signal / max(noise, 1e-4)

"""ControlNets in the denoising loop: their residuals are added to the UNet's own.

Source: Zhang et al., Adding Conditional Control to Text-to-Image Diffusion Models, 2023. Several
nets are summed. `guide` gives what `Conditioning.guide` takes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.conditioning import Step

DOWN, MIDDLE = "down_block_additional_residuals", "mid_block_additional_residual"


@dataclass
class Control:
    """One ControlNet and what it sees.

    Attributes:
        network: diffusers' ControlNetModel, on the UNet's device.
        hints: (N, 3, H, W) in [0, 1]: a drawing for each picture, of the picture's size.
        scale: its residuals are multiplied by it.
        start, end: the share of the steps from which and up to which it is asked, in [0, 1].
        states: (rows, T, D) that it reads in place of the text (InstantID's reads a face's tokens).
    """

    network: Any
    hints: Tensor
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    states: Tensor | None = None

    def open(self, number: int, count: int) -> bool:
        """Whether it is asked in step ``number`` of ``count``, as diffusers decides it."""
        return not (number / count < self.start or (number + 1) / count > self.end)


def guide(controls: Sequence[Control], guess: bool = False) -> Callable[[Step], Tensor]:
    """The prediction of a step with the nets' residuals: (the step) -> (N, C, h, w).

    Both halves of classifier-free guidance see the drawings; with ``guess`` the conditional one
    alone, and shallow residuals weigh less (0.1 at the first, 1 in the middle), so that a drawing
    guides without a prompt. The nets read the plain text states
    (``encoder_hidden_states``), whatever else the UNet reads.
    """

    def predict(step: Step) -> Tensor:
        extra = residuals(step, [c for c in controls if c.open(step.number, step.count)], guess)
        return dataclasses.replace(step, arguments={**step.arguments, **extra}).predict()

    return predict


def residuals(step: Step, controls: Sequence[Control], guess: bool = False) -> dict[str, Any]:
    """The UNet's arguments that hold the summed residuals; none without nets. See `guide`."""
    import torch

    total: list[Tensor] = []
    both = step.guidance != 1 and not guess
    halves = 2 if both else 1
    latents = torch.cat([step.latents] * halves)
    rows = step.scheduler.scale_model_input(latents, step.timestep)
    text = step.arguments["encoder_hidden_states"]
    if subjects := (step.arguments.get("cross_attention_kwargs") or {}).get("subjects"):
        text = text[:, : subjects.text_tokens]  # behind them stand subjects, for the UNet alone
    added = dict(step.arguments.get("added_cond_kwargs") or {})
    added.pop("image_embeds", None)  # of an adapter in the UNet
    if guess and step.guidance != 1:
        text = text.chunk(2)[1]
        added = {name: value.chunk(2)[1] for name, value in added.items()}
    more = {"added_cond_kwargs": added} if added else {}
    for control in controls:
        dtype = control.network.dtype
        down, middle = control.network(
            rows.to(dtype), step.timestep,
            encoder_hidden_states=(text if control.states is None else control.states).to(dtype),
            controlnet_cond=torch.cat([control.hints] * halves).to(rows.device, dtype),
            conditioning_scale=control.scale, guess_mode=guess, return_dict=False, **more,
        )  # fmt: skip
        parts = [*down, middle]
        total = [a + b for a, b in zip(total, parts, strict=True)] if total else parts
    if not total:
        return {}
    total = [part.to(step.unet.dtype) for part in total]
    if guess and step.guidance != 1:
        total = [torch.cat([torch.zeros_like(part), part]) for part in total]
    return {DOWN: total[:-1], MIDDLE: total[-1]}


def hint(
    people: Sequence[Sequence[Sequence[float]]], size: tuple[int, int], style: str = "scaled"
) -> Tensor:
    """(3, H, W) in [0, 1]: skeletons drawn as OpenPose draws them (`skeletons.draw`).

    Args:
        people: COCO keypoints (x, y, visibility or score) of each, normalised to the picture.
        size: width and height in pixels.
    """
    import numpy
    import torch

    from socialcli.vision import skeletons

    drawn = numpy.array(skeletons.draw(people, size, style=style))
    return torch.from_numpy(drawn).permute(2, 0, 1).float() / 255

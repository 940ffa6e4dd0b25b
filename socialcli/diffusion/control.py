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
    """

    network: Any
    hints: Tensor
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0

    def open(self, number: int, count: int) -> bool:
        """Whether it is asked in step ``number`` of ``count``, as diffusers decides it."""
        return not (number / count < self.start or (number + 1) / count > self.end)


def guide(controls: Sequence[Control]) -> Callable[[Step], Tensor]:
    """The prediction of a step with the nets' residuals: (the step) -> (N, C, h, w).

    Both halves of classifier-free guidance see the drawings. The nets read the plain text states
    (``encoder_hidden_states``), whatever else the UNet reads.
    """

    def predict(step: Step) -> Tensor:
        found = residuals(step, [c for c in controls if c.open(step.number, step.count)])
        return dataclasses.replace(step, arguments={**step.arguments, **found}).predict()

    return predict


def residuals(step: Step, controls: Sequence[Control]) -> dict[str, Any]:
    """The UNet's arguments that hold the summed residuals; none without nets."""
    import torch

    total: list[Tensor] = []
    halves = 1 if step.guidance == 1 else 2
    latents = torch.cat([step.latents] * halves)
    rows = step.scheduler.scale_model_input(latents, step.timestep)
    text = step.arguments["encoder_hidden_states"]
    for control in controls:
        dtype = control.network.dtype
        down, middle = control.network(
            rows.to(dtype), step.timestep, encoder_hidden_states=text.to(dtype),
            controlnet_cond=torch.cat([control.hints] * halves).to(rows.device, dtype),
            conditioning_scale=control.scale, return_dict=False,
        )  # fmt: skip
        mine = [*down, middle]
        total = [a + b for a, b in zip(total, mine, strict=True)] if total else mine
    if not total:
        return {}
    total = [part.to(step.unet.dtype) for part in total]
    return {DOWN: total[:-1], MIDDLE: total[-1]}


def hint(people: Sequence[Sequence[Sequence[float]]], size: tuple[int, int]) -> Tensor:
    """(3, H, W) in [0, 1]: skeletons drawn as OpenPose draws them.

    Args:
        people: COCO keypoints (x, y, visibility or score) of each, normalised to the picture.
        size: width and height in pixels.
    """
    import numpy
    import torch

    from socialcli.vision import skeletons

    drawn = numpy.array(skeletons.draw(people, size))
    return torch.from_numpy(drawn).permute(2, 0, 1).float() / 255

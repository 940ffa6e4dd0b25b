"""What Stable Diffusion XL is told of a picture's size: its micro-conditioning.

Podell et al., SDXL (arXiv 2307.01952), section 2.2: height and width of the original picture, top
and left of the part that is shown, height and width of that part, all in pixels: six numbers that
the UNet reads beside the pooled text. For a picture that is drawn, the original and the part are
the picture itself, as in diffusers' pipeline.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ADDED = "added_cond_kwargs"


def time_ids(original: tuple[int, int], corner: tuple[int, int], shown: tuple[int, int]) -> Tensor:
    """(6,) float32.

    Args:
        original: height and width of the picture before it was resized and cropped.
        corner: top and left of the part that is shown, once the picture is resized, and mirrored if
            it is.
        shown: height and width of that part.
    """
    return torch.tensor([*original, *corner, *shown], dtype=torch.float32)


def attach(network: Any, factor: int) -> None:
    """Let a UNet or ControlNet that is told a pooled text, and no sizes, take those of the picture
    whose latents it is shown.

    Args:
        factor: pixels along one side of a latent.
    """

    def fill(module: Any, given: tuple[Any, ...], more: dict[str, Any]) -> Any:
        added = more.get(_ADDED) or {}
        if "text_embeds" not in added or "time_ids" in added:
            return None
        latents = given[0] if given else more["sample"]
        size = latents.shape[-2] * factor, latents.shape[-1] * factor
        text = added["text_embeds"]
        ids = time_ids(size, (0, 0), size).to(text).expand(len(latents), -1)
        return given, {**more, _ADDED: {**added, "time_ids": ids}}

    network.register_forward_pre_hook(fill, with_kwargs=True)

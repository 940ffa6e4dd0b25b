"""Names that the layers of Stable Diffusion XL's UNet have in its original code.

Tools that do not use diffusers name a layer ``input_blocks.4.1.transformer_blocks.0.attn1.to_q``
where diffusers has ``down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q``: the blocks are
counted through, and each holds a convolution (0), a transformer (1), a resampling (the last).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_SINGLE = {
    "conv_in": "input_blocks.0.0", "conv_out": "out.2", "conv_norm_out": "out.0",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip
_PLACE = re.compile(
    r"(down_blocks|up_blocks)\.(\d+)\.(attentions|resnets|downsamplers|upsamplers)\.(\d+)\.(.+)"
)
_MIDDLE = re.compile(r"mid_block\.(attentions|resnets)\.(\d+)\.(.+)")


def is_xl(unet: Any) -> bool:
    """Whether a UNet of diffusers is told a pooled text and sizes."""
    return bool(unet.config.get("addition_embed_type") == "text_time")


def names(unet: Any, paths: Iterable[str]) -> dict[str, str]:
    """Path of a layer in diffusers -> its name in the original code, of those that have one.

    Args:
        unet: a UNet2DConditionModel whose blocks are equally deep.
    """
    depth = unet.config.layers_per_block
    if not isinstance(depth, int):
        return {}
    attends = ["CrossAttn" in kind for kind in unet.config.up_block_types]
    original = {path: _name(path, depth, attends) for path in paths}
    return {path: name for path, name in original.items() if name}


def _name(path: str, depth: int, attends: list[bool]) -> str:
    if path in _SINGLE:
        return _SINGLE[path]
    if match := _MIDDLE.fullmatch(path):
        part, number, rest = match.groups()
        at = 1 if part == "attentions" else 2 * int(number)
        return f"middle_block.{at}.{_inside(part, rest)}"
    match = _PLACE.fullmatch(path)
    if match is None:
        return ""
    side, block, part, number, rest = match.groups()
    if side == "down_blocks":
        first = 1 + int(block) * (depth + 1)
        if part == "downsamplers":
            return f"input_blocks.{first + depth}.0.op"
        return f"input_blocks.{first + int(number)}.{_place(part)}.{_inside(part, rest)}"
    first = int(block) * (depth + 1)
    if part == "upsamplers":
        return f"output_blocks.{first + depth}.{2 if attends[int(block)] else 1}.conv"
    return f"output_blocks.{first + int(number)}.{_place(part)}.{_inside(part, rest)}"


def _place(part: str) -> int:
    return 1 if part == "attentions" else 0


def _inside(part: str, rest: str) -> str:
    """The rest of a path: convolution blocks have other names inside."""
    return _RESNET.get(rest, rest) if part == "resnets" else rest

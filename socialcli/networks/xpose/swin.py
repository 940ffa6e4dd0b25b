"""Swin Transformer: four stages of attention inside shifted windows (Liu et al., ICCV 2021).

Own implementation with the parameter names of the original code. Unlike transformers' version, a
map smaller than a window is padded up to one, never given a smaller window.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 4  # pixels
FAR = -100.0  # logit between parts of a window that are no neighbours in the picture


class Swin(nn.Module):
    """A pyramid of feature maps.

    Args:
        width: channels of the first stage; each stage after it has twice as many.
        depths, heads: blocks of each stage, and their attention heads. window: side, in tokens.
        out: numbers of the stages whose maps are given.
    """

    def __init__(
        self, width: int, depths: Sequence[int], heads: Sequence[int], window: int,
        out: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__()
        self.patch_embed = nn.ModuleDict(
            {"proj": nn.Conv2d(3, width, PATCH, PATCH), "norm": nn.LayerNorm(width)}
        )
        self.out, self.widths = tuple(out), [width * 2**stage for stage in range(len(depths))]
        self.layers = nn.ModuleList(
            Stage(w, d, h, window, stage < len(depths) - 1)
            for stage, (w, d, h) in enumerate(zip(self.widths, depths, heads, strict=True))
        )
        for stage in self.out:
            self.add_module(f"norm{stage}", nn.LayerNorm(self.widths[stage]))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> maps (B, C, h, w) of the stages ``out``, the largest first."""
        high, wide = pictures.shape[-2:]
        pictures = F.pad(pictures, (0, -wide % PATCH, 0, -high % PATCH))
        x = self.patch_embed["proj"](pictures).permute(0, 2, 3, 1)
        x = self.patch_embed["norm"](x)  # (B, h, w, C) from here on
        maps = []
        for number, stage in enumerate(self.layers):
            seen, x = stage(x)
            if number in self.out:
                maps.append(self.get_submodule(f"norm{number}")(seen).permute(0, 3, 1, 2))
        return maps


class Stage(nn.Module):
    """Blocks whose windows are shifted by half a window in every second one."""

    def __init__(self, width: int, depth: int, heads: int, window: int, merged: bool) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(
            Block(width, heads, window, window // 2 if number % 2 else 0) for number in range(depth)
        )
        self.downsample = Merging(width) if merged else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, h, w, C) -> what the stage makes of it, and that in half the size for the next one
        (the last stage: the same)."""
        high, wide = (side + -side % self.window for side in x.shape[1:3])
        apart = strangers(high, wide, self.window, x.device).to(x.dtype)
        for block in self.blocks:
            x = block(x, apart)
        return x, x if self.downsample is None else self.downsample(x)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}
        )

    def forward(self, x: Tensor, apart: Tensor) -> Tensor:
        """(B, h, w, C) and `strangers` of the padded map -> (B, h, w, C)."""
        high, wide, side = x.shape[1], x.shape[2], self.window
        y = F.pad(self.norm1(x), (0, 0, 0, -wide % side, 0, -high % side))
        if self.shift:
            y = y.roll((-self.shift, -self.shift), (1, 2))
        y = whole(self.attn(windows(y, side), apart if self.shift else None), y.shape, side)
        if self.shift:
            y = y.roll((self.shift, self.shift), (1, 2))
        x = x + y[:, :high, :wide]
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class WindowAttention(nn.Module):
    """Attention among the tokens of a window, with a learnt bias for each distance."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        distances = (2 * window - 1) ** 2
        self.relative_position_bias_table = nn.Parameter(torch.zeros(distances, heads))
        self.register_buffer("relative_position_index", distance_numbers(window))
        self.relative_position_index: Tensor
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """(B, windows, tokens, C), and what is added to the logits of each window or None."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if apart is not None:
            bias = bias + apart[:, None]  # (windows, heads, tokens, tokens)
        mixed = F.scaled_dot_product_attention(
            query, key, value, bias.expand(*query.shape[:3], *bias.shape[-2:])
        )
        return self.proj(mixed.transpose(2, 3).flatten(3))


class Merging(nn.Module):
    """Four neighbours become one token of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, -1)))


def windows(x: Tensor, side: int) -> Tensor:
    """(B, h, w, C), multiples of ``side`` -> (B, windows, side side, C), row by row."""
    x = x.unflatten(1, (-1, side)).unflatten(3, (-1, side))
    return x.transpose(2, 3).flatten(1, 2).flatten(2, 3)


def whole(x: Tensor, shape: Sequence[int], side: int) -> Tensor:
    """The inverse of `windows`, for a map of this shape."""
    x = x.unflatten(1, (shape[1] // side, shape[2] // side)).unflatten(3, (side, side))
    return x.transpose(2, 3).flatten(1, 2).flatten(2, 3)


def distance_numbers(side: int) -> Tensor:
    """(tokens, tokens) int64: the number of the distance between two tokens of a window."""
    row, column = (v.flatten() for v in torch.meshgrid(*[torch.arange(side)] * 2, indexing="ij"))
    down = row[:, None] - row[None] + side - 1
    across = column[:, None] - column[None] + side - 1
    return down * (2 * side - 1) + across


def strangers(high: int, wide: int, side: int, device: torch.device) -> Tensor:
    """(windows, tokens, tokens) for shifted windows: 0 between tokens that are neighbours in the
    picture, `FAR` between those that the shift brought together."""

    def part(length: int) -> Tensor:
        at = torch.arange(length, device=device)
        return (at >= length - side).long() + (at >= length - side // 2).long()

    parts = part(high)[:, None] * 3 + part(wide)[None]
    own = windows(parts[None, :, :, None], side)[0, :, :, 0]
    return torch.zeros(()).to(device).where(own[:, :, None] == own[:, None], FAR)

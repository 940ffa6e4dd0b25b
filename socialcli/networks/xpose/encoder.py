"""X-Pose's encoder: the maps of a picture and the words of the classes tell each other what they
hold, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from socialcli.networks.xpose.deformable import DeformableAttention, Shapes

TEMPERATURE = 20  # of the position code of the maps


class Encoder(nn.Module):
    """Layers in lists named as the official checkpoints name them.

    Args:
        width: channels. depth: layers. levels, heads, points: of deformable attention.
        hidden: of a layer's feed-forward part; the words' have half of it. fusion: channels in
            which maps and words are compared.
    """

    def __init__(
        self, width: int, depth: int, levels: int, heads: int, points: int, hidden: int, fusion: int
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MapLayer(width, levels, heads, points, hidden) for _ in range(depth)
        )
        self.text_layers = nn.ModuleList(WordLayer(width, hidden // 2) for _ in range(depth))
        self.fusion_layers = nn.ModuleList(
            Fusion(width, fusion, max(1, heads // 2)) for _ in range(depth)
        )

    def forward(
        self, memory: Tensor, code: Tensor, shapes: Shapes, words: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Maps (B, S, C), their position code (1, S, C) and words (B, n, C), all changed."""
        centres = cell_centres(shapes, memory.device)[None].expand(len(memory), -1, -1)
        for fuse, read, layer in zip(
            self.fusion_layers, self.text_layers, self.layers, strict=True
        ):
            memory, words = fuse(memory, words)
            words = read(words)
            memory = layer(memory, code, centres, shapes)
        return memory, words


class MapLayer(nn.Module):
    """Deformable self-attention of the maps."""

    def __init__(self, width: int, levels: int, heads: int, points: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(width, levels, heads, points)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, code: Tensor, centres: Tensor, shapes: Shapes) -> Tensor:
        x = self.norm1(x + self.self_attn(x + code, centres, x, shapes))
        return self.norm2(x + self.linear2(self.linear1(x).relu()))


class WordLayer(nn.Module):
    """A transformer layer in which every word sees only itself, so that classes do not depend on
    which others are asked for: of its attention nothing remains but values and output."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, 1)  # holds the weights, see `forward`
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, words: Tensor) -> Tensor:
        width, own = words.shape[-1], dict(self.self_attn.named_parameters())
        of_values = (own[f"in_proj_{part}"][2 * width :] for part in ("weight", "bias"))
        words = self.norm1(words + self.self_attn.out_proj(F.linear(words, *of_values)))
        return self.norm2(words + self.linear2(self.linear1(words).relu()))


class Fusion(nn.Module):
    """Attention in both directions between maps and words, which share queries and keys. Results
    are added, scaled, to the normalised input and not to the input itself."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.layer_norm_v, self.layer_norm_l = nn.LayerNorm(width), nn.LayerNorm(width)
        inward = ("v_proj", "l_proj", "values_v_proj", "values_l_proj")
        outward = ("out_v_proj", "out_l_proj")
        self.attn = nn.ModuleDict(
            {name: nn.Linear(width, inner) for name in inward}
            | {name: nn.Linear(inner, width) for name in outward}
        )
        self.gamma_v, self.gamma_l = (nn.Parameter(torch.ones(width)) for _ in range(2))
        self.heads = heads

    def forward(self, maps: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        maps, words = self.layer_norm_v(maps), self.layer_norm_l(words)

        def split(name: str, x: Tensor) -> Tensor:
            return self.attn[name](x).unflatten(-1, (self.heads, -1)).transpose(1, 2)

        of_maps, of_words = split("v_proj", maps), split("l_proj", words)
        seen_words = F.scaled_dot_product_attention(
            of_maps, of_words, split("values_l_proj", words)
        )
        seen_maps = F.scaled_dot_product_attention(of_words, of_maps, split("values_v_proj", maps))
        maps = maps + self.gamma_v * self.attn["out_v_proj"](seen_words.transpose(1, 2).flatten(2))
        words = words + self.gamma_l * self.attn["out_l_proj"](seen_maps.transpose(1, 2).flatten(2))
        return maps, words


def cell_centres(shapes: Shapes, device: torch.device) -> Tensor:
    """(S, 2): x and y in [0, 1] of the middle of every cell, level by level, row by row."""
    centres = []
    for high, wide in shapes:
        y = (torch.arange(high, device=device) + 0.5) / high
        x = (torch.arange(wide, device=device) + 0.5) / wide
        centres.append(torch.stack([x.repeat(high), y.repeat_interleave(wide)], -1))
    return torch.cat(centres)


def position_code(high: int, wide: int, width: int, device: torch.device) -> Tensor:
    """(h w, C): sines and cosines of each cell's row, then of its column, counted from 1 and
    scaled so that the last one is 2 pi."""
    half = width // 2
    frequency = TEMPERATURE ** -(2 * (torch.arange(half, device=device) // 2) / half)
    codes = []
    for length in (high, wide):
        at = torch.arange(1, length + 1, device=device) / (length + 1e-6) * 2 * math.pi
        codes.append(waves(at[:, None] * frequency))
    down = codes[0].repeat_interleave(wide, 0)
    return torch.cat([down, codes[1].repeat(high, 1)], -1)


def waves(angles: Tensor) -> Tensor:
    """Sine of the even entries of the last dimension, cosine of the odd ones."""
    pairs = [angles[..., 0::2].sin(), angles[..., 1::2].cos()]
    return torch.stack(pairs, -1).flatten(-2)


def flatten(maps: Sequence[Tensor]) -> tuple[Tensor, Shapes]:
    """Maps (B, C, h, w) of all levels -> (B, S, C) and their (h, w)."""
    shapes = [(m.shape[2], m.shape[3]) for m in maps]
    return torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1), shapes

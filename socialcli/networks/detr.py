"""DETR, the detector of human-object interaction work, in the layout of its official checkpoints.

Own implementation (Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020) with
the parameter names of facebookresearch/detr: a ResNet with frozen batch normalisation, an encoder
and a decoder, and so many queries, each of which is one box and one class or nothing.

Pictures of one call have one size and no padding, so that what is found in a picture does not
depend on its company.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS = 8  # of attention; checkpoints do not say it
LEVELS = ("layer1", "layer2", "layer3", "layer4")


class Sizes(NamedTuple):
    """What differs between checkpoints: blocks and widths of the ResNet's levels, width of its
    stem, width of the transformer and of its inner layers, depths, queries, and classes with the
    one for nothing."""

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: int = 64
    hidden: int = 256
    inner: int = 2048
    encoder: int = 6
    decoder: int = 6
    queries: int = 100
    classes: int = 81


class FrozenNorm(nn.Module):
    """Batch normalisation with fixed statistics: a scale and a shift a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            self.register_buffer(name, torch.full((channels,), float(value)))

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = FrozenNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = FrozenNorm(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = FrozenNorm(4 * width)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), FrozenNorm(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """(B, 3, H, W) -> (B, 4 * last width, H / 32, W / 32)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, sizes.stem, 7, 2, 3, bias=False)
        self.bn1 = FrozenNorm(sizes.stem)
        inputs = sizes.stem
        for number, (count, width) in enumerate(zip(sizes.blocks, sizes.widths, strict=True)):
            blocks = []
            for block in range(count):
                blocks.append(Bottleneck(inputs, width, 2 if number and not block else 1))
                inputs = 4 * width
            self.add_module(LEVELS[number], nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for level in LEVELS:
            x = getattr(self, level)(x)
        return x


class EncoderLayer(nn.Module):
    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(hidden, HEADS)
        self.linear1, self.linear2 = nn.Linear(hidden, inner), nn.Linear(inner, hidden)
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """(L, B, hidden) cells and their places."""
        at = x + places
        x = self.norm1(x + self.self_attn(at, at, x, need_weights=False)[0])
        return self.norm2(x + self.linear2(torch.relu(self.linear1(x))))


class DecoderLayer(nn.Module):
    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(hidden, HEADS)
        self.multihead_attn = nn.MultiheadAttention(hidden, HEADS)
        self.linear1, self.linear2 = nn.Linear(hidden, inner), nn.Linear(inner, hidden)
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.norm3 = nn.LayerNorm(hidden)

    def forward(self, x: Tensor, queries: Tensor, cells: Tensor, places: Tensor) -> Tensor:
        """(Q, B, hidden) and the queries they stand for; (L, B, hidden) cells and places."""
        at = x + queries
        x = self.norm1(x + self.self_attn(at, at, x, need_weights=False)[0])
        seen = self.multihead_attn(x + queries, cells + places, cells, need_weights=False)[0]
        x = self.norm2(x + seen)
        return self.norm3(x + self.linear2(torch.relu(self.linear1(x))))


class Stack(nn.Module):
    """Layers, and a normalisation after the last where there is one."""

    def __init__(self, layers: list[nn.Module], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            x = layer(x) if number == len(self.layers) - 1 else torch.relu(layer(x))
        return x


class DETR(nn.Module):
    """The detector; its parameters are named as in the official checkpoints."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        hidden, inner = sizes.hidden, sizes.inner
        body = nn.ModuleDict({"body": ResNet(sizes)})
        self.backbone = nn.ModuleList([body])
        self.input_proj = nn.Conv2d(4 * sizes.widths[-1], hidden, 1)
        encoder = Stack([EncoderLayer(hidden, inner) for _ in range(sizes.encoder)])
        layers: list[nn.Module] = [DecoderLayer(hidden, inner) for _ in range(sizes.decoder)]
        decoder = Stack(layers, nn.LayerNorm(hidden))
        self.transformer = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
        self.query_embed = nn.Embedding(sizes.queries, hidden)
        self.class_embed = nn.Linear(hidden, sizes.classes)
        self.bbox_embed = MLP(hidden, hidden, hidden, 4)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Args:
            pictures: (B, 3, H, W), normalised with ImageNet's mean and deviation.

        Returns:
            Class logits (B, Q, classes), the last for nothing; boxes (B, Q, 4), normalised xyxy,
            which may reach a little beyond the picture.
        """
        features = self.input_proj(self.backbone[0]["body"](pictures))  # type: ignore[index]
        count, hidden, height, width = features.shape
        cells = features.flatten(2).permute(2, 0, 1)
        places = positions(hidden, height, width).to(cells).flatten(1).T[:, None]
        encoder, decoder = self.transformer["encoder"], self.transformer["decoder"]
        for layer in encoder.layers:  # type: ignore[union-attr]
            cells = layer(cells, places)
        queries = self.query_embed.weight[:, None].expand(-1, count, -1)
        x = torch.zeros_like(queries)
        for layer in decoder.layers:  # type: ignore[union-attr]
            x = layer(x, queries, cells, places)
        x = decoder.norm(x).transpose(0, 1)  # type: ignore[operator]
        middle, size = self.bbox_embed(x).sigmoid().split(2, -1)
        return self.class_embed(x), torch.cat([middle - size / 2, middle + size / 2], -1)


def positions(hidden: int, height: int, width: int) -> Tensor:
    """Fixed position code (hidden, height, width): the first half of the channels runs down the
    rows, the second along the columns; sines and cosines in turn, over a full circle."""
    half = hidden // 2
    frequency = 10000.0 ** -(2 * (torch.arange(half) // 2) / half)

    def code(length: int) -> Tensor:
        steps = torch.arange(1, length + 1, dtype=torch.float32) / (length + 1e-6) * 2 * math.pi
        angle = steps[:, None] * frequency
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], 2).flatten(1).T

    down = code(height)[:, :, None].expand(-1, -1, width)
    across = code(width)[:, None, :].expand(-1, height, -1)
    return torch.cat([down, across])


def infer(state: Mapping[str, Tensor], prefix: str = "") -> Sizes:
    """The sizes of a checkpoint's detector.

    Raises:
        KeyError: these are no DETR's weights.
    """
    body = f"{prefix}backbone.0.body."

    def count(pattern: str) -> int:
        matches = (re.match(re.escape(prefix) + pattern, name) for name in state)
        return 1 + max((int(match[1]) for match in matches if match), default=-1)

    first = state[f"{prefix}transformer.encoder.layers.0.linear1.weight"]
    return Sizes(
        tuple(count(rf"backbone\.0\.body\.{level}\.(\d+)\.") for level in LEVELS),
        tuple(len(state[f"{body}{level}.0.conv1.weight"]) for level in LEVELS),
        len(state[f"{body}conv1.weight"]), first.shape[1], first.shape[0],
        count(r"transformer\.encoder\.layers\.(\d+)\."),
        count(r"transformer\.decoder\.layers\.(\d+)\."),
        len(state[f"{prefix}query_embed.weight"]), len(state[f"{prefix}class_embed.weight"]),
    )  # fmt: skip

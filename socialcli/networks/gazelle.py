"""Gaze-LLE: where the people of a picture look, from a frozen DINOv2 and a small decoder.

Own implementation (Ryan et al., "Gaze-LLE: Gaze Target Estimation via Large-Scale Learned
Encoders", CVPR 2025), with the parameter names of the official checkpoints, which hold the decoder
only. DINOv2 comes from its own checkpoint, in the form that transformers reads.

A person is a token that is added to the picture's features where the head is, and everything else
is read from the picture: no crop of a head, and no gaze vector. The vector given here points from
the head's centre to the target.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from socialcli.errors import UsageError
from socialcli.networks import weights

SIZE = 448  # side of the picture that the network takes
HEATMAP = 64
HEADS = 8  # of attention; the checkpoints do not say it
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
OFFSET = 0.1  # of DINOv2's resized position code, see `resized_positions`


class Prediction(NamedTuple):
    """heatmap (B, N, 64, 64) in [0, 1]; inside (B, N), the probability that the target lies in the
    picture, None where the checkpoint was not trained to say it."""

    heatmap: Tensor
    inside: Tensor | None


class Attention(nn.Module):
    def __init__(self, token: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(token, 3 * token, bias=False)
        self.proj = nn.Linear(token, token)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, token: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(token)
        self.attn = Attention(token, heads)
        self.norm2 = nn.LayerNorm(token)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(token, 4 * token), "fc2": nn.Linear(4 * token, token)}
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class GazeLLE(nn.Module):
    """The decoder.

    Args:
        features: width of the backbone. side: of its map of patches. inside: whether it also says
            that the target lies in the picture.
    """

    def __init__(
        self, features: int = 768, side: int = 32, token: int = 256, depth: int = 3,
        inside: bool = False, heads: int = HEADS,
    ) -> None:  # fmt: skip
        super().__init__()
        self.side = side
        self.linear = nn.Conv2d(features, token, 1)
        self.head_token = nn.Embedding(1, token)
        self.pos_embed: Tensor
        self.register_buffer("pos_embed", positions(token, side))
        self.inout_token = nn.Embedding(1, token) if inside else None
        self.transformer = nn.Sequential(*(Block(token, heads) for _ in range(depth)))
        self.heatmap_head = nn.Sequential(
            nn.ConvTranspose2d(token, token, 2, 2), nn.Conv2d(token, 1, 1, bias=False), nn.Sigmoid()
        )
        self.inout_head = None
        if inside:
            self.inout_head = nn.Sequential(
                nn.Linear(token, 128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 1), nn.Sigmoid()
            )

    def forward(self, features: Tensor, heads: Tensor) -> Prediction:
        """(B, C, side, side) features and (B, N, 4) normalised head boxes -> `Prediction`."""
        people = heads.shape[1]
        x = (self.linear(features) + self.pos_embed)[:, None]
        x = x + head_maps(heads, self.side)[:, :, None] * self.head_token.weight[0, :, None, None]
        tokens = x.flatten(0, 1).flatten(2).transpose(1, 2)  # (B N, side side, token)
        if self.inout_token is not None:
            first = self.inout_token.weight.expand(len(tokens), 1, -1)
            tokens = torch.cat([first, tokens], 1)
        tokens = self.transformer(tokens)
        inside = None
        if self.inout_head is not None:
            inside = self.inout_head(tokens[:, 0])[:, 0].unflatten(0, (-1, people))
            tokens = tokens[:, 1:]
        maps = self.heatmap_head(tokens.transpose(1, 2).unflatten(2, (self.side, self.side)))
        if maps.shape[-1] != HEATMAP:
            maps = F.interpolate(maps, (HEATMAP, HEATMAP), mode="bilinear", antialias=True)
        return Prediction(maps[:, 0].unflatten(0, (-1, people)), inside)


class Network(nn.Module):
    """Backbone and decoder: pictures and heads in, heat maps out."""

    def __init__(self, backbone: nn.Module, decoder: GazeLLE) -> None:
        super().__init__()
        self.backbone, self.decoder = backbone, decoder

    def forward(self, pictures: Tensor, heads: Tensor) -> Prediction:
        """(B, 3, size, size) pictures as `prepare` makes them, (B, N, 4) normalised head boxes."""
        tokens = self.backbone(pixel_values=pictures).last_hidden_state[:, 1:]
        side = self.decoder.side
        return self.decoder(tokens.transpose(1, 2).unflatten(2, (side, side)), heads)


def prepare(rgb: Tensor, network: Network) -> Tensor:
    """RGB (B, 3, H, W) in [0, 1] -> the network's square, squashed; differentiable."""
    patch = int(network.backbone.config.patch_size)  # type: ignore[union-attr, arg-type]
    size = network.decoder.side * patch
    mean, std = (rgb.new_tensor(v)[:, None, None] for v in (MEAN, STD))
    return F.interpolate((rgb - mean) / std, (size, size), mode="bilinear", antialias=True)


def positions(token: int, side: int) -> Tensor:
    """Fixed position code (token, side, side): sines and cosines in turn, the first half of the
    channels along the columns, the second down the rows."""
    frequency = 10000.0 ** -(torch.arange(0, token // 2, 2) / (token // 2))
    angle = torch.arange(side)[:, None] * frequency  # (side, token / 4)
    code = torch.stack([angle.sin(), angle.cos()], -1).flatten(1).T  # (token / 2, side)
    along = code[:, None, :].expand(-1, side, -1)
    down = code[:, :, None].expand(-1, -1, side)
    return torch.cat([along, down]).contiguous()


def head_maps(heads: Tensor, side: int) -> Tensor:
    """(B, N, 4) normalised xyxy -> (B, N, side, side), 1 in the cells of each head, else 0.

    Edges are rounded to whole cells, halves to the even one; a head that is smaller than half a
    cell covers none, and the network then sees nobody.
    """
    left, top, right, bottom = (heads * side).round().unbind(-1)
    cells = torch.arange(side, device=heads.device)
    across = (cells >= left[..., None]) & (cells < right[..., None])
    down = (cells >= top[..., None]) & (cells < bottom[..., None])
    return (down[..., :, None] & across[..., None, :]).to(heads.dtype)


def join(decoder: GazeLLE, backbone: Any, path: str | Path) -> Network:
    """Decoder and DINOv2 as one network in eval mode.

    Args:
        backbone: a `Dinov2Model` of transformers, of the width that the decoder was trained on.
        path: the decoder's file, for messages.

    Raises:
        UsageError: the decoder was trained on another DINOv2.
    """
    width, wanted = int(backbone.config.hidden_size), decoder.linear.in_channels
    if width != wanted:
        raise UsageError(
            f"{path}: trained on features {wanted} wide, this DINOv2's are {width}; "
            "gazelle_dinov2_vitb14 goes with dinov2-base, gazelle_dinov2_vitl14 with dinov2-large"
        )
    resize_positions(backbone, decoder.side)
    return Network(backbone, decoder).eval()


def load_decoder(path: str | Path) -> GazeLLE:
    """The decoder of an official file (``gazelle_dinov2_vitb14.pt`` or a sibling); what it may hold
    of the backbone is left out.

    Raises:
        ModelMissing: there is no such file. UsageError: it is no Gaze-LLE.
    """
    state = {
        name: value
        for name, value in weights.read(path, "Gaze-LLE").items()
        if not name.startswith("backbone.")
    }
    with torch.device("meta"):
        decoder = infer(state, path)
    weights.fill(decoder, state, path, "Gaze-LLE")
    return decoder


def infer(state: Mapping[str, Tensor], path: str | Path) -> GazeLLE:
    """An empty decoder of the sizes that these weights have (UsageError where they are others')."""
    try:
        token, features = state["linear.weight"].shape[:2]
        side = state["pos_embed"].shape[-1]
    except (KeyError, ValueError):
        raise UsageError(f"{path}: not a Gaze-LLE checkpoint (linear.weight, pos_embed)") from None
    numbers = [re.match(r"transformer\.(\d+)\.", name) for name in state]
    depth = 1 + max((int(n[1]) for n in numbers if n), default=-1)
    return GazeLLE(features, side, token, depth, "inout_token.weight" in state)


def resize_positions(backbone: Any, side: int) -> None:
    """Give a DINOv2 the position code for ``side`` x ``side`` patches, as its own code resizes it.

    Its 37 x 37 positions are resized with the factor (side + 0.1) / 37, so that the grid is read
    at slightly other places than where transformers reads it for the same size.
    """
    embeddings = backbone.embeddings
    positions = embeddings.position_embeddings
    before = round((positions.shape[1] - 1) ** 0.5)
    if before == side:
        return  # transformers then leaves it alone, too
    grid = positions[:, 1:].detach().float().unflatten(1, (before, before)).permute(0, 3, 1, 2)
    factor = (side + OFFSET) / before
    grid = F.interpolate(grid, scale_factor=(factor, factor), mode="bicubic")
    resized = torch.cat([positions[:, :1].detach().float(), grid.flatten(2).transpose(1, 2)], 1)
    embeddings.position_embeddings = nn.Parameter(
        resized.to(positions.dtype), requires_grad=positions.requires_grad
    )

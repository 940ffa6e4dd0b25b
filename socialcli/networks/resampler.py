"""A perceiver that reads a picture's tokens with a few queries, under the names of published files.

    latents = latents + attention(latents; x and latents);   latents = latents + ff(latents)

Alayrac et al., Flamingo (arXiv 2204.14198), as IP-Adapter's relatives use it: one projection for
keys and values, norms before, no biases.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDER = 4  # the feed-forward's inner width, of the outer one


class Attention(nn.Module):
    """(B, N, D) latents attend to (B, M, D) tokens and to themselves."""

    def __init__(self, width: int, head: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q = nn.Linear(width, head * heads, bias=False)
        self.to_kv = nn.Linear(width, 2 * head * heads, bias=False)
        self.to_out = nn.Linear(head * heads, width, bias=False)

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        latents = self.norm2(latents)
        keys, values = self.to_kv(torch.cat([self.norm1(tokens), latents], dim=1)).chunk(2, -1)

        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        read = functional.scaled_dot_product_attention(
            split(self.to_q(latents)), split(keys), split(values)
        )
        joined: Tensor = self.to_out(read.transpose(1, 2).flatten(2))
        return joined


class Perceiver(nn.Module):
    """(B, N, D) latents and (B, M, given) tokens -> (B, N, out).

    Args:
        width: D. given: channels of the tokens. head, heads: of the attention. depth: layers.
    """

    def __init__(self, width: int, given: int, out: int, head: int, heads: int, depth: int) -> None:
        super().__init__()
        self.proj_in, self.proj_out = nn.Linear(given, width), nn.Linear(width, out)
        self.norm_out = nn.LayerNorm(out)
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(width, head, heads), _feed_forward(width)])
            for _ in range(depth)
        )

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        tokens = self.proj_in(tokens)
        layers: Any = self.layers
        for attention, feed_forward in layers:
            latents = latents + attention(latents, tokens)
            latents = latents + feed_forward(latents)
        read: Tensor = self.norm_out(self.proj_out(latents))
        return read


def _feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, WIDER * width, bias=False), nn.GELU(),
        nn.Linear(WIDER * width, width, bias=False),
    )  # fmt: skip

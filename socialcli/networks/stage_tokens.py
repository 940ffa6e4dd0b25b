"""One vector into one vector a stage: ProSpect's block of two self-attentions and a feed-forward.

    x = x + attn1(norm1 x);   x = x + attn2(norm2 x);   stages = ff(norm3 x)

The names of its weights are those of ProSpect's files (zyxElsa/ProSpect: heads of 64 channels, an
inner width of four times the outer one, gated by GELU, no residual around the feed-forward, which
changes the width). Identity Embedding (arXiv 2402.00631, section III-C, Fig. 5) has the same with
"two self-attention layers with one feed-forward layer". With the one vector that both papers give
it an attention looks at that vector alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

HEADS, HEAD_WIDTH, DROPOUT, WIDER = 8, 64, 0.1, 4


class Attention(nn.Module):
    """Attention of (B, L, D) tokens to themselves, or to others."""

    def __init__(self, width: int, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * head_width
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.Linear(width, inner, bias=False)
        self.to_v = nn.Linear(width, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(dropout))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        seen = x if context is None else context

        def split(y: Tensor) -> Tensor:
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = split(self.to_q(x)), split(self.to_k(seen)), split(self.to_v(seen))
        read = functional.scaled_dot_product_attention(q, k, v)
        joined: Tensor = self.to_out(read.transpose(1, 2).flatten(2))
        return joined


class Gated(nn.Module):
    """GELU of one half of a projection times the other half."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * functional.gelu(gate)


class FeedForward(nn.Module):
    """(B, L, D) -> (B, L, out)."""

    def __init__(self, width: int, out: int, dropout: float) -> None:
        super().__init__()
        inner = WIDER * width
        self.net = nn.Sequential(Gated(width, inner), nn.Dropout(dropout), nn.Linear(inner, out))

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.net(x)
        return projected


class StageTokens(nn.Module):
    """A (D,) vector -> (count, D) vectors.

    Args:
        width: D, of the text encoder's token embeddings. count: how many vectors come out.
    """

    def __init__(
        self,
        width: int,
        count: int,
        heads: int = HEADS,
        head_width: int = HEAD_WIDTH,
        dropout: float = DROPOUT,
    ) -> None:
        super().__init__()
        self.width, self.count = width, count
        self.attn1 = Attention(width, heads, head_width, dropout)
        self.ff = FeedForward(width, count * width, dropout)
        self.attn2 = Attention(width, heads, head_width, dropout)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def start_from(self, vector: Tensor) -> None:
        """Let every vector that comes out be this (D,) one, whatever goes in: the last layer's
        weights become 0, its bias the vector."""
        last: Any = self.ff.net[2]
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(vector.repeat(self.count))

    def forward(self, vector: Tensor, context: Tensor | None = None) -> Tensor:
        """(D,) -> (count, D).

        Args:
            context: (D,) that the second attention reads in place of what comes before it; in
                ProSpect's code the vector itself.
        """
        x = vector[None, None]
        read = None if context is None else context[None, None]
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), read)
        vectors: Tensor = self.ff(self.norm3(x))
        return vectors.unflatten(-1, (self.count, self.width))[0, 0]


class SideBySide(nn.Module):
    """`StageTokens` for the vectors of several text encoders, which lie side by side.

    Args:
        widths: of the encoders' vectors, D in all. count: how many vectors come out.
    """

    def __init__(self, widths: Sequence[int], count: int, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.widths = list(widths)
        self.blocks = nn.ModuleList(StageTokens(w, count, dropout=dropout) for w in widths)

    def start_from(self, vector: Tensor) -> None:
        """See `StageTokens.start_from`."""
        for block, own in zip(self.blocks, vector.split(self.widths), strict=True):
            block.start_from(own)  # type: ignore[operator]

    def forward(self, vector: Tensor) -> Tensor:
        """(D,) -> (count, D)."""
        parts = vector.split(self.widths)
        sides = [block(own) for block, own in zip(self.blocks, parts, strict=True)]
        return torch.cat(sides, dim=-1)

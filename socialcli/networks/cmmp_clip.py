"""CMMP's CLIP: OpenAI's layout, adapters in the picture's tower, learned words in the texts.

Own implementation (Lei et al., "Exploring Conditional Multi-Modal Prompts for Zero-shot HOI
Detection", ECCV 2024) with the parameter names of the official checkpoints. The tower returns a
map of features in the space of the texts. Before the attention of each block an adapter adds what
it reads from priors: one vector for each person and thing that a detector found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

HEAD = 64  # channels of one head of CLIP's attention
ADAPTER_HEADS = 2
START, END = 49406, 49407  # CLIP's tokens around a text

Priors = tuple[Tensor, Tensor]  # (B, L, width), and (B, L) bool: True where there is none


class TowerSizes(NamedTuple):
    width: int
    depth: int
    patch: int
    grid: int  # patches along a side
    output: int
    bottleneck: int  # width of the priors
    layers: tuple[int, ...]  # cross-attention layers in each block's adapter; 0: no adapter


class TextSizes(NamedTuple):
    width: int
    depth: int
    words: int
    length: int
    output: int


class CrossAttention(nn.Module):
    """A transformer's decoder layer without its self-attention (whose normalisation is there, and
    unused, in the checkpoints)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(width, ADAPTER_HEADS)
        self.linear1, self.linear2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, x: Tensor, priors: Tensor, without: Tensor) -> Tensor:
        seen = self.multihead_attn(
            x, priors, priors, key_padding_mask=without, need_weights=False
        )[0]  # fmt: skip
        x = self.norm2(x + seen)
        return self.norm3(x + self.linear2(torch.relu(self.linear1(x))))


class Adapter(nn.Module):
    def __init__(self, width: int, bottleneck: int, layers: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), 1e-9))
        self.down_proj, self.up_proj = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        self.mhsa_layers = nn.ModuleList(CrossAttention(bottleneck) for _ in range(layers))

    def forward(self, x: Tensor, priors: Priors) -> Tensor:
        """(L, B, width) tokens -> what is added to them."""
        below = torch.relu(self.down_proj(x))
        content, without = priors[0].transpose(0, 1), priors[1]
        for layer in self.mhsa_layers:
            below = layer(below, content, without)
        return self.up_proj(below) * self.scale


class Block(nn.Module):
    """A block of CLIP's transformers; ``layers`` of its adapter, 0 for none."""

    def __init__(self, width: int, bottleneck: int = 0, layers: int = 0) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // HEAD)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)}
        )
        self.adaptermlp = Adapter(width, bottleneck, layers) if layers else None

    def forward(self, x: Tensor, priors: Priors | None, mask: Tensor | None) -> Tensor:
        if self.adaptermlp is not None and priors is not None:
            x = x + self.adaptermlp(x, priors)
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        y = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](y * torch.sigmoid(1.702 * y))


class Blocks(nn.Module):
    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(blocks)

    def forward(
        self, x: Tensor, priors: Priors | None = None, mask: Tensor | None = None
    ) -> Tensor:
        for block in self.resblocks:
            x = block(x, priors, mask)
        return x


class Tower(nn.Module):
    """CLIP's vision transformer, which returns every patch in the space of the texts."""

    def __init__(self, sizes: TowerSizes) -> None:
        super().__init__()
        self.sizes, width = sizes, sizes.width
        self.conv1 = nn.Conv2d(3, width, sizes.patch, sizes.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(sizes.grid**2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Blocks([Block(width, sizes.bottleneck, n) for n in sizes.layers])
        self.proj = nn.Parameter(torch.zeros(width, sizes.output))

    def forward(self, pictures: Tensor, priors: Priors | None) -> Tensor:
        """(B, 3, side, side) normalised pictures -> (B, output, grid, grid)."""
        x = self.conv1(pictures).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(x), 1, -1)
        x = self.ln_pre(torch.cat([first, x], 1) + self.positional_embedding)
        x = self.transformer(x.transpose(0, 1), priors).transpose(0, 1)
        x = self.ln_post(x[:, 1:]) @ self.proj
        return x.transpose(1, 2).unflatten(2, (self.sizes.grid, self.sizes.grid))

    @property
    def side(self) -> int:
        """Of the picture it takes, in pixels."""
        return self.sizes.patch * self.sizes.grid


class TextTower(nn.Module):
    """CLIP's text transformer."""

    def __init__(self, sizes: TextSizes) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(sizes.words, sizes.width)
        self.positional_embedding = nn.Parameter(torch.zeros(sizes.length, sizes.width))
        self.transformer = Blocks([Block(sizes.width) for _ in range(sizes.depth)])
        self.ln_final = nn.LayerNorm(sizes.width)
        self.text_projection = nn.Parameter(torch.zeros(sizes.width, sizes.output))

    def forward(self, embedded: Tensor, ends: Tensor) -> Tensor:
        """(N, L, width) embedded tokens and (N,) where each text ends -> (N, output), not
        normalised. What follows a text's end changes nothing, and is not computed."""
        length = int(ends.max()) + 1
        x = embedded[:, :length] + self.positional_embedding[:length]
        mask = torch.full((length, length), float("-inf"), device=x.device, dtype=x.dtype).triu(1)
        x = self.transformer(x.transpose(0, 1), mask=mask).transpose(0, 1)
        x = self.ln_final(x)
        return x[torch.arange(len(x), device=x.device), ends] @ self.text_projection

    def texts(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """(N, output) of texts given by their tokens, without the two around them."""
        device = self.positional_embedding.device
        rows = [torch.tensor([START, *ids, END], device=device) for ids in tokens]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        ends = torch.tensor([len(row) - 1 for row in rows], device=device)
        return self(self.token_embedding(padded), ends)


class Prompts(nn.Module):
    """The sentences of the verbs: a start, learned words, and the embedded rest."""

    token_prefix: Tensor
    token_suffix: Tensor

    def __init__(self, ctx: Sequence[int], prefix: Sequence[int], suffix: Sequence[int]) -> None:
        """Shapes of what a checkpoint holds."""
        super().__init__()
        self.ctx = nn.Parameter(torch.zeros(*ctx))
        self.register_buffer("token_prefix", torch.zeros(*prefix))
        self.register_buffer("token_suffix", torch.zeros(*suffix))

    def forward(self) -> Tensor:
        """(verbs, L, width)."""
        ctx = self.ctx if self.ctx.ndim == 3 else self.ctx.expand(len(self.token_prefix), -1, -1)
        return torch.cat([self.token_prefix, ctx, self.token_suffix], 1)


class Clip(nn.Module):
    """Both towers and the verbs' sentences: ``clip_head`` of the checkpoints."""

    def __init__(self, vision: TowerSizes, text: TextSizes, prompts: Prompts) -> None:
        super().__init__()
        self.prompt_learner = prompts
        self.image_encoder = Tower(vision)
        self.text_encoder = TextTower(text)
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def verbs(self) -> Tensor:
        """(verbs, output): the sentences of the verbs. Where each ends is seen by the embedding of
        the token that ends a text."""
        prompts = self.prompt_learner()
        end = self.text_encoder.token_embedding.weight[END]
        return self.text_encoder(prompts, (prompts == end).all(-1).int().argmax(1))


def infer(state: Mapping[str, Tensor], prefix: str) -> tuple[TowerSizes, TextSizes]:
    """Sizes of both towers of a checkpoint.

    Raises:
        KeyError: these are not such weights.
    """
    vision, text = f"{prefix}image_encoder.", f"{prefix}text_encoder."
    conv, places = state[f"{vision}conv1.weight"], state[f"{vision}positional_embedding"]
    depth = _depth(state, vision)
    adapter = f"{vision}transformer.resblocks.{{}}.adaptermlp."
    layers = tuple(
        len({m[1] for name in state if (m := re.match(_adapters(adapter, block), name))})
        for block in range(depth)
    )
    first = next((n for n, count in enumerate(layers) if count), 0)
    tower = TowerSizes(
        conv.shape[0], depth, conv.shape[-1], round((len(places) - 1) ** 0.5),
        state[f"{vision}proj"].shape[1],
        len(state[adapter.format(first) + "down_proj.weight"]), layers,
    )  # fmt: skip
    table = state[f"{text}token_embedding.weight"]
    return tower, TextSizes(
        table.shape[1], _depth(state, text), len(table),
        len(state[f"{text}positional_embedding"]), state[f"{text}text_projection"].shape[1],
    )  # fmt: skip


def _depth(state: Mapping[str, Tensor], prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"transformer\.resblocks\.(\d+)\.")
    return 1 + max((int(m[1]) for name in state if (m := pattern.match(name))), default=-1)


def _adapters(adapter: str, block: int) -> str:
    return re.escape(adapter.format(block)) + r"mhsa_layers\.(\d+)\."

"""FastComposer's own networks (arXiv 2305.10431): pictures of subjects fused into the text states.

Names are those of the authors' checkpoint, which holds a whole model in one state dict: ``unet.``,
``vae.``, ``text_encoder.``, ``image_encoder.`` (CLIP's vision tower with its projection) and
``postfuse_module.``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

FILE = "fastcomposer.safetensors"  # beside a model in diffusers' layout: what that has no place for
PARTS = ("unet", "vae", "text_encoder", "image_encoder", "postfuse_module")
OWN = ("image_encoder", "postfuse_module")
HEAD = 64  # channels of a head of any CLIP vision tower
# CLIP's, of its published towers.
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# The autoencoder's attention as diffusers called it when the checkpoint was written.
_OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


class Mlp(nn.Module):
    """Normalisation, two linear layers with GELU between them, and perhaps a way around."""

    def __init__(self, inner: int, outer: int, residual: bool) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(inner)
        self.fc1, self.fc2 = nn.Linear(inner, outer), nn.Linear(outer, outer)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.fc2(functional.gelu(self.fc1(self.layernorm(x))))
        return x + fused if self.residual else fused


class Postfuse(nn.Module):
    """Puts what CLIP sees of a subject into the text's state at the word that names it.

    Args:
        width: of a text state and of a picture's embedding.
    """

    def __init__(self, width: int = 768) -> None:
        super().__init__()
        self.mlp1 = Mlp(2 * width, width, residual=False)
        self.mlp2 = Mlp(width, width, residual=True)
        self.layer_norm = nn.LayerNorm(width)

    def fuse(self, words: Tensor, pictures: Tensor) -> Tensor:
        """(..., D) of the states of words and the embeddings of their subjects."""
        joined = self.mlp1(torch.cat([words, pictures], dim=-1)) + words
        fused: Tensor = self.layer_norm(self.mlp2(joined))
        return fused

    def forward(self, states: Tensor, pictures: Tensor, columns: Tensor) -> Tensor:
        """(B, L, D): text states, fused at some places.

        Args:
            states: (B, L, D). pictures: (B, K, D) embeddings of subjects.
            columns: (B, K) long, the place of each subject's word among the L; -1: no subject.
        """
        row, subject = (columns >= 0).nonzero(as_tuple=True)
        if not len(row):
            return states
        at = columns[row, subject]
        fused = self.fuse(states[row, at], pictures[row, subject].to(states.dtype))
        return states.index_put((row, at), fused)


def split(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each of `PARTS`, as far as they are there."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        part, _, rest = name.removeprefix("module.").partition(".")
        if part in PARTS and not rest.endswith("position_ids"):  # counted, not learnt
            parts.setdefault(part, {})[_renamed(rest) if part == "vae" else rest] = tensor
    return parts


def _renamed(name: str) -> str:
    """A tensor of the autoencoder as diffusers calls it now."""
    stem, _, ending = name.rpartition(".")
    head, _, layer = stem.rpartition(".")
    return f"{head}.{_OLD[layer]}.{ending}" if layer in _OLD else name


def vision_tower(state: Mapping[str, Tensor]) -> Any:
    """An empty CLIP vision tower with projection, of the shapes of a state dict.

    Raises:
        KeyError: it is none.
    """
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    patches = state["vision_model.embeddings.patch_embedding.weight"]
    positions = state["vision_model.embeddings.position_embedding.weight"]
    inner = state["vision_model.encoder.layers.0.mlp.fc1.weight"]
    layers = {name.split(".")[3] for name in state if ".encoder.layers." in name}
    side = round((len(positions) - 1) ** 0.5) * patches.shape[-1]
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=len(patches), intermediate_size=len(inner), num_hidden_layers=len(layers),
            num_attention_heads=max(1, len(patches) // HEAD), image_size=side,
            patch_size=patches.shape[-1], projection_dim=len(state["visual_projection.weight"]),
        )
    )  # fmt: skip


def square(pixels: Tensor, side: int) -> Tensor:
    """(3, side, side) in [0, 1] of a picture (3, H, W) of 0 to 255: black on both of its shorter
    sides, then resized, in whole levels as the authors' transforms make them."""
    _, height, width = pixels.shape
    across, down = max(0, (height - width) // 2), max(0, (width - height) // 2)
    padded = functional.pad(pixels.float(), (across, across, down, down))
    small = functional.interpolate(padded[None], (side, side), mode="bilinear", antialias=True)[0]
    return small.round().clamp(0, 255) / 255


def normalised(pixels: Tensor) -> Tensor:
    """(B, 3, S, S) in [0, 1] as CLIP's vision tower takes pictures."""
    mean, deviation = (
        torch.tensor(values).to(pixels)[:, None, None] for values in (MEAN, DEVIATION)
    )
    return (pixels - mean) / deviation

"""Other vectors for each cross-attention layer (P+, Voynov et al., arXiv 2303.09522)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from socialcli.diffusion.words import Word, WordKind


class PPlusWord(Word):
    """(layers, N, D) vectors, N for each layer."""

    kind = "p-plus"

    def __init__(self, token: str, vectors: Tensor) -> None:
        super().__init__(token, *vectors.shape[1:])
        self.layers = nn.Parameter(vectors.detach().float().clone())

    def address(self, timestep: float, layer: int, part: str, note: Hashable = None) -> Hashable:
        return layer

    def vectors(self, addresses: Sequence[Any]) -> Tensor:
        return self.layers[torch.tensor(list(addresses), device=self.layers.device)]

    def misfit(self, layers: int) -> str:
        if len(self.layers) == layers:
            return ""
        return (
            f"vectors for {len(self.layers)} cross-attention layers, this model's UNet has {layers}"
        )


class PPlusKind(WordKind):
    """See `WordKind`."""

    def build(self, token: str, settings: dict[str, Any], tensors: dict[str, Tensor]) -> PPlusWord:
        (vectors,) = tensors.values()
        if vectors.ndim != 3:
            raise ValueError(f"vectors {tuple(vectors.shape)}, not (layers, N, width)")
        return PPlusWord(token, vectors)

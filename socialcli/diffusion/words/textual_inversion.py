"""The same vectors at every timestep and in every layer (Gal et al., arXiv 2208.01618)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from socialcli.diffusion.words import Word, WordKind


class TextualInversionWord(Word):
    """One or more vectors, (N, D)."""

    kind = "textual-inversion"
    CONSTANT: ClassVar[bool] = True

    def __init__(self, token: str, vectors: Tensor) -> None:
        super().__init__(token, *vectors.shape)
        self.new = nn.Parameter(vectors.detach().float().clone())

    def vectors(self, addresses: Sequence[Any]) -> Tensor:
        return self.new.expand(len(addresses), -1, -1)


class TextualInversionKind(WordKind):
    """See `WordKind`."""

    def build(
        self, token: str, settings: dict[str, Any], tensors: dict[str, Tensor]
    ) -> TextualInversionWord:
        return TextualInversionWord(token, torch.atleast_2d(tensors["new"]))

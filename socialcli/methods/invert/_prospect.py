"""ProSpect's word while it is learnt: a block makes one vector a stage of one word's embedding."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from socialcli.diffusion import stages
from socialcli.diffusion.words.staged import BlockWord

ORDER = "clean-first"  # as ProSpect numbers its stages


class ProspectWord(BlockWord):
    """Only the block trains; what is kept is its vectors."""

    def __init__(self, token: str, initial: Tensor, count: int, dropout: float) -> None:
        """A word that starts as an ordinary one in each of ``count`` stages."""
        super().__init__(token, initial, count, 1, ORDER, dropout)

    def table(self) -> Tensor:
        """(stages, 1, 1, D). As in the public code, the second attention reads the embedding."""
        vectors: Tensor = self.block(self.initial, self.initial)
        return vectors[:, None, None]

    def address(self, timestep: float, layer: int, part: str, note: Hashable = None) -> Hashable:
        """``note``: the seed of the block's dropout, the same for all rows of a step."""
        return stages.stage(timestep, self.count, self.order), note

    def vectors(self, addresses: Sequence[Any]) -> Tensor:
        numbers = [stage for stage, _ in addresses]
        seed = addresses[0][1]
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            return self.table()[numbers, 0]

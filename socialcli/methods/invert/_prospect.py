"""ProSpect's word while it is learnt: a block makes one vector a stage of one word's embedding."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from socialcli.diffusion import stages
from socialcli.diffusion.words import Word
from socialcli.diffusion.words.staged import StagedWord
from socialcli.networks.stage_tokens import StageTokens

ORDER = "clean-first"  # as ProSpect numbers its stages


class ProspectWord(StagedWord):
    """Only the block trains; what is kept is its vectors.

    Attributes:
        initial: (D,) embedding of an ordinary word, which stays as it is.
    """

    initial: Tensor

    def __init__(self, token: str, initial: Tensor, count: int, dropout: float) -> None:
        """A word that starts as an ordinary one in each of ``count`` stages."""
        Word.__init__(self, token, 1, len(initial))
        self.count, self.parts, self.order = count, 1, ORDER
        self.register_buffer("initial", initial.detach().float().clone())
        self.block = StageTokens(self.width, count, dropout=dropout)
        self.block.start_from(self.initial)

    def table(self) -> Tensor:
        """(stages, 1, 1, D). As in the public code, the second attention reads the embedding."""
        made: Tensor = self.block(self.initial, self.initial)
        return made[:, None, None]

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

    def kept(self) -> StagedWord:
        training = self.training
        with torch.no_grad():
            table = self.eval().table()
        self.train(training)
        return StagedWord(self.token, table, self.order)

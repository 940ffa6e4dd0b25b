"""Other vectors in each stage of the denoising, also others for keys than for values.

What Identity Embedding (arXiv 2402.00631, section III-C) learns: n pairs (K_i, V_i), each for an
equal part of the timesteps. `invert --method identity` trains the block that makes them
(`IdentityWord`) and keeps the pairs; textual inversion with stages (the paper's Fig. 12) trains
the vectors themselves.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from socialcli.diffusion import stages
from socialcli.diffusion.words import KEY, Word, WordKind
from socialcli.networks.stage_tokens import SideBySide, StageTokens


class StagedWord(Word):
    """(n, P, N, D) vectors: n stages; P 1 or 2, keys and values alike or each its own.

    Attributes:
        order: of the stages, see `diffusion.stages`.
    """

    kind = "staged"

    def __init__(self, token: str, vectors: Tensor, order: str = "noisy-first") -> None:
        super().__init__(token, *vectors.shape[2:])
        self.count, self.parts, self.order = len(vectors), vectors.shape[1], order
        self.stages = nn.Parameter(vectors.detach().float().clone())

    def table(self) -> Tensor:
        """(n, P, N, D): the vectors as they are now."""
        return self.stages

    def address(self, timestep: float, layer: int, part: str, note: Hashable = None) -> Hashable:
        stage = stages.stage(timestep, self.count, self.order)
        return stage, 0 if self.parts == 1 or part == KEY else 1

    def vectors(self, addresses: Sequence[Any]) -> Tensor:
        table = self.table()
        index = torch.tensor(list(addresses), device=table.device)
        return table[index[:, 0], index[:, 1]]

    def settings(self) -> dict[str, Any]:
        return {"order": self.order}


class BlockWord(StagedWord):
    """While it is learnt: vectors that a block makes of one vector. Only the block trains.

    Attributes:
        initial: (D,) embedding of an ordinary word, which stays as it is: the block's input, and at
            first every vector that comes out of it.
    """

    initial: Tensor

    def __init__(
        self, token: str, initial: Tensor, count: int, parts: int, order: str, dropout: float,
        widths: Sequence[int] = (),
    ) -> None:  # fmt: skip
        """A word that starts as an ordinary one.

        Args:
            widths: of the vectors of a model's text encoders, which lie side by side in
                ``initial``, where there are several; each has a block of its own.
        """
        Word.__init__(self, token, 1, len(initial))
        self.count, self.parts, self.order = count, parts, order
        self.register_buffer("initial", initial.detach().float().clone())
        if len(widths) > 1:
            self.block: Any = SideBySide(widths, parts * count, dropout)
        else:
            self.block = StageTokens(self.width, parts * count, dropout=dropout)
        self.block.start_from(self.initial)

    def kept(self) -> StagedWord:
        """The word as it is used from now on: its vectors, without the block."""
        training = self.training
        with torch.no_grad():
            table = self.eval().table()
        self.train(training)
        return StagedWord(self.token, table, self.order)


class IdentityWord(BlockWord):
    """Identity Embedding's: n pairs."""

    def __init__(
        self,
        token: str,
        initial: Tensor,
        pairs: int,
        order: str = "noisy-first",
        scaled: bool = True,
        widths: Sequence[int] = (),
    ) -> None:
        """A word that starts as an ordinary one.

        Args:
            initial: (D,) its embedding.
            scaled: every vector is as long as this embedding; else as the block makes it.
            widths: see `BlockWord`; the vectors of each encoder are as long as its embedding.
        """
        # Without ProSpect's dropout: one mask for all rows of a micro-batch would make the result
        # depend on how a batch is divided.
        super().__init__(token, initial, pairs, 2, order, dropout=0.0, widths=widths)
        self.scaled, self.widths = scaled, list(widths) or [len(initial)]

    def table(self) -> Tensor:
        table: Tensor = self.block(self.initial)
        if self.scaled:
            sides = zip(table.split(self.widths, -1), self.initial.split(self.widths), strict=True)
            scaled = [functional.normalize(side, dim=-1) * own.norm() for side, own in sides]
            table = torch.cat(scaled, dim=-1)
        return table.unflatten(0, (self.count, 2)).unsqueeze(2)


class StagedKind(WordKind):
    """See `WordKind`."""

    def build(self, token: str, settings: dict[str, Any], tensors: dict[str, Tensor]) -> StagedWord:
        vectors, order = tensors["stages"], str(settings["order"])
        if vectors.ndim != 4 or vectors.shape[1] not in (1, 2) or not vectors.numel():
            raise ValueError(f"vectors {tuple(vectors.shape)}, not (stages, 1 or 2, N, width)")
        if order not in stages.ORDERS:
            raise ValueError(f"stages in the order '{order}'")
        return StagedWord(token, vectors, order)

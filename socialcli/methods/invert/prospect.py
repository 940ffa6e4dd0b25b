"""ProSpect: other vectors in each stage of the denoising, which a small block makes of one word.

ProSpect: Prompt Spectrum for Attribute-Aware Personalization of Diffusion Models (Zhang et al.,
arXiv 2305.16225). The embedding of the initial word stays as it is; the block of two attentions and
a feed-forward that turns it into one vector a stage trains. The result is the vectors.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.methods.invert._inversion import InversionMethod
from socialcli.methods.invert._options import InversionOptions
from socialcli.randomness import seeded

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.words import Word
    from socialcli.randomness import Draw


@dataclass
class Config(InversionOptions):
    """Options of `socialcli invert --method prospect`."""

    steps: int = option(600, "Optimiser steps of the whole run.", at_least=1)
    learning_rate: float = option(
        4e-4, "Peak learning rate. The paper's code multiplies 1e-4 by the batch.", above=0
    )
    stages: int = option(10, "Equal parts of the timesteps, each with a vector.", at_least=1)
    dropout: float = option(0.1, "Dropout inside the block.", at_least=0, at_most=0.9)


class ProspectMethod(InversionMethod):
    """See `InversionMethod`."""

    VERSION = 1
    config_type = Config

    def word(self, config: Config, token: str, rows: Tensor, layers: int) -> Word:
        import torch

        from socialcli.methods.invert._prospect import ProspectWord

        with torch.random.fork_rng(devices=[]):  # the same in each process
            torch.manual_seed(seeded(config.seed, "prospect", token))
            return ProspectWord(token, rows.mean(0), config.stages, config.dropout)

    def notes(self, state: Any, draw: Draw) -> list[Hashable]:
        """The seed of the block's dropout, one for all samples of a step."""
        return [seeded(draw.seed, "step", draw.step, "dropout")] * len(draw.positions)

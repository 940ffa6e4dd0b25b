"""NeTI: a network makes the word's vectors of the timestep and the layer; also past the encoder.

A Neural Space-Time Representation for Text-to-Image Personalization (Alaluf et al.,
arXiv 2305.15391). The initial word, one token of the model, gives the vectors' length.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.errors import UsageError
from socialcli.methods.invert import _initial
from socialcli.methods.invert._inversion import InversionMethod
from socialcli.methods.invert._options import InversionOptions
from socialcli.randomness import seeded

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.words import Word
    from socialcli.methods.invert._concepts import Concept
    from socialcli.randomness import Draw


@dataclass
class Config(InversionOptions):
    """Options of `socialcli invert --method neti`."""

    steps: int = option(1000, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = option(8, "Samples per optimiser step, over all processes.", at_least=1)
    learning_rate: float = option(
        8e-3, "Peak learning rate. The paper's code multiplies 1e-3 by the batch.", above=0
    )
    bypass: float = option(
        0.2, "Weight of the bypass, which goes past the text encoder into values; 0: none.",
        at_least=0,
    )  # fmt: skip
    nested_dropout: float = option(
        0.5, "How often a step trains with a part of the hidden units only, so that generate "
        "--truncation may choose how many count.", at_least=0, at_most=1,
    )  # fmt: skip


class NetiMethod(InversionMethod):
    """See `InversionMethod`."""

    VERSION = 1
    config_type = Config

    def check_concepts(self, config: Config, concepts: list[Concept]) -> None:
        for concept in concepts:
            parts = _initial.tokens(config, concept.initial)
            if len(parts) > 1:
                raise _several(concept.token, concept.initial, parts)

    def word(self, config: Config, token: str, rows: Tensor, layers: int) -> Word:
        import torch

        from socialcli.diffusion.words.neti import NetiWord
        from socialcli.networks.neti import NeTIMapper

        if len(rows) != 1:
            raise UsageError(f"{token}: NeTI starts from a word of one token, not of {len(rows)}")
        out = rows.shape[1] * (2 if config.bypass else 1)
        with torch.random.fork_rng(devices=[]):  # the same in each process
            torch.manual_seed(seeded(config.seed, "neti", token))
            mapper = NeTIMapper(out, layers, float(rows[0].norm()))
        return NetiWord(token, mapper, config.bypass)

    def notes(self, state: Any, draw: Draw) -> list[Hashable]:
        """How many hidden units count in each layer: as in the public code, a layer drops units in
        all samples or in none, and each sample has a cut of its own."""
        from socialcli.networks.neti import HIDDEN

        chance = state.config.nested_dropout
        common = random.Random(seeded(draw.seed, "step", draw.step, "nested dropout"))
        drops = [common.random() < chance for _ in range(state.lexicon.layers)]
        rows: list[Hashable] = []
        for at in range(len(draw.positions)):
            own = draw.random(at, "nested dropout")
            cuts = [own.randrange(HIDDEN) for _ in drops]
            rows.append(tuple(c if d else HIDDEN for c, d in zip(cuts, drops, strict=True)))
        return rows


def _several(token: str, word: str, parts: list[str]) -> UsageError:
    return UsageError(
        f"{token}: NeTI starts from a super-category of one token, '{word}' has {len(parts)} "
        f"({' '.join(parts)}); give a simpler word: --initial-word '{token}=...'"
    )

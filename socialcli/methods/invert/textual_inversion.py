"""Textual inversion: a new word for the subject of a few pictures; all else stays as it is.

Gal et al., An Image is Worth One Word (2022). A concept is a group of samples; each gets one word
of one or more vectors, which start as an ordinary word near to it. Only these vectors train.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from socialcli.config import option
from socialcli.methods.invert._initial import spread
from socialcli.methods.invert._inversion import InversionMethod
from socialcli.methods.invert._options import InversionOptions

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.words import Word


@dataclass
class Config(InversionOptions):
    """Options of `socialcli invert --method textual-inversion`."""

    vectors: int = option(1, "Vectors of each pseudo-word.", at_least=1)
    stages: int = option(
        1, "Equal parts of the timesteps, each with vectors of its own.", at_least=1, at_most=1000
    )


class TextualInversionMethod(InversionMethod):
    """See `InversionMethod`."""

    VERSION = 2  # each word is a module of its own: checkpoints of version 1 are others
    TWO_ENCODERS = True
    config_type = Config

    def word(self, config: Config, token: str, rows: Tensor, layers: int) -> Word:
        from socialcli.diffusion.words.staged import StagedWord
        from socialcli.diffusion.words.textual_inversion import TextualInversionWord

        vectors = spread(rows, config.vectors)
        if config.stages == 1:
            return TextualInversionWord(token, vectors)
        return StagedWord(token, vectors.expand(config.stages, 1, -1, -1))

"""P+: a word with vectors of its own for each cross-attention layer of the UNet.

P+: Extended Textual Conditioning in Text-to-Image Generation (Voynov et al., arXiv 2303.09522),
section 4: extended textual inversion. All layers' vectors start as the initial word.
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
    """Options of `socialcli invert --method p-plus`."""

    steps: int = option(500, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = option(8, "Samples per optimiser step, over all processes.", at_least=1)
    learning_rate: float = option(5e-3, "Peak learning rate.", above=0)
    vectors: int = option(1, "Vectors of each pseudo-word in each layer.", at_least=1)


class PPlusMethod(InversionMethod):
    """See `InversionMethod`."""

    VERSION = 1
    config_type = Config

    def word(self, config: Config, token: str, rows: Tensor, layers: int) -> Word:
        from socialcli.diffusion.words.p_plus import PPlusWord

        return PPlusWord(token, spread(rows, config.vectors).expand(layers, -1, -1))

"""Learned words: what stands in a text's places at a timestep, in a cross-attention layer.

A `Word` gives token embeddings for its places. Textual inversion gives the same ones everywhere, P+
others to each layer, ProSpect others to each stage of the denoising, NeTI others to each timestep
and layer. One file here is one kind of word; `lexicon` binds words to a diffusion model and encodes
texts, `word_files` reads and writes them.
"""

from __future__ import annotations

import abc
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from socialcli.registry import Part

KEY, VALUE = "k", "v"  # parts: what a layer's keys, and its values, are made of


class Word(nn.Module):
    """A learned word. Its parameters are what trains.

    Attributes:
        kind: name of the file that it is defined in.
        CONSTANT: the same for every timestep, layer and part: the UNet is called as ever.
        BYPASS: its values are changed after the text encoder (`bypass`).
        token: as prompts write it, "<cat>".
        slots: places that it takes in a text; the tokenizer knows them as <cat>, <cat>_1 and so on.
        width: of a vector, the text encoder's.
    """

    kind: ClassVar[str] = ""
    CONSTANT: ClassVar[bool] = False
    BYPASS: ClassVar[bool] = False

    def __init__(self, token: str, slots: int, width: int) -> None:
        super().__init__()
        self.token, self.slots, self.width = token, slots, width

    def address(self, timestep: float, layer: int, part: str, note: Hashable = None) -> Hashable:
        """What its vectors depend on: where two addresses are equal, so are the vectors.

        Args:
            timestep: of the noise schedule, 0 (clean) to 999; samplers may ask between two.
            layer: number of the cross-attention layer in order of execution, from 0.
            part: `KEY` or `VALUE`.
            note: what training says of a row, as where nested dropout cuts; None in sampling.
        """
        return ()

    @abc.abstractmethod
    def vectors(self, addresses: Sequence[Any]) -> Tensor:
        """(A, slots, width) float32 token embeddings for A addresses."""

    def bypass(self, addresses: Sequence[Any], hidden: Tensor) -> Tensor:
        """(A, slots, width) in place of ``hidden``, the text encoder's states at the word's places
        before its last layer norm, for values; asked where `BYPASS` says so."""
        raise NotImplementedError

    def states(self, addresses: Sequence[Any]) -> Tensor | None:
        """(A, slots, width) in place of the text encoder's own final states at the word's places;
        None leaves these as they are."""
        return None

    def kept(self) -> Word:
        """The word as files keep it when its training is over."""
        return self

    def settings(self) -> dict[str, Any]:
        """What its kind needs besides tensors to build it again; JSON values."""
        return {}

    def truncate(self, units: int) -> None:
        """Draw with the first so many hidden units alone, where it was learnt with nested dropout;
        other words take no notice."""

    def misfit(self, layers: int) -> str:
        """Why it does not fit a UNet of so many cross-attention layers; "" where it does."""
        return ""


class WordKind(Part, base=True):
    """One file ``socialcli/diffusion/words/NAME.py`` is the kind of word that files call NAME."""

    @abc.abstractmethod
    def build(self, token: str, settings: dict[str, Any], tensors: dict[str, Tensor]) -> Word:
        """A word out of its file's settings and tensors.

        Raises:
            ValueError, KeyError, RuntimeError: they are of another shape; the reader says so in one
                line that names the file.
        """

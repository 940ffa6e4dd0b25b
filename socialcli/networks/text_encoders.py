"""A text encoder with its tokenizer, and what a diffusion model reads of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class TextEncoder:
    """A CLIP text tower as a diffusion model reads it.

    Attributes:
        tokenizer, network: of transformers.
        penultimate: the states are those before the last layer, as Stable Diffusion XL reads them;
            else the last layer's after the final norm.
        pools: whether the projected state of the end mark is read as well.
    """

    tokenizer: Any
    network: Any
    penultimate: bool = False
    pools: bool = False

    @property
    def width(self) -> int:
        """D, of a token's embedding and of a state."""
        return int(self.network.config.hidden_size)

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """(N, L) ids -> (N, L, D) states, and (N, P) pooled states of one that pools."""
        ids = ids.to(self.network.device)
        if not self.penultimate:
            return self.network(ids).last_hidden_state, None
        read = self.network(ids, output_hidden_states=True)
        return read.hidden_states[-2], read.text_embeds if self.pools else None

    def ids(self, texts: list[str]) -> Tensor:
        """(N, L) ids with marks; longer texts are cut, shorter padded."""
        ids: Tensor = self.tokenizer(
            texts,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return ids

    def windows(self, text: str, whole: bool = True) -> Tensor:
        """(K, L) ids of a whole text, as much at a time as the encoder reads at once, each window
        with its marks and padding; ``whole`` False: the first window alone."""
        tokenizer = self.tokenizer
        ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        size = tokenizer.model_max_length - 2
        parts = [ids[n : n + size] for n in range(0, len(ids), size)] or [[]]
        first, last = tokenizer.bos_token_id, tokenizer.eos_token_id
        padded: Tensor = tokenizer.pad(
            {"input_ids": [[first, *part, last] for part in (parts if whole else parts[:1])]},
            padding="max_length",
            max_length=tokenizer.model_max_length,
            return_tensors="pt",
        )["input_ids"]
        return padded

"""A table of word embeddings with new rows behind it, of which only these train."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from socialcli.errors import UsageError


class Words(nn.Module):
    """Takes the place of a text encoder's token embedding.

    Attributes:
        new: (N, D) float32, the vectors of ids ``first`` to ``first + N - 1``. The old table is
            kept out of this module's parameters: it is neither trained nor saved.
    """

    def __init__(self, old: nn.Embedding, new: Tensor, first: int) -> None:
        super().__init__()
        self._old = [old]
        self.new = nn.Parameter(new.detach().float().clone())
        self.first = first

    @property
    def weight(self) -> Tensor:
        """(V, D): the old table, whose type and device callers ask for."""
        return self._old[0].weight

    def forward(self, ids: Tensor) -> Tensor:
        """(..., L) ids -> (..., L, D), in the old table's type."""
        known = self._old[0](ids.clamp(max=min(self.first, len(self.weight)) - 1))
        numbers = (ids - self.first).clamp(min=0, max=len(self.new) - 1)
        learnt = self.new.to(known.dtype)[numbers]
        return torch.where((ids >= self.first).unsqueeze(-1), learnt, known)


def check_case(tokenizer: Any, tokens: Iterable[str]) -> None:
    """Refuse pseudo-words that differ by case only where the tokenizer reads lower case only.

    Raises:
        UsageError: two of ``tokens`` would be one word.
    """
    lower: dict[str, str] = {}
    for token in tokens:
        other = lower.setdefault(token.lower(), token)
        if other != token and tokenizer.tokenize("A") == tokenizer.tokenize("a"):
            raise UsageError(
                f"'{other}' and '{token}' differ by case only, and this model's tokenizer reads "
                f"lower case only; rename one, to {another_name(token)} for example"
            )


def another_name(token: str) -> str:
    """A pseudo-word that one may use in place of one that is taken."""
    plain = f"<{token.strip('<>')}>"
    return plain if plain != token else f"<{token.strip('<>')}-2>"

"""A table of word embeddings with new rows behind it, of which only these train."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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


def insert(
    tokenizer: Any, encoder: Any, vectors: dict[str, Tensor], files: dict[str, str] | None = None
) -> Inserted:
    """Give tokenizer and text encoder one word for each vector of some pseudo-words.

    The first word of a pseudo-word is the token itself and the others are numbered after it, as
    diffusers names them. The encoder's table of embeddings is replaced by `Words`.

    Args:
        vectors: token -> (N, D) float, N at least 1.
        files: token -> the file it is from, for messages.

    Raises:
        UsageError: vectors of another width than the encoder's, a token that is a word of the
            model already, or two that the tokenizer cannot tell apart.
    """
    old = encoder.get_input_embeddings()
    names = add(tokenizer, encoder, {t: (len(v), v.shape[1]) for t, v in vectors.items()}, files)
    first = tokenizer.convert_tokens_to_ids(next(iter(names.values()))[0])
    words = Words(old, torch.cat([rows.to(old.weight.device) for rows in vectors.values()]), first)
    encoder.set_input_embeddings(words)
    return Inserted(words, names)


def add(
    tokenizer: Any,
    encoder: Any,
    shapes: dict[str, tuple[int, int]],
    files: dict[str, str] | None = None,
    total: int = 0,
) -> dict[str, list[str]]:
    """Teach a tokenizer the names of some pseudo-words' places, with ids one after the other.

    Args:
        shapes: token -> (places, width of a vector).
        total: width of a vector of all the text encoders of a model; 0: there is one.

    Returns:
        Token -> its names, the token itself first.

    Raises:
        UsageError: see `insert`.
    """
    width = total or encoder.get_input_embeddings().weight.shape[1]
    check_case(tokenizer, shapes)
    vocabulary = set(tokenizer.get_vocab())
    names: dict[str, list[str]] = {}
    for token, (count, own_width) in shapes.items():
        label = f"{files[token]}: '{token}'" if files else f"'{token}'"
        if own_width != width:
            raise UsageError(
                f"{label}: vectors {own_width} wide, this model's text encoder has {width}; "
                "they were learnt for another model"
            )
        parts = [token, *(f"{token}_{n}" for n in range(1, count))]
        taken = {part + end for part in parts for end in ("", "</w>")} & vocabulary
        if taken or len(tokenizer.tokenize(token)) == 1:
            raise UsageError(
                f"{label} is a word of this model already; give another name, as "
                f"{another_name(token)}"
            )
        tokenizer.add_tokens(parts)
        vocabulary |= set(parts)
        names[token] = parts
    ids = tokenizer.convert_tokens_to_ids([part for parts in names.values() for part in parts])
    assert ids == list(range(min(ids), min(ids) + len(ids)))
    return names


def ordinary(diffusion: Any, word: str) -> Tensor:
    """(N, D) float32 embeddings of an ordinary word's tokens; those of a model's several text
    encoders, whose tokenizers are alike, side by side.

    Args:
        diffusion: a `roles.Diffusion`.
    """
    sides = []
    for encoder in diffusion.encoders:
        table = encoder.network.get_input_embeddings().weight.detach()
        ids = encoder.tokenizer(word, add_special_tokens=False)["input_ids"]
        sides.append(table[torch.tensor(ids, device=table.device)].float())
    return torch.cat(sides, dim=-1)


@dataclass
class Inserted:
    """Pseudo-words that a text encoder knows.

    Attributes:
        words: its table of embeddings, whose new rows may train.
        names: token as prompts write it -> the tokenizer's words that stand for it, one a vector.
    """

    words: Words
    names: dict[str, list[str]]


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

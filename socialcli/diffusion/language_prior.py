"""Language priors: a learned word is given the statistics of the embeddings of a part of speech.

Source: Customizing Text-to-Image Generation with Inverted Interaction, Eqs. 3 and 5. Words of one
part of speech lie near each other in a text encoder's table of token embeddings. AdaIN gives a
vector P the mean and the deviation that the embeddings S of verbs (or prepositions) have::

    P' = sigma(S) * (P - mu(P)) / sigma(P) + mu(S)

where mu(S) and sigma(S) are (D,), one number for each coordinate over the words, and mu(P) and
sigma(P) are scalars over the D coordinates of P. P' does not depend on the mean and the length of P
any more: its D numbers have D - 2 degrees of freedom.

The paper leaves open: which deviation (here the population's, divided by the count, in both
places), and what stands for a word of several tokens (here such words are left out: the embeddings
of their parts are no verbs).
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from socialcli import textfiles
from socialcli.errors import UsageError

LISTS = Path(__file__).with_name("parts_of_speech.toml")
FEWEST = 5  # words of one token; fewer say nothing of a deviation
TINY = 1e-12  # added to the variance of P, whose coordinates are of the order of 1e-2


@dataclass(frozen=True)
class Prior:
    """What the embeddings of a part of speech have in common.

    Attributes:
        mean, std: (D,) float32 or float64, coordinate by coordinate over the words.
        words: those it was computed from.
    """

    mean: Tensor
    std: Tensor
    words: tuple[str, ...] = ()


def listed(part: str, file: str = "") -> list[str]:
    """The words of a part of speech: of the package's list, or of a file with one a line.

    Args:
        part: a key of ``parts_of_speech.toml``: verbs, prepositions, adjectives, ...

    Raises:
        UsageError: a file that cannot be read or is empty.
    """
    if not file:
        with LISTS.open("rb") as stream:
            return list(tomllib.load(stream)[part])
    words = list(dict.fromkeys(textfiles.lines(file, f"{file}: no readable list of {part}")))
    if not words:
        raise UsageError(f"{file}: no {part} in it; expected one a line")
    return words


def embeddings(tokenizer: Any, table: Tensor, words: Sequence[str]) -> tuple[list[str], Tensor]:
    """The words that are one token of a tokenizer, and their rows of its table.

    Args:
        table: (V, D) token embeddings.

    Returns:
        M words and (M, D) float32.
    """
    there, ids = [], []
    for word in words:
        tokens = tokenizer(word, add_special_tokens=False)["input_ids"]
        if len(tokens) == 1 and tokens[0] != getattr(tokenizer, "unk_token_id", None):
            there.append(word)
            ids.append(int(tokens[0]))
    rows = table.detach()[torch.tensor(ids, dtype=torch.long, device=table.device)]
    return there, rows.float()


def of_words(tokenizer: Any, table: Tensor, words: Sequence[str], part: str) -> Prior:
    """The prior of a list of words in a model's table.

    Args:
        part: what the words are, for the message.

    Raises:
        UsageError: the model knows fewer than `FEWEST` of them as one token.
    """
    there, rows = embeddings(tokenizer, table, words)
    if len(there) < FEWEST:
        raise UsageError(
            f"of {len(words)} {part} this model's tokenizer has {len(there)} as one token, too few "
            f"for a prior; give --{part} FILE with at least {FEWEST} that it has"
        )
    mean, std = statistics(rows)
    return Prior(mean, std, tuple(there))


def statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """mu(S) and sigma(S): (M, D) -> (D,), (D,); the population's deviation."""
    return rows.mean(0), rows.std(0, correction=0)


def adain(vectors: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Eqs. 3 and 5, differentiable in the vectors.

    Args:
        vectors: (..., D). mean, std: broadcast to it.

    Returns:
        (..., D): each vector standardised over its own D numbers, then scaled and moved.
    """
    centred = vectors - vectors.mean(-1, keepdim=True)
    own = (centred.square().mean(-1, keepdim=True) + TINY).sqrt()
    return std * centred / own + mean

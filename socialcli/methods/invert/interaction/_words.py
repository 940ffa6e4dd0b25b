"""Words under a language prior, and how the three words of an interaction are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from socialcli.diffusion.language_prior import Prior, adain
from socialcli.diffusion.words.textual_inversion import TextualInversionWord

POSE = "{o} {p}"  # stage I: "a man <hug-1>"
WHOLE = "{o1} {p1} {r} {o2} {p2}"  # stage II
ALONE = "{o1} {r} {o2}"  # without pose words


class PriorWord(TextualInversionWord):
    """Vectors that may be given the statistics of a part of speech each time they are asked for
    (`language_prior.adain`)."""

    def __init__(self, token: str, vectors: Tensor, prior: Prior | None = None) -> None:
        super().__init__(token, vectors)
        self.prior = prior
        for name in ("mean", "std"):
            row = getattr(prior, name) if prior is not None else torch.zeros(self.width)
            self.register_buffer(name, row.float().clone(), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def vectors(self, addresses: Sequence[Any]) -> Tensor:
        """(A, slots, width): P' of Eqs. 3 and 5."""
        rows = self.new if self.prior is None else adain(self.new, self.mean, self.std)
        return rows.expand(len(addresses), -1, -1)

    def plain(self) -> TextualInversionWord:
        """The word as files hold it: P' itself, without a prior."""
        return TextualInversionWord(self.token, self.vectors([()])[0].detach())


def pose_tokens(token: str) -> tuple[str, str]:
    """``<hug>`` -> ``<hug-1>``, ``<hug-2>``."""
    body, end = (token[:-1], ">") if token.endswith(">") else (token, "")
    return f"{body}-1{end}", f"{body}-2{end}"


def with_article(noun: str) -> str:
    """ "man" -> "a man"."""
    return f"{'an' if noun[:1] in tuple('aeiou') else 'a'} {noun}"


def project(word: PriorWord, prior: Prior) -> None:
    """Replace a word's vectors by what the prior makes of them."""
    with torch.no_grad():
        word.new.copy_(adain(word.new, prior.mean.to(word.new), prior.std.to(word.new)))

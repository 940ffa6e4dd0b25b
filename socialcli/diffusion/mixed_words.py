"""Learned words of which some stages are another word's, or the ordinary word's.

Identity Embedding (arXiv 2402.00631, Fig. 4) looks at what a pair (K_i, V_i) does by adding pairs
one after the other, and by putting the keys or values of one word into another.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from socialcli.diffusion import pseudo_words, stages
from socialcli.diffusion.words import KEY, VALUE, Word
from socialcli.errors import UsageError

if TYPE_CHECKING:
    from socialcli.diffusion.word_files import Learned

STAGES = 5  # of words that have none of their own
_PART = re.compile(r"([kv]?)(\d+)(?:-(\d+))?(?::(\S+))?")
Place = tuple[int, str]  # stage from 0, KEY or VALUE


@dataclass(frozen=True)
class Change:
    """Of a word: whose vectors stand in which place. The rest is the word's own, or where ``kept``
    is set the ordinary word's.

    Attributes:
        kept: places that stay. swapped: place -> the token whose vectors stand there.
    """

    token: str
    kept: frozenset[Place]
    swapped: Mapping[Place, str]


def parse(text: str, count: int = STAGES) -> Change:
    """``TOKEN=PART,PART...``; a part is ``2``, ``1-3``, ``k1-3`` (keys alone), ``v5`` (values
    alone), and with ``:OTHER`` behind it what another word has there.

    Args:
        count: stages of the word.

    Raises:
        UsageError: written otherwise, or a stage that the word does not have.
    """
    token, equals, parts = text.partition("=")
    kept: set[Place] = set()
    swapped: dict[Place, str] = {}
    for part in parts.split(","):
        match = _PART.fullmatch(part.strip())
        if not equals or not token or match is None:
            raise UsageError(
                f"--stages {text}: write it as '<cat>=1-3', '<cat>=k1-5,v1-2' or "
                "'<cat>=v4-5:<other>'"
            )
        which, first, last, other = match.groups()
        low, high = int(first), int(last or first)
        if not 1 <= low <= high <= count:
            raise UsageError(f"--stages {text}: {token} has stages 1 to {count}")
        sides = {"": (KEY, VALUE), "k": (KEY,), "v": (VALUE,)}[which]
        for place in ((stage, side) for stage in range(low - 1, high) for side in sides):
            if other:
                swapped[place] = other
            else:
                kept.add(place)
    return Change(token, frozenset(kept), swapped)


class MixedWord(Word):
    """A word with some places changed. Nothing of it trains.

    Args:
        words: token -> word, of all that a change names, its own among them.
        ordinary: (slots, width) embeddings of the word that stands where nothing is kept.
    """

    kind = "mixed"

    def __init__(self, change: Change, words: Mapping[str, Word], ordinary: Tensor | None) -> None:
        own = words[change.token]
        super().__init__(own.token, own.slots, own.width)
        self.change, self.words, self.ordinary = change, dict(words), ordinary
        self.sources = nn.ModuleList(self.words.values())  # so that they move with it
        self.count, self.order = _stages(own)

    def address(self, timestep: float, layer: int, part: str, note: Hashable = None) -> Hashable:
        place = stages.stage(timestep, self.count, self.order), part
        source = self.change.swapped.get(place, self.token)
        if source == self.token and self.change.kept and place not in self.change.kept:
            return "", ()
        return source, self.words[source].address(timestep, layer, part, note)

    def vectors(self, addresses: Sequence[Any]) -> Tensor:
        rows: list[Tensor | None] = [None] * len(addresses)
        for source in dict.fromkeys(source for source, _ in addresses):
            at = [n for n, (one, _) in enumerate(addresses) if one == source]
            if source:
                vectors = self.words[source].vectors([addresses[n][1] for n in at])
            else:
                assert self.ordinary is not None
                vectors = self.ordinary.expand(len(at), -1, -1)
            for number, one in zip(at, vectors, strict=True):
                rows[number] = one
        device = next(one.device for one in rows if one is not None)
        return torch.stack([one.to(device) for one in rows if one is not None])

    def misfit(self, layers: int) -> str:
        return next(filter(None, (word.misfit(layers) for word in self.words.values())), "")


def apply(
    changes: Sequence[str], learned: Sequence[Learned], plain: Mapping[str, str], diffusion: Any
) -> list[Word]:
    """The words of some files after ``--stages``.

    Args:
        changes: as given. plain: token -> an ordinary word for it.
        diffusion: a `roles.Diffusion`; its table has the ordinary words' embeddings.

    Raises:
        UsageError: a word that is not there, is changed twice, does not fit the other's places, or
            has no ordinary word where one is to stand.
    """
    words = {one.token: one.word for one in learned}
    mixed: dict[str, Word] = dict(words)
    for text in changes:
        token = text.partition("=")[0]
        own = words.get(token)
        if own is None or mixed[token] is not own:
            why = "is changed twice" if own else f"is not among {', '.join(words) or 'no words'}"
            raise UsageError(f"--stages {text}: {token} {why}")
        change = parse(text, _stages(own)[0])
        for other in [token, *change.swapped.values()]:
            _check(text, own, words.get(other), other, words)
        ordinary = None
        if change.kept:
            if not plain.get(token):
                raise UsageError(
                    f"--stages {text}: which ordinary word stands in the other stages? Give "
                    f"--plain-word '{token}=WORD'"
                )
            ordinary = _ordinary(diffusion, plain[token], own.slots)
        mixed[token] = MixedWord(change, words, ordinary)
    return list(mixed.values())


def _check(text: str, own: Word, other: Word | None, name: str, words: Mapping[str, Word]) -> None:
    if other is None:
        raise UsageError(f"--stages {text}: {name} is not among {', '.join(words)}")
    if other.BYPASS:
        raise UsageError(
            f"--stages {text}: {name} (of {other.kind}) also changes what comes out of the text "
            "encoder, which cannot be mixed"
        )
    if (other.slots, other.width) != (own.slots, own.width):
        raise UsageError(
            f"--stages {text}: {name} has {other.slots} vectors of {other.width}, {own.token} "
            f"{own.slots} of {own.width}"
        )


def _stages(word: Word) -> tuple[int, str]:
    """(count, order) of a word's stages; `STAGES` of one that has none."""
    count, order = getattr(word, "count", STAGES), getattr(word, "order", stages.ORDERS[0])
    return int(count), str(order)


def _ordinary(diffusion: Any, word: str, slots: int) -> Tensor:
    """(slots, D) embeddings of an ordinary word's tokens; fewer come again in turn."""
    rows = pseudo_words.ordinary(diffusion, word)
    return rows[torch.arange(slots) % len(rows)]

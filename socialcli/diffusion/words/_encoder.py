"""The text encoder reads rows of tokens in which learned words stand at addresses of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from socialcli.diffusion.words import Word
from socialcli.networks.text_encoders import TextEncoder


class Table(nn.Module):
    """Takes the place of a text encoder's token embedding: id -n stands for row n - 1 of whatever
    vectors are in use, all others for what they were. So tables of other methods may lie below it
    or above. The old table is none of this module's parameters."""

    def __init__(self, old: nn.Module) -> None:
        super().__init__()
        self._old = [old]
        self._vectors: Tensor | None = None

    @property
    def weight(self) -> Tensor:
        """(V, D): the old table, whose type and device callers ask for."""
        weight: Tensor = self._old[0].weight  # type: ignore[assignment]
        return weight

    @contextlib.contextmanager
    def using(self, vectors: Tensor | None) -> Iterator[None]:
        """With (N, D) vectors, or none."""
        self._vectors = vectors
        try:
            yield
        finally:
            self._vectors = None

    def forward(self, ids: Tensor) -> Tensor:
        """(..., L) ids -> (..., L, D), in the old table's type."""
        known: Tensor = self._old[0](ids.clamp(min=0))
        if self._vectors is None:
            return known
        learned = self._vectors.to(known.dtype)[(-1 - ids).clamp(min=0)]
        return torch.where((ids < 0).unsqueeze(-1), learned, known)


@dataclass
class Row:
    """(L,) ids of a text as the tokenizer gives them, and the address of each of its words."""

    ids: Tensor
    addresses: dict[Word, Hashable]


class Reader:
    """A text encoder that has learnt the names of some words.

    Attributes:
        part: which of the numbers of a word's vectors are this encoder's: a word for several
            encoders has their vectors side by side.
    """

    def __init__(
        self, encoder: TextEncoder, names: Mapping[str, Sequence[str]], part: slice
    ) -> None:
        """Give an encoder a table in which words' vectors stand at addresses.

        Args:
            names: token -> the tokenizer's names of its places, which it knows already.
        """
        self.encoder, self.part = encoder, part
        ids = encoder.tokenizer.convert_tokens_to_ids
        self.slots: dict[int, tuple[str, int]] = {
            ids(name): (token, slot)
            for token, some in names.items()
            for slot, name in enumerate(some)
        }
        self.table = Table(encoder.network.get_input_embeddings())
        encoder.network.set_input_embeddings(self.table)
        self._windows: dict[tuple[str, bool], Tensor] = {}

    def windows(self, text: str, whole: bool) -> Tensor:
        """(K, L) ids of a text's windows, K 1 unless ``whole``; kept between calls."""
        kept = self._windows.get((text, whole))
        if kept is None:
            kept = self.encoder.windows(text, whole)
            if len(self._windows) >= 4096:
                self._windows.clear()
            self._windows[text, whole] = kept
        return kept

    def read(
        self,
        rows: Sequence[Row],
        asked: Sequence[tuple[int, bool]],
        vectors: Tensor | None,
        begins: Mapping[tuple[str, Hashable], int],
    ) -> tuple[Tensor, Tensor | None]:
        """Text states of rows, which go through the encoder together.

        Args:
            asked: (number of a row, whether its words' bypass is added); in any order, repeatedly.
            vectors, begins: of `vectors_of`.

        Returns:
            (len(asked), L, D) states, and (len(asked), P) pooled ones of an encoder that pools.
        """
        network = self.encoder.network
        places = [_mentions(row, self.slots) for row in rows]
        ids = torch.stack([_addressed(row, self.slots, begins) for row in rows])
        own = None if vectors is None else vectors[:, self.part]
        with self.table.using(own), _input_of(_norm(network)) as hidden:
            final, pooled = self.encoder.read(ids)
        numbers = [number for number, bypass in asked if bypass]
        final = _changed(final, rows, places, range(len(rows)), "states")
        chosen = [number for number, _ in asked]
        if pooled is not None:
            pooled = pooled[chosen]
        if not numbers:
            return final[chosen], pooled
        values = _changed(hidden[0][numbers], rows, places, numbers, "bypass")
        values = _changed(_norm(network)(values), rows, places, numbers, "states")
        behind = iter(range(len(rows), len(rows) + len(numbers)))
        chosen = [next(behind) if bypass else number for number, bypass in asked]
        return torch.cat([final, values])[chosen], pooled


def _mentions(row: Row, slots: dict[int, tuple[str, int]]) -> dict[Word, list[list[int]]]:
    """Word -> the places of each of its mentions that the row has whole."""
    words = {word.token: word for word in row.addresses}
    mentions: dict[Word, list[list[int]]] = {word: [] for word in words.values()}
    for place, number in enumerate(row.ids.tolist()):
        token, slot = slots.get(number, ("", 0))
        if token and slot == 0:
            mentions[words[token]].append([])
        if token and mentions[words[token]]:
            mentions[words[token]][-1].append(place)
    return {w: [m for m in some if len(m) == w.slots] for w, some in mentions.items()}


def vectors_of(rows: Sequence[Row]) -> tuple[Tensor | None, dict[tuple[str, Hashable], int]]:
    """(N, D) the vectors that rows need, each once, and where those of a word's address begin."""
    asked: dict[Word, dict[Hashable, None]] = {}
    for row in rows:
        for word, address in row.addresses.items():
            asked.setdefault(word, {})[address] = None
    parts: list[Tensor] = []
    begins: dict[tuple[str, Hashable], int] = {}
    count = 0
    for word, addresses in asked.items():
        parts.append(word.vectors(list(addresses)).flatten(0, 1))
        for address in addresses:
            begins[word.token, address] = count
            count += word.slots
    return torch.cat(parts) if parts else None, begins


def _addressed(
    row: Row, slots: dict[int, tuple[str, int]], begins: Mapping[tuple[str, Hashable], int]
) -> Tensor:
    """(L,) a row's ids; those of words say where their address's vectors lie, see `Table`."""
    addresses = {word.token: address for word, address in row.addresses.items()}

    def moved(number: int) -> int:
        if number not in slots:
            return number
        token, slot = slots[number]
        return -1 - begins[token, addresses[token]] - slot

    return torch.tensor([moved(number) for number in row.ids.tolist()])


def _changed(
    states: Tensor,
    rows: Sequence[Row],
    places: Sequence[dict[Word, list[list[int]]]],
    numbers: Sequence[int],
    hook: str,
) -> Tensor:
    """(N, L, D) states of rows ``numbers``, with what a hook of their words puts at their places.

    Args:
        hook: "bypass", of words that have one, or "states".
    """
    mentions: dict[Word, list[tuple[int, list[int], Hashable]]] = {}
    for at, number in enumerate(numbers):
        for word, some in places[number].items():
            if hook == "bypass" and not word.BYPASS:
                continue
            address = rows[number].addresses[word]
            mentions.setdefault(word, []).extend((at, mention, address) for mention in some)
    for word, places_of_word in mentions.items():
        if not places_of_word:
            continue
        addresses = [address for *_, address in places_of_word]
        which = torch.tensor([[row] for row, *_ in places_of_word], device=states.device)
        where = torch.tensor([mention for _, mention, _ in places_of_word], device=states.device)
        if hook == "bypass":
            new: Tensor | None = word.bypass(addresses, states[which, where])
        else:
            new = word.states(addresses)
        if new is not None:
            states = states.index_put((which.expand_as(where), where), new.to(states.dtype))
    return states


def _norm(encoder: Any) -> Any:
    """The text encoder's last layer norm."""
    (norm,) = [m for n, m in encoder.named_modules() if n.split(".")[-1] == "final_layer_norm"]
    return norm


@contextlib.contextmanager
def _input_of(module: Any) -> Iterator[list[Tensor]]:
    """What a module is called with, one tensor a call."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        yield seen
    finally:
        handle.remove()

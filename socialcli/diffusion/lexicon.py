"""Learned words bound to a diffusion model: texts become the states that its UNet reads.

The tokenizer gets a name for each place of a word, the text encoder a table of embeddings in which
these names stand for whatever vectors the words give. All states that a batch needs are encoded
together, equal ones once.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from socialcli.diffusion import layered, pseudo_words
from socialcli.diffusion.conditioning import one_text
from socialcli.diffusion.layered import LayerStates
from socialcli.diffusion.layered_text import LayeredText
from socialcli.diffusion.words import KEY, VALUE, Word
from socialcli.diffusion.words._encoder import Reader, Row, vectors_of
from socialcli.errors import UsageError

if TYPE_CHECKING:
    from socialcli.diffusion.conditioning import Conditioning, Text

TOGETHER = 64  # texts that the encoder reads at once where no gradient is asked for
_PSEUDO = re.compile(r"<[^<>\s]+>")


class Lexicon:
    """Words that a diffusion model knows.

    Attributes:
        words: token as prompts write it -> the word.
        names: token -> the tokenizer's names of its places, "<cat>", "<cat>_1"...
        layers: cross-attention layers of the UNet.
        constant: whether no word depends on timestep, layer or part. Then the UNet's processors
            are left alone.
    """

    def __init__(
        self,
        diffusion: Any,
        words: Iterable[Word],
        files: dict[str, str] | None = None,
        attach: bool = True,
    ) -> None:
        """Teach a model some words.

        Args:
            diffusion: a `roles.Diffusion`; its tokenizers and text encoders are changed.
            files: token -> the file it is from, for messages.
            attach: whether the UNet is attached to right away.

        Raises:
            UsageError: a word of another width or for another number of layers, a token that is
                the model's own already, or two that its tokenizer cannot tell apart.
        """
        self.diffusion = diffusion
        self.words = {word.token: word for word in words}
        self.layers = len(layered.layers(diffusion.unet))
        self.constant = all(word.CONSTANT for word in self.words.values())
        encoders = diffusion.encoders
        total = sum(encoder.width for encoder in encoders)
        shapes = {token: (word.slots, word.width) for token, word in self.words.items()}
        for encoder in encoders:
            self.names = pseudo_words.add(encoder.tokenizer, encoder.network, shapes, files, total)
        for token, word in self.words.items():
            misfit = word.misfit(self.layers)
            if word.BYPASS and encoders[0].penultimate:
                misfit = (
                    f"a word of {word.kind} changes what comes out of the text encoder's last "
                    "layer, which this model does not read"
                )
            if misfit:
                raise UsageError(f"{f'{files[token]}: ' if files else ''}'{token}': {misfit}")
            word.to(encoders[0].network.device)
        self._readers, start = [], 0
        for encoder in encoders:
            part = slice(start, start + encoder.width)
            self._readers.append(Reader(encoder, self.names, part))
            start = part.stop
        self._slots = self._readers[0].slots
        longest_first = sorted(self.words, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))
        if attach:
            self.attach()

    def attach(self) -> None:
        """Let the UNet's layers read states of their own, if any word asks for it. Whoever gives
        the UNet other processors afterwards calls it again."""
        if not self.constant:
            layered.attach(self.diffusion.unet)

    # --- texts ---

    def used(self, text: str) -> list[str]:
        """Tokens of the words that a text has, each once."""
        return list(dict.fromkeys(self._pattern.findall(text)))

    def unknown(self, text: str) -> list[str]:
        """What looks like a learned word, <so>, and is none, nor one of the tokenizer's own (as
        those that came with weights of the model)."""
        tokenize = self.diffusion.tokenizer.tokenize
        marked = [word for word in _PSEUDO.findall(text) if word not in self.words]
        return [word for word in marked if len(tokenize(word)) != 1]

    def expand(self, text: str) -> str:
        """A text with each word written out as the names of all its places."""
        return self._pattern.sub(lambda match: " ".join(self.names[match[0]]), text)

    def without(self, text: str) -> str:
        """A text with its learned words left out."""
        return self._pattern.sub(" ", text)

    def depends(self, text: str) -> bool:
        """Whether a text's states differ by timestep, layer or part."""
        return not self.constant and any(not self.words[t].CONSTANT for t in self.used(text))

    def places(self, text: str, words: Sequence[str] = ()) -> dict[str, list[int]]:
        """Where learned words, and ordinary words or phrases, stand among a text's states.

        Returns:
            Token, or one of ``words`` -> places of all its mentions, in [0, L).
        """
        tokenizer, expanded = self.diffusion.tokenizer, self.expand(text)
        encoded = tokenizer(expanded, return_offsets_mapping=True, verbose=False)
        last = tokenizer.model_max_length - 1  # the end mark of a text that is cut
        ids, spans = encoded.input_ids[:last], encoded.offset_mapping[:last]
        places: dict[str, list[int]] = {token: [] for token in self.used(text)}
        for place, number in enumerate(ids):
            if number in self._slots:
                places[self._slots[number][0]].append(place)
        for word in words:
            mentions = re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", expanded, re.IGNORECASE)
            ranges = [mention.span() for mention in mentions]
            places[word] = [
                place
                for place, (start, end) in enumerate(spans)
                if any(start < after and end > first for first, after in ranges)
            ]
        return places

    # --- states ---

    def conditioning(
        self, texts: Sequence[str], notes: Sequence[Hashable] | None = None
    ) -> Conditioning:
        """B texts as what B rows are conditioned on, with gradient to the words.

        Args:
            notes: one a row, see `Word.address`.
        """
        from socialcli.diffusion.conditioning import Conditioning

        def arguments(timesteps: Tensor) -> dict[str, Any]:
            return as_arguments(self.encode(texts, timesteps, notes))

        return Conditioning(arguments)

    def ahead(self, text: str, timesteps: Sequence[float], whole: bool = False) -> LayeredText:
        """One text at all timesteps of a sampler, for `conditioning.of_text`."""
        return LayeredText(self, text, timesteps, whole)

    def state(self, text: str, timesteps: Sequence[float], whole: bool = False) -> Text:
        """One text for `conditioning.of_text`: (L, D) states, or those of all timesteps and layers
        where its words differ between them."""
        if self.depends(text):
            return self.ahead(text, timesteps, whole)
        states = self.encode([text], torch.zeros(1), whole=whole)
        pooled = states.middle_pooled
        return one_text(states.keys(0)[0], None if pooled is None else pooled[0])

    def encode(
        self,
        texts: Sequence[str],
        timesteps: Tensor,
        notes: Sequence[Hashable] | None = None,
        whole: bool = False,
        layers: Sequence[int] | None = None,
    ) -> LayerStates:
        """The states of B texts at B timesteps, equal ones encoded once.

        Args:
            timesteps: (B,). notes: one a row, see `Word.address`.
            whole: all windows of a text that is longer than the encoder reads at once, one behind
                the other; all texts must then have equally many. Else what is too long is cut.
            layers: only these, which the result then numbers from 0.
        """
        asked = range(self.layers) if layers is None else layers
        rows = list(zip(texts, timesteps.tolist(), notes or [None] * len(texts), strict=True))
        used = {text: [self.words[token] for token in self.used(text)] for text in texts}
        numbers: dict[_State, int] = {}

        def number(row: tuple[str, float, Hashable], layer: int, part: str) -> int:
            text, timestep, note = row
            addresses = tuple(w.address(timestep, layer, part, note) for w in used[text])
            bypass = part == VALUE and any(word.BYPASS for word in used[text])
            return numbers.setdefault(_State(text, addresses, bypass), len(numbers))

        keys = [[number(row, layer, KEY) for row in rows] for layer in asked]
        values = [[number(row, layer, VALUE) for row in rows] for layer in asked]
        table, pooled = self._states(list(numbers), used, whole)
        key_index = torch.tensor(keys, device=table.device)
        if keys == values:
            return LayerStates(table, key_index, key_index, pooled)
        return LayerStates(table, key_index, torch.tensor(values, device=table.device), pooled)

    def _states(
        self, states: list[_State], used: dict[str, list[Word]], whole: bool
    ) -> tuple[Tensor, Tensor | None]:
        """(S, L, D), and (S, P) pooled: keys and values of equal addresses come of one pass of the
        encoders."""
        together: dict[tuple[str, tuple[Hashable, ...]], list[int]] = {}
        for number, state in enumerate(states):
            together.setdefault((state.text, state.addresses), []).append(number)
        inputs = list(together)
        size = len(inputs) if torch.is_grad_enabled() else TOGETHER
        order: list[int] = []
        parts: list[Tensor] = []
        pooled: list[Tensor] = []
        for start in range(0, len(inputs), size):
            some = inputs[start : start + size]
            order += [number for one in some for number in together[one]]
            wanted = [
                (at, states[number].bypass)
                for at, one in enumerate(some)
                for number in together[one]
            ]
            encoded, own = self._read(some, used, wanted, whole)
            parts.append(encoded)
            pooled += [] if own is None else [own]
        back = torch.tensor(order, device=parts[0].device).argsort()
        return torch.cat(parts)[back], torch.cat(pooled)[back] if pooled else None

    def _read(
        self,
        inputs: list[tuple[str, tuple[Hashable, ...]]],
        used: dict[str, list[Word]],
        wanted: list[tuple[int, bool]],
        whole: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """States of some texts with addresses, by all encoders, and the pooled ones.

        Args:
            wanted: (number of an input, whether its words' bypass is added).
        """
        vectors, begins, sides, pooled = None, None, [], None
        for reader in self._readers:
            rows = [
                Row(window, dict(zip(used[text], addresses, strict=True)))
                for text, addresses in inputs
                for window in reader.windows(self.expand(text), whole)
            ]
            count = len(rows) // len(inputs)
            if begins is None:
                vectors, begins = vectors_of(rows)
            asked = [(at * count + k, bypass) for at, bypass in wanted for k in range(count)]
            states, own = reader.read(rows, asked, vectors, begins)
            sides.append(states.unflatten(0, (-1, count)).flatten(1, 2))
            pooled = pooled if own is None else own[::count]
        return sides[0] if len(sides) == 1 else torch.cat(sides, dim=-1), pooled


class _State(NamedTuple):
    """What some states depend on: the text and the addresses of its words; ``bypass``: whether they
    are changed behind the encoder, for values."""

    text: str
    addresses: tuple[Hashable, ...]
    bypass: bool


def as_arguments(states: LayerStates) -> dict[str, Any]:
    """The UNet's arguments: the states themselves where all layers read the same ones."""
    return layered.as_arguments(states, layered=not states.same)

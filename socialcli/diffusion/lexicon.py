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
from socialcli.diffusion.layered import LayerStates
from socialcli.diffusion.layered_text import LayeredText
from socialcli.diffusion.words import KEY, VALUE, Word
from socialcli.diffusion.words._encoder import Row, Table, read
from socialcli.errors import UsageError

if TYPE_CHECKING:
    from socialcli.diffusion.conditioning import Conditioning

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
            diffusion: a `roles.Diffusion`; its tokenizer and text encoder are changed.
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
        encoder = diffusion.text_encoder
        shapes = {token: (word.slots, word.width) for token, word in self.words.items()}
        self.names = pseudo_words.add(diffusion.tokenizer, encoder, shapes, files)
        for token, word in self.words.items():
            if misfit := word.misfit(self.layers):
                raise UsageError(f"{f'{files[token]}: ' if files else ''}'{token}': {misfit}")
            word.to(encoder.device)
        ids = diffusion.tokenizer.convert_tokens_to_ids
        self._slots = {
            ids(name): (token, slot)
            for token, names in self.names.items()
            for slot, name in enumerate(names)
        }
        self._table = Table(encoder.get_input_embeddings())
        encoder.set_input_embeddings(self._table)
        longest_first = sorted(self.words, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))
        self._windows: dict[tuple[str, bool], Tensor] = {}
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
        found = [word for word in _PSEUDO.findall(text) if word not in self.words]
        return [word for word in found if len(tokenize(word)) != 1]

    def expand(self, text: str) -> str:
        """A text with each word written out as the names of all its places."""
        return self._pattern.sub(lambda found: " ".join(self.names[found[0]]), text)

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

    def state(
        self, text: str, timesteps: Sequence[float], whole: bool = False
    ) -> Tensor | LayeredText:
        """One text for `conditioning.of_text`: (L, D) states, or those of all timesteps and layers
        where its words differ between them."""
        if self.depends(text):
            return self.ahead(text, timesteps, whole)
        return self.encode([text], torch.zeros(1), whole=whole).keys(0)[0]

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
        table = self._states(list(numbers), used, whole)
        key_index = torch.tensor(keys, device=table.device)
        if keys == values:
            return LayerStates(table, key_index, key_index)
        return LayerStates(table, key_index, torch.tensor(values, device=table.device))

    def _states(self, states: list[_State], used: dict[str, list[Word]], whole: bool) -> Tensor:
        """(S, L, D): keys and values of equal addresses come of one pass of the encoder."""
        together: dict[tuple[str, tuple[Hashable, ...]], list[int]] = {}
        for number, state in enumerate(states):
            together.setdefault((state.text, state.addresses), []).append(number)
        inputs = list(together)
        size = len(inputs) if torch.is_grad_enabled() else TOGETHER
        order: list[int] = []
        parts: list[Tensor] = []
        for start in range(0, len(inputs), size):
            some = inputs[start : start + size]
            rows = [
                Row(window, dict(zip(used[text], addresses, strict=True)))
                for text, addresses in some
                for window in self._read(text, whole)
            ]
            count = len(rows) // len(some)
            wanted = [
                (at * count, states[number].bypass)
                for at, one in enumerate(some)
                for number in together[one]
            ]
            order += [number for one in some for number in together[one]]
            asked = [(at + k, bypass) for at, bypass in wanted for k in range(count)]
            made = read(self.diffusion.text_encoder, self._table, self._slots, rows, asked)
            parts.append(made.unflatten(0, (-1, count)).flatten(1, 2))
        back = torch.tensor(order, device=parts[0].device).argsort()
        return torch.cat(parts)[back]

    def _read(self, text: str, whole: bool) -> Tensor:
        """(K, L) ids of a text's windows, K 1 unless ``whole``; kept between calls."""
        kept = self._windows.get((text, whole))
        if kept is None:
            tokenizer = self.diffusion.tokenizer
            ids = tokenizer(self.expand(text), add_special_tokens=False, verbose=False).input_ids
            size = tokenizer.model_max_length - 2
            parts = [ids[n : n + size] for n in range(0, len(ids), size)] or [[]]
            first, last = tokenizer.bos_token_id, tokenizer.eos_token_id
            kept = tokenizer.pad(
                {"input_ids": [[first, *part, last] for part in (parts if whole else parts[:1])]},
                padding="max_length",
                max_length=tokenizer.model_max_length,
                return_tensors="pt",
            )["input_ids"]
            if len(self._windows) >= 4096:
                self._windows.clear()
            self._windows[text, whole] = kept
        return kept


class _State(NamedTuple):
    """What some states depend on: the text and the addresses of its words; ``bypass``: whether they
    are changed behind the encoder, for values."""

    text: str
    addresses: tuple[Hashable, ...]
    bypass: bool


def as_arguments(states: LayerStates) -> dict[str, Any]:
    """The UNet's arguments: the states themselves where all layers read the same ones."""
    if states.same:
        return {"encoder_hidden_states": states.keys(0)}
    return {
        "encoder_hidden_states": states.middle,
        "cross_attention_kwargs": {layered.WORDS: states},
    }

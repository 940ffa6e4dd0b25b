"""A text whose states differ by timestep and layer, encoded before the first step of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from socialcli.diffusion.conditioning import PooledText
from socialcli.diffusion.layered import LayerStates, as_arguments

if TYPE_CHECKING:
    from socialcli.diffusion.lexicon import Lexicon


class LayeredText:
    """The states of one text with learned words, at the timesteps of a schedule.

    Attributes:
        table: (S, L, D), equal states once.
        pooled: (S, P), the pooled state of each, where the model is told one.
        keys, values: (n, T) int64, which of them n layers read at T timesteps.
    """

    def __init__(
        self, lexicon: Lexicon, text: str, timesteps: Sequence[float], whole: bool = False
    ) -> None:
        """Encode a text.

        Args:
            timesteps: of the sampler; others are encoded when they are first asked for.
            whole: see `Lexicon.encode`.
        """
        self._lexicon, self._text, self._whole = lexicon, text, whole
        self._columns: dict[float, int] = {}
        self._behind: list[Tensor] = []
        self.table = torch.empty(0)
        self.pooled: Tensor | None = None
        self.keys = self.values = torch.empty(0, dtype=torch.long)
        self.prepare(timesteps)

    def prepare(self, timesteps: Sequence[float]) -> bool:
        """Encode what is new at these timesteps; whether there was something."""
        new = [t for t in dict.fromkeys(map(float, timesteps)) if t not in self._columns]
        if not new:
            return False
        with torch.no_grad():
            states = self._lexicon.encode(
                [self._text] * len(new), torch.tensor(new, dtype=torch.float64), whole=self._whole
            )
        table = torch.cat([states.table, *[b.expand(len(states.table), -1, -1)
                                           for b in self._behind]], 1)  # fmt: skip
        keys, values = states.key_index, states.value_index
        pooled = states.pooled
        if self._columns:
            count = len(self.table)
            table = torch.cat([self.table, table])
            if pooled is not None and self.pooled is not None:
                pooled = torch.cat([self.pooled, pooled])
            keys = torch.cat([self.keys, keys + count], 1)
            values = torch.cat([self.values, values + count], 1)
        self.table, self.pooled, self.keys, self.values = table, pooled, keys, values
        self._columns |= {t: len(self._columns) + n for n, t in enumerate(new)}
        return True

    def __len__(self) -> int:
        """L, places of the text."""
        return self.table.shape[1]

    def followed(self, states: Tensor) -> LayeredText:
        """Itself with (M, D) states behind it, the same ones at every timestep."""
        longer: LayeredText = object.__new__(LayeredText)
        longer.__dict__.update(self.__dict__)
        longer._columns = dict(self._columns)
        longer._behind = [*self._behind, states]
        longer.table = torch.cat([self.table, states.expand(len(self.table), -1, -1)], 1)
        return longer

    def columns(self, timestep: float) -> tuple[Tensor, Tensor]:
        """(n,) numbers each of the states that keys, and values, are made of at a timestep."""
        column = self._columns[timestep]
        return self.keys[:, column], self.values[:, column]


class Rows:
    """Texts as a `conditioning.Condition`: each timestep, the states that each layer reads.

    Args:
        texts: one a row, (L, D) states, `PooledText` or `LayeredText`, of one length.
    """

    def __init__(self, texts: Sequence[Tensor | PooledText | LayeredText]) -> None:
        self.texts = list(texts)
        self.table, self.pooled, self.starts = self._table()

    def _table(self) -> tuple[Tensor, Tensor | None, list[int]]:
        """The texts' tables as one, a text that is there several times once, their pooled states,
        and where each row's begins."""
        starts: dict[int, int] = {}
        parts: list[Tensor] = []
        pooled: list[Tensor] = []
        count = 0
        for text in self.texts:
            if id(text) not in starts:
                part, own = _rows_of(text)
                starts[id(text)] = count
                parts.append(part)
                pooled += [] if own is None else [own]
                count += len(part)
        together = torch.cat(pooled) if pooled else None
        return torch.cat(parts), together, [starts[id(text)] for text in self.texts]

    def __call__(self, timesteps: Tensor) -> dict[str, Any]:
        """The UNet's arguments for rows at (B,) timesteps."""
        times = [float(t) for t in timesteps.tolist()]
        layered = [text for text in self.texts if isinstance(text, LayeredText)]
        if sum(text.prepare(times) for text in layered):
            self.table, self.pooled, self.starts = self._table()
        count = len(layered[0].keys)
        keys, values = [], []
        for text, time, start in zip(self.texts, times, self.starts, strict=True):
            if isinstance(text, LayeredText):
                key, value = text.columns(time)
            else:
                key = value = torch.zeros(count, dtype=torch.long, device=self.table.device)
            keys.append(key + start)
            values.append(value + start)
        key_index = torch.stack(keys, 1)
        alike = all(text.keys is text.values for text in layered)
        value_index = key_index if alike else torch.stack(values, 1)
        return as_arguments(LayerStates(self.table, key_index, value_index, self.pooled))


def _rows_of(text: Tensor | PooledText | LayeredText) -> tuple[Tensor, Tensor | None]:
    """(S, L, D) states of one text, and (S, P) pooled ones where it has any."""
    if isinstance(text, LayeredText):
        return text.table, text.pooled
    if isinstance(text, PooledText):
        return text.states[None], text.pooled[None]
    return text[None], None

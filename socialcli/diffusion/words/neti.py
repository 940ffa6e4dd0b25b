"""Vectors that a network makes of timestep and layer (NeTI, Alaluf et al., arXiv 2305.15391)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from socialcli.diffusion.words import Word, WordKind
from socialcli.networks.neti import HIDDEN, NeTIMapper

LAYERS = 16  # of Stable Diffusion 1.x and 2.x
BYPASS = 0.2  # weight of the textual bypass, section 4.3


class NetiWord(Word):
    """One place, whose vector a mapper makes; half of the mapper's output is the bypass.

    Attributes:
        weight: of the bypass; 0: the mapper has none.
        truncation: hidden units that count when it is drawn with, `HIDDEN` for all; fewer make a
            word that is easier to edit and less like the pictures.
    """

    kind = "neti"

    def __init__(self, token: str, mapper: NeTIMapper, weight: float = BYPASS) -> None:
        super().__init__(token, 1, mapper.out // 2 if weight else mapper.out)
        self.mapper, self.weight, self.truncation = mapper, weight, HIDDEN
        self.BYPASS = weight > 0  # type: ignore[misc]

    def address(self, timestep: float, layer: int, part: str, note: Any = None) -> Hashable:
        """``note``: for each layer how many hidden units count."""
        return timestep, layer, self.truncation if note is None else note[layer]

    def vectors(self, addresses: Sequence[Any]) -> Tensor:
        return self._made(addresses)[:, None, : self.width]

    def bypass(self, addresses: Sequence[Any], hidden: Tensor) -> Tensor:
        """The second half as a direction, as long as the state that it is added to."""
        direction = self._made(addresses)[:, None, self.width :]
        direction = direction / direction.norm(dim=-1, keepdim=True)
        longer = direction * hidden.float().norm(dim=-1, keepdim=True)
        return hidden + self.weight * longer.to(hidden.dtype)

    def _made(self, addresses: Sequence[Any]) -> Tensor:
        """(A, out) of the mapper."""
        parameter: Any = self.mapper.output_layer[0].weight
        given = torch.tensor(list(addresses), dtype=torch.float64).to(parameter)
        outputs: Tensor = self.mapper(given[:, 0], given[:, 1], given[:, 2])
        return outputs

    def settings(self) -> dict[str, Any]:
        mapper = self.mapper
        return {
            "layers": mapper.layers, "norm": mapper.norm, "bypass": self.weight,
            "positional": mapper.w is not None,
        }  # fmt: skip

    def truncate(self, units: int) -> None:
        self.truncation = min(units, HIDDEN)

    def misfit(self, layers: int) -> str:
        if self.mapper.layers == layers:
            return ""
        return f"for {self.mapper.layers} cross-attention layers, this model's UNet has {layers}"


class NetiKind(WordKind):
    """See `WordKind`."""

    def build(self, token: str, settings: dict[str, Any], tensors: dict[str, Tensor]) -> NetiWord:
        state = {name.removeprefix("mapper."): tensor for name, tensor in tensors.items()}
        norm = settings["norm"]
        network = mapper(
            state, int(settings["layers"]), None if norm is None else float(norm),
            bool(settings["positional"]),
        )  # fmt: skip
        return NetiWord(token, network, float(settings["bypass"]))


def mapper(
    state: dict[str, Tensor], layers: int, norm: float | None, positional: bool
) -> NeTIMapper:
    """A mapper with given weights.

    Raises:
        KeyError, RuntimeError, ValueError: they are another network's.
    """
    out = len(state["output_layer.0.weight"])
    rows = len(state["input_layer.weight"]) if positional else layers
    if layers < 1 or rows < 1 or rows % layers:  # nothing is made in a size that the file lacks
        raise ValueError(f"{layers} layers, {rows} rows")
    network = NeTIMapper(out, layers, norm, rows // layers, positional)
    network.load_state_dict(state)
    return network

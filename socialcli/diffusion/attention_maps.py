"""Cross-attention maps: how much each place of a picture attends to each token of its text.

    with AttentionMaps(unet, choose(unet, factors=(2,)), gradient=True) as maps:
        unet(latents, t, encoder_hidden_states=states)
        together = average(maps, 32)            # (B, heads, L, 32, 32)

A recorder reads the queries and keys that a layer's attention processor makes itself, through hooks
on the layer's two projections. So it works beside every processor (diffusers' own, those of
SSR-Encoder, IP-Adapter and learned words, fused or not), the layer's output stays the same to the
last bit, and a layer that is not chosen has no hook at all: it runs as fast as it did. What is
recorded is the attention to the text alone; tokens of subjects or pictures have keys of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from socialcli.errors import UsageError


@dataclass(frozen=True)
class Layer:
    """A cross-attention to the text.

    Attributes:
        name: of the module in the UNet, ``down_blocks.0.attentions.0.transformer_blocks.0.attn2``.
        index: its place among all of them in the order in which they run, from 0 (to 15 in Stable
            Diffusion 1.x).
        part: ``down``, ``mid`` or ``up``.
        factor: sides of the latents over sides of the map: 1, 2, 4, 8.
        heads: how many it has.
    """

    name: str
    index: int
    part: str
    factor: int
    heads: int


def layers_of(unet: Any) -> list[Layer]:
    """The cross-attentions of a UNet2DConditionModel, in the order in which they run.

    Raises:
        UsageError: it has none.
    """
    attentions = {n: m for n, m in unet.named_modules() if n.endswith(".attn2")}
    count = len(unet.down_blocks)
    factors = [1]
    for block in unet.down_blocks:
        factors.append(factors[-1] * (2 if getattr(block, "downsamplers", None) else 1))

    def place(name: str) -> tuple[int, str, int]:
        part, number = name.split("_")[0], name.split(".")[1]
        if part == "mid":
            return count, part, factors[count]
        at = int(number)
        if part == "down":
            return at, part, factors[at]
        # The upper block beside a lower one has its side; the uppermost is as large as the latents.
        return count + 1 + at, part, factors[count - 1 - at]

    # `named_modules` lists the upper blocks before the middle one; within a block it is in order.
    ordered = sorted(attentions, key=lambda name: place(name)[0])
    if not ordered:
        raise UsageError(f"{type(unet).__name__} has no cross-attention whose maps one could keep")
    return [
        Layer(name, index, *place(name)[1:], attentions[name].heads)
        for index, name in enumerate(ordered)
    ]


def choose(
    unet: Any,
    factors: Collection[int] | None = None,
    parts: Collection[str] | None = None,
    indices: Collection[int] | None = None,
) -> list[Layer]:
    """The layers of `layers_of` that fit all that is given.

    Args:
        factors: of 512-pixel pictures of Stable Diffusion, 1 has maps of 64 x 64, 2 of 32 x 32,
            4 of 16 x 16 and 8 of 8 x 8.
        parts: of ``down``, ``mid``, ``up``.
        indices: see `Layer.index`.

    Raises:
        UsageError: none fits.
    """
    layers = layers_of(unet)
    chosen = [
        layer
        for layer in layers
        if (factors is None or layer.factor in factors)
        and (parts is None or layer.part in parts)
        and (indices is None or layer.index in indices)
    ]
    if not chosen:
        there = ", ".join(f"{x.index} ({x.part}, 1/{x.factor})" for x in layers)
        raise UsageError(f"no cross-attention layer is as asked for; there are {there}")
    return chosen


class AttentionMaps:
    """Records the maps of the UNet's last call; a context manager, or `attach` and `close`.

    Where a network runs with gradient checkpointing, close it after the backward pass only: what a
    checkpointed block computed has to be computed again there.

    **Memory**: rows x heads x places x tokens numbers of 4 bytes a layer are kept (`memory` gives
    the sum; all 16 layers of a 512-pixel picture and 77 tokens: 66 MB a row). While a layer is read
    one head's rows x places x all tokens come on top; with ``gradient`` all heads of all layers, as
    the softmax needs them backward, whichever tokens are chosen.

    Attributes:
        layers: what is recorded.
        tokens: which columns of the text states are kept: None for all; their numbers, the same in
            every row; or (B, K) long, each row's own, -1 for none (a map of zeros). It may be set
            anew before each call.
        heads: which are kept; None for all.
        mean_heads: keep the mean of these heads instead of each.
        rows: which rows of the batch are kept, as ``slice(n, None)`` for those behind the
            unconditional ones; None for all.
        gradient: whether maps belong to the graph, up to the UNet's input and the text states.
        beside: (B, L, D) text states of other texts, whose maps with the same queries are recorded
            too, in ``others`` and never with gradient. It may be set anew before each call.
        maps: layer -> (B, heads, K, h, w) float32 (float64 of float64 networks), 0 to 1; a place's
            values sum to one over all tokens. Of the last call.
        others: the same of ``beside``.
        calls: of the UNet since it is attached.
        after: called with (itself, the call's timestep) after each call.
    """

    def __init__(
        self,
        unet: Any,
        layers: Sequence[Layer] | None = None,
        *,
        tokens: Sequence[int] | Tensor | None = None,
        heads: Sequence[int] | None = None,
        mean_heads: bool = False,
        rows: slice | None = None,
        gradient: bool = False,
        beside: Tensor | None = None,
        after: Callable[[AttentionMaps, Any], None] | None = None,
    ) -> None:
        self.unet = unet
        self.layers = list(layers_of(unet) if layers is None else layers)
        self.tokens, self.heads, self.mean_heads = tokens, heads, mean_heads
        self.rows, self.gradient, self.after = rows, gradient, after
        self.beside = beside
        self.maps: dict[Layer, Tensor] = {}
        self.others: dict[Layer, Tensor] = {}
        self.calls = 0
        self._handles: list[Any] = []
        self._projected: dict[tuple[str, str], Tensor] = {}
        self._size = (0, 0)

    def __enter__(self) -> AttentionMaps:
        return self.attach()

    def __exit__(self, *_: object) -> None:
        self.close()

    def attach(self) -> AttentionMaps:
        """Set the hooks.

        Raises:
            UsageError: heads that a layer does not have.
        """
        modules = dict(self.unet.named_modules())
        for layer in self.layers:  # before the first hook is set
            if self.heads is not None and not all(0 <= h < layer.heads for h in self.heads):
                raise UsageError(f"heads {list(self.heads)}: {layer.name} has {layer.heads}")
        for layer in self.layers:
            attention = modules[layer.name]
            for side in ("q", "k"):
                projection = getattr(attention, f"to_{side}")
                hook = self._keeper(layer.name, side)
                self._handles.append(projection.register_forward_hook(hook))
            self._handles.append(
                attention.register_forward_hook(self._reader(layer), with_kwargs=True)
            )
        self._handles.append(
            self.unet.register_forward_pre_hook(self._called, with_kwargs=True, prepend=True)
        )
        self._handles.append(self.unet.register_forward_hook(self._done, with_kwargs=True))
        return self

    def close(self) -> None:
        """Take the hooks off; the maps stay."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._projected.clear()

    # --- hooks ---

    def _called(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sample = args[0] if args else kwargs["sample"]
        self._size = (int(sample.shape[-2]), int(sample.shape[-1]))
        self.maps, self.others = {}, {}

    def _done(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        self.calls += 1
        if self.after is not None:
            self.after(self, args[1] if len(args) > 1 else kwargs["timestep"])

    def _keeper(self, name: str, side: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def keep(_: nn.Module, args: Any, output: Tensor) -> None:
            self._projected[name, side] = output

        return keep

    def _reader(
        self, layer: Layer
    ) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
        def read(
            attention: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
        ) -> None:
            query = self._projected.pop((layer.name, "q"), None)
            key = self._projected.pop((layer.name, "k"), None)
            if query is None or key is None:
                raise UsageError(
                    f"{layer.name} was run by {type(attention.processor).__name__}, which makes no "
                    "queries and keys of its own: unfuse the projections to record attention maps"
                )
            mask = kwargs.get("attention_mask")
            full = torch.autocast(query.device.type, enabled=False)  # not in half precision
            with full, torch.set_grad_enabled(self.gradient and torch.is_grad_enabled()):
                self.maps[layer] = self._map(layer, attention, query, key, mask)
            if self.beside is not None:
                with torch.no_grad():
                    states = self.beside.to(query.dtype)
                    if attention.norm_cross:
                        states = attention.norm_encoder_hidden_states(states)
                    other = attention.to_k(states)
                    self._projected.pop((layer.name, "k"))
                    with torch.autocast(query.device.type, enabled=False):
                        self.others[layer] = self._map(layer, attention, query, other, mask)

        return read

    def _map(
        self, layer: Layer, attention: Any, query: Tensor, key: Tensor, mask: Tensor | None
    ) -> Tensor:
        """(B, heads, K, h, w) of one layer's queries (B, places, C) and keys (B, L, C)."""
        height, width = (math.ceil(side / layer.factor) for side in self._size)
        if height * width != query.shape[1]:
            raise UsageError(
                f"{layer.name} has {query.shape[1]} places, not {height} x {width}: no map is made "
                "of a UNet whose blocks do not halve the latents"
            )
        if mask is not None:
            mask = attention.prepare_attention_mask(mask, key.shape[1], len(query), out_dim=4)
            mask = mask.expand(-1, layer.heads, -1, -1)
        rows = self.rows or slice(None)
        query, key = (x[rows].unflatten(-1, (layer.heads, -1)) for x in (query, key))
        query = query if getattr(attention, "norm_q", None) is None else attention.norm_q(query)
        key = key if getattr(attention, "norm_k", None) is None else attention.norm_k(key)
        wide = torch.promote_types(query.dtype, torch.float32)
        columns = _columns(self.tokens, key)
        chosen = range(layer.heads) if self.heads is None else self.heads
        each: list[Tensor] = []
        for head in chosen:  # one at a time: all heads' scores together are most of the memory
            scores = query[:, :, head].to(wide) @ key[:, :, head].to(wide).transpose(1, 2)
            scores = scores * attention.scale
            if mask is not None:
                scores = scores + mask[rows, head].to(wide)
            one = _select(scores.softmax(-1), columns).transpose(1, 2)
            if self.mean_heads and each:
                each[0] = each[0] + one
            else:
                each.append(one)
        maps = torch.stack(each, 1)
        maps = maps / len(chosen) if self.mean_heads else maps
        return maps.unflatten(-1, (height, width))


def _columns(tokens: Sequence[int] | Tensor | None, key: Tensor) -> Tensor | None:
    """(B or 1, K) numbers of tokens on the keys' device; None for all."""
    if tokens is None:
        return None
    columns = torch.as_tensor(tokens, dtype=torch.long, device=key.device)
    columns = columns[None] if columns.ndim == 1 else columns
    if columns.ndim != 2 or len(columns) not in (1, len(key)) or int(columns.max()) >= key.shape[1]:
        raise UsageError(
            f"tokens {tuple(columns.shape)} to {int(columns.max())} do not fit {len(key)} rows of "
            f"{key.shape[1]} tokens"
        )
    return columns


def _select(probabilities: Tensor, columns: Tensor | None) -> Tensor:
    """(B, places, L) -> (B, places, K)."""
    if columns is None:
        return probabilities
    columns = columns.expand(len(probabilities), -1)[:, None]
    taken = probabilities.gather(-1, columns.clamp(min=0).expand(-1, probabilities.shape[1], -1))
    return taken * (columns >= 0).to(taken.dtype)


def average(
    maps: AttentionMaps | dict[Layer, Tensor],
    side: int | tuple[int, int],
    mean_heads: bool = False,
) -> Tensor:
    """The mean over layers of their maps, brought to one size.

    Algorithm 1 of Identity Embedding (arXiv 2402.00631) calls this Re2 and takes 32 x 32. Sizes are
    changed bilinearly, so that the values of a place still sum to one over the tokens.

    Args:
        maps: a recorder, whose ``maps`` are meant, or such a dict (its ``others``).
        side: pixels of the maps, or (height, width).
        mean_heads: (B, 1, K, h, w); needed where layers have different numbers of heads, as those
            of Stable Diffusion 2 and XL have.

    Raises:
        UsageError: nothing is recorded, or layers have different numbers of heads.
    """
    layers = maps.maps if isinstance(maps, AttentionMaps) else maps
    if not layers:
        raise UsageError("no attention map is recorded: call the UNet first")
    size = (side, side) if isinstance(side, int) else tuple(side)
    every = [m.mean(1, keepdim=True) if mean_heads else m for m in layers.values()]
    if len({m.shape[1] for m in every}) > 1:
        raise UsageError("these layers have different numbers of heads: average over heads")
    # Resizing is linear: maps of one size are added first, and their sum is brought to the size.
    sums: dict[tuple[int, ...], Tensor] = {}
    for m in every:
        shape = tuple(m.shape[-2:])
        sums[shape] = sums[shape] + m if shape in sums else m
    total = torch.stack([resize(m, size) for m in sums.values()]).sum(0)
    return total / len(every)


def resize(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, heads, K, h, w) maps bilinearly to another (height, width); smaller ones are averages."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    flat = functional.interpolate(maps.flatten(1, 2), size, mode="bilinear", antialias=True)
    return flat.unflatten(1, maps.shape[1:3])


def memory(
    layers: Sequence[Layer],
    size: tuple[int, int],
    text_tokens: int,
    kept: int | None = None,
    rows: int = 1,
    heads: int | None = None,
    gradient: bool = False,
) -> int:
    """Bytes that recording one call of a float32 UNet takes at most.

    Args:
        layers: what is recorded. size: (height, width) of the latents.
        text_tokens: of a row. kept: how many of them are kept; None: all.
        rows: that are kept. heads: how many of each layer; None: all.
        gradient: see `AttentionMaps`.
    """
    held, largest = 0, 0
    for layer in layers:
        places = math.prod(math.ceil(side / layer.factor) for side in size)
        count = layer.heads if heads is None else heads
        held += count * places * (text_tokens if kept is None else kept)
        held += count * places * text_tokens if gradient else 0
        largest = max(largest, 2 * places * text_tokens)
    return 4 * rows * (held + largest)

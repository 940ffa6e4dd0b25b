"""Cross-attention that reads other text states in each layer, and others for keys than for values.

The states travel with a call of the UNet, as ``cross_attention_kwargs={"words": LayerStates}``. A
UNet that no learned word was attached to has its own processors and its own speed.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from socialcli.diffusion import attention_maps

WORDS = "words"  # the name among cross_attention_kwargs


@dataclass(frozen=True)
class LayerStates:
    """What B rows read in each of n layers.

    Attributes:
        table: (S, L, D) text states, each once.
        key_index, value_index: (n, B) int64, which of them.
        pooled: (S, P), the pooled state of each, where the model is told one.
    """

    table: Tensor
    key_index: Tensor
    value_index: Tensor
    pooled: Tensor | None = None

    def keys(self, layer: int) -> Tensor:
        """(B, L, D): the states that a layer's keys are made of."""
        return self.table[self.key_index[layer]]

    def values(self, layer: int) -> Tensor:
        """(B, L, D): the states that a layer's values are made of."""
        if self.value_index is self.key_index:
            return self.keys(layer)
        return self.table[self.value_index[layer]]

    @property
    def same(self) -> bool:
        """Whether all layers read the same, for keys and for values."""
        index = self.key_index
        return self.value_index is index and bool((index == index[:1]).all())

    @property
    def middle(self) -> Tensor:
        """(B, L, D): what the layer in the middle's keys read, for whoever can have but one."""
        return self.keys(len(self.key_index) // 2)

    @property
    def middle_pooled(self) -> Tensor | None:
        """(B, P): the pooled states of `middle`."""
        if self.pooled is None:
            return None
        return self.pooled[self.key_index[len(self.key_index) // 2]]

    def select(self, rows: Any) -> LayerStates:
        """Of some rows: an index, a slice or a list of indices."""
        keys = self.key_index[:, rows]
        same = self.value_index is self.key_index
        values = keys if same else self.value_index[:, rows]
        return LayerStates(self.table, keys, values, self.pooled)


def as_arguments(states: LayerStates, layered: bool = True) -> dict[str, Any]:
    """The UNet's arguments of rows whose layers read these states.

    Args:
        layered: False: all layers read the same ones, and the UNet is called as ever.
    """
    arguments: dict[str, Any] = {"encoder_hidden_states": states.middle}
    if layered:
        arguments["cross_attention_kwargs"] = {WORDS: states}
    pooled = states.middle_pooled
    if pooled is not None:
        arguments["added_cond_kwargs"] = {"text_embeds": pooled}
    return arguments


class LayeredAttention:
    """Attention processor that lets another one read the states of a layer.

    Args:
        layer: number of the cross-attention layer in order of execution; None for self-attention,
            which takes no notice.
        inner: what attends: the processor that stood here before.
    """

    def __init__(self, layer: int | None, inner: Any) -> None:
        self.layer, self.inner = layer, inner

    def __getattr__(self, name: str) -> Any:
        if name in ("inner", "layer"):  # not there yet: while it is copied
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def __call__(self) -> Any:
        """The call itself, with the parameters of `inner`: diffusers drops all that a processor's
        signature does not name."""
        return _call(self)


def _call(processor: LayeredAttention) -> Any:
    def attend(attn: Any, *args: Any, words: LayerStates | None = None, **more: Any) -> Tensor:
        if words is not None and processor.layer is not None:
            attn = _Reading(attn, words.keys(processor.layer), words.values(processor.layer))
        result: Tensor = processor.inner(attn, *args, **more)
        return result

    parameters = dict(inspect.signature(processor.inner.__call__).parameters)
    parameters[WORDS] = inspect.Parameter(WORDS, inspect.Parameter.KEYWORD_ONLY, default=None)
    ordered = sorted(parameters.values(), key=lambda p: p.kind)
    attend.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    return attend


class _Reading:
    """An attention layer whose keys and values are made of given states, whatever it is shown."""

    def __init__(self, attn: Any, keys: Tensor, values: Tensor) -> None:
        self._attn, self._keys, self._values = attn, keys, values

    def __getattr__(self, name: str) -> Any:
        return getattr(self._attn, name)

    def to_k(self, shown: Tensor) -> Tensor:
        projected: Tensor = self._attn.to_k(self._normed(self._keys, shown))
        return projected

    def to_v(self, shown: Tensor) -> Tensor:
        projected: Tensor = self._attn.to_v(self._normed(self._values, shown))
        return projected

    def _normed(self, states: Tensor, shown: Tensor) -> Tensor:
        if states.shape != shown.shape:
            raise ValueError(f"text states {tuple(states.shape)}, the layer has {shown.shape}")
        states = states.to(shown.dtype)
        if self._attn.norm_cross:
            states = self._attn.norm_encoder_hidden_states(states)
        return states


def layers(network: Any) -> list[str]:
    """Names of the cross-attention layers' processors in order of execution.

    Args:
        network: a UNet or a ControlNet of diffusers.
    """
    return [f"{layer.name}.processor" for layer in attention_maps.layers_of(network)]


def attach(network: Any) -> None:
    """Let each cross-attention layer of a UNet or ControlNet read its own states.

    What attends stays what it was. Without ``words`` among the call's ``cross_attention_kwargs``
    the result does, too.
    """
    numbers = {name: number for number, name in enumerate(layers(network))}
    replace(
        network,
        {
            name: processor
            if isinstance(processor, LayeredAttention)
            else LayeredAttention(numbers.get(name), processor)
            for name, processor in network.attn_processors.items()
        },
    )


def replace(network: Any, processors: dict[str, Any]) -> None:
    """Give some layers other processors; where words are attached, inside of `LayeredAttention`."""
    all_of_them = dict(network.attn_processors)
    for name, processor in processors.items():
        there = all_of_them[name]
        if isinstance(there, LayeredAttention) and not isinstance(processor, LayeredAttention):
            processor = LayeredAttention(there.layer, processor)
        all_of_them[name] = processor
    network.set_attn_processor(all_of_them)


def inside(network: Any) -> dict[str, Any]:
    """Name -> what attends there, `LayeredAttention` looked through."""
    return {
        name: processor.inner if isinstance(processor, LayeredAttention) else processor
        for name, processor in network.attn_processors.items()
    }

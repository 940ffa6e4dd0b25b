"""The UNet without what only training needs: the same operations, fewer of them.

Texts do not change from one step of the denoising loop to the next, so their keys and values are
computed once. What a layer has just made is changed in place, where diffusers makes a new tensor,
and nothing is divided by 1. A feed-forward sees as many pictures at once as a core's cache holds.
Every number stays what it was, to the last bit.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from diffusers.models.attention import BasicTransformerBlock, FeedForward
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from socialcli.networks.attention import attend, join_heads, split_heads
from socialcli.networks.ssr_encoder import SubjectAttention

CACHE = 2**20  # bytes of a core's own cache that a feed-forward may fill


@contextlib.contextmanager
def lean(unet: Any) -> Iterator[None]:
    """Within it a UNet of diffusers computes no more than inference needs.

    Only layers that are exactly diffusers' own are changed, and only as long as it lasts; adapters,
    attention processors and hooks see what they saw. A compiled UNet stays as it is. Weights must
    not change within it, nor a text in place.

    Raises:
        RuntimeError: gradients are wanted, which what is changed in place would spoil.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("`lean` is for inference: call it under torch.inference_mode()")
    changed: list[Any] = []
    if getattr(unet, "_compiled_call_impl", None) is None and not unet.training:
        for layer in unet.modules():
            if type(layer) is ResnetBlock2D and usual_resnet(layer):
                changed += put(layer, _resnet)
            elif type(layer) is GEGLU:
                changed += put(layer, _geglu)
            elif type(layer) is Attention and usual_attention(layer):
                changed += put(layer, attention)
            elif type(layer) is BasicTransformerBlock and _usual_block(layer):
                changed += put(layer, _block)
                for projection in _of_text(layer.attn2):
                    if type(projection) is nn.Linear:
                        changed += put(projection, _constant())
    try:
        yield
    finally:
        for layer in changed:
            del layer.forward


def _of_text(layer: Any) -> list[Any]:
    """What makes keys and values of the text, and of the subjects beside it."""
    more = layer.processor.layer if type(layer.processor) is SubjectAttention else None
    own = [] if more is None else [more.to_k_SSR, more.to_v_SSR]
    return [layer.to_k, layer.to_v, *own]


def put(layer: Any, forward: Callable[..., Any]) -> list[Any]:
    """Give a layer another ``forward``; the layer, or none where somebody else gave it one."""
    if "forward" in vars(layer):
        return []
    layer.forward = types.MethodType(forward, layer)
    return [layer]


def usual_resnet(layer: Any) -> bool:
    """Whether a layer is as Stable Diffusion's are; no others are known here."""
    return (
        layer.time_embedding_norm == "default" and layer.time_emb_proj is not None
        and layer.upsample is None and layer.downsample is None and not layer.skip_time_act
        and layer.output_scale_factor == 1 and isinstance(layer.nonlinearity, nn.SiLU)
    )  # fmt: skip


def usual_attention(layer: Any) -> bool:
    """The same of an attention layer."""
    norms = (layer.spatial_norm, layer.group_norm, layer.norm_q, layer.norm_k, layer.norm_cross)
    return (
        not any(norm is not None for norm in norms) and not layer.residual_connection
        and layer.rescale_output_factor == 1
    )  # fmt: skip


def _usual_block(layer: Any) -> bool:
    """The same of a transformer's block."""
    return (
        layer.norm_type == "layer_norm" and layer.pos_embed is None and layer._chunk_size is None
        and layer.attn2 is not None and not layer.only_cross_attention
    )  # fmt: skip


def _resnet(self: Any, input_tensor: Tensor, temb: Tensor, *_: Any, **__: Any) -> Tensor:
    """`ResnetBlock2D.forward` in place, without its division by 1."""
    hidden = self.conv1(F.silu(self.norm1(input_tensor), inplace=True))
    hidden += self.time_emb_proj(F.silu(temb))[:, :, None, None]
    hidden = self.conv2(F.silu(self.norm2(hidden), inplace=True))
    if self.conv_shortcut is not None:
        input_tensor = self.conv_shortcut(input_tensor)
    if hidden.stride() != input_tensor.stride():
        return input_tensor + hidden  # it has the first one's order in memory, as in diffusers
    hidden += input_tensor
    return hidden


def _geglu(self: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    """`GEGLU.forward` in place."""
    hidden, gate = self.proj(hidden_states).chunk(2, dim=-1)
    gated = F.gelu(gate)
    gated *= hidden
    return gated


def attention(
    self: Any,
    hidden_states: Tensor,
    encoder_hidden_states: Tensor | None = None,
    attention_mask: Tensor | None = None,
    **named: Any,
) -> Any:
    """`Attention.forward` with `AttnProcessor2_0`, without its division by 1; any other processor
    does what it did, ours without diffusers' look at its signature. In training too."""
    if type(self.processor) is SubjectAttention and not named.keys() - {"subjects"}:
        return self.processor(self, hidden_states, encoder_hidden_states, attention_mask, **named)
    if type(self.processor) is not AttnProcessor2_0 or attention_mask is not None or named:
        return Attention.forward(
            self, hidden_states, encoder_hidden_states, attention_mask, **named
        )
    seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
    parts = self.to_q(hidden_states), self.to_k(seen), self.to_v(seen)
    query, key, value = (split_heads(part, self.heads) for part in parts)
    return self.to_out[1](self.to_out[0](join_heads(attend(query, key, value))))


def _block(
    self: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    encoder_hidden_states: Tensor | None = None,
    encoder_attention_mask: Tensor | None = None,
    timestep: Tensor | None = None,
    cross_attention_kwargs: dict[str, Any] | None = None,
    class_labels: Tensor | None = None,
    added_cond_kwargs: dict[str, Any] | None = None,
) -> Tensor:
    """`BasicTransformerBlock.forward` in place, where nobody else sees what it changes."""
    usual: Any = BasicTransformerBlock.forward
    masks = attention_mask is not None or encoder_attention_mask is not None
    named = cross_attention_kwargs or {}
    foreign = named.keys() - {"subjects"}
    if masks or foreign or not all(map(_unseen, (self.attn1, self.attn2, self.ff))):
        as_ever: Tensor = usual(
            self, hidden_states, attention_mask, encoder_hidden_states, encoder_attention_mask,
            timestep, cross_attention_kwargs, class_labels, added_cond_kwargs,
        )  # fmt: skip
        return as_ever
    hidden: Tensor = self.attn1(self.norm1(hidden_states), **named)
    hidden += hidden_states
    attended = self.attn2(self.norm2(hidden), encoder_hidden_states=encoder_hidden_states, **named)
    hidden += attended
    for part in hidden.split(_together(self.ff, hidden)):
        part += self.ff(self.norm3(part))
    return hidden


def _unseen(layer: Any) -> bool:
    """Whether what a layer gives is its caller's alone, and made row by row."""
    if type(layer) is Attention:
        return type(layer.processor) in (AttnProcessor2_0, SubjectAttention) and not _hooked(layer)
    return type(layer) is FeedForward and not any(map(_hooked, layer.modules()))


def _hooked(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def _together(layer: Any, hidden: Tensor) -> int:
    """How many of the rows of (B, L, D) a feed-forward sees at once: a power of two."""
    if hidden.device.type != "cpu" or type(layer.net[0]) is not GEGLU:
        return len(hidden)
    each = hidden.shape[1] * layer.net[0].proj.out_features * hidden.element_size()
    return 1 << max(CACHE // each, 1).bit_length() - 1


def _constant() -> Callable[..., Tensor]:
    """`Linear.forward` that keeps what it made of the tensor that it was given last."""
    kept: tuple[Tensor, Tensor] | None = None

    def forward(self: nn.Linear, x: Tensor) -> Tensor:
        nonlocal kept
        if kept is None or kept[0] is not x:
            kept = x, F.linear(x, self.weight, self.bias)
        return kept[1]

    return forward

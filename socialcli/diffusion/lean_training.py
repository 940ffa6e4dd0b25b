"""The UNet in training, without what changes no number.

What a layer has just made is added to in place where no gradient needs it, nothing is divided by
1, and the gradient of a gated feed-forward is written where it belongs. In float32 every loss and
every gradient stays what it was, to the last bit. In bfloat16 on a CPU attention is computed by
plain products where it is short: the fused kernel's backward pass takes two to six times as long
there, and in float32, which trainings choose for all other attention, still twice as long where
there are many places. A step of the miniature is 1.05 times as fast as with float32's kernel alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.activations import GEGLU
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor
from torch.autograd.function import once_differentiable

from socialcli.diffusion import inference

WHOLE = 64  # numbers that a kernel takes at once, in the smallest type: of fewer, last bits differ


def attach(unet: Any) -> None:
    """Let a UNet of diffusers be trained with fewer operations from now on.

    Only layers that are exactly diffusers' own are changed; adapters, attention processors and
    hooks see what they saw. A compiled network, and any other than a UNet, stays as it is.
    """
    if getattr(unet, "_compiled_call_impl", None) is not None:
        return
    for layer in unet.modules():
        if type(layer) is ResnetBlock2D and inference.usual_resnet(layer):
            inference.put(layer, _resnet)
        elif type(layer) is GEGLU and layer.proj.out_features % (2 * WHOLE) == 0:
            inference.put(layer, _geglu)
        elif type(layer) is Attention and inference.usual_attention(layer):
            inference.put(layer, inference.attention)


def _added(given: Tensor, more: Tensor) -> Tensor:
    """``given + more``, in place where the sum is of the same type.

    ``given`` is of a convolution: what a linear layer gives is a view, whose gradients would be
    copied, and then summed in another order, if it were changed.
    """
    if given.dtype != more.dtype:
        return given + more
    given += more
    return given


def _resnet(self: Any, input_tensor: Tensor, temb: Tensor, *_: Any, **__: Any) -> Tensor:
    """`ResnetBlock2D.forward` in place, without its division by 1."""
    hidden = self.conv1(F.silu(self.norm1(input_tensor)))
    hidden = _added(hidden, self.time_emb_proj(F.silu(temb))[:, :, None, None])
    hidden = self.conv2(self.dropout(F.silu(self.norm2(hidden))))
    if self.conv_shortcut is not None:
        given = input_tensor.contiguous() if self.training else input_tensor  # as diffusers
        input_tensor = self.conv_shortcut(given)
    if hidden.stride() != input_tensor.stride():
        return input_tensor + hidden  # it has the first one's order in memory, as in diffusers
    return _added(hidden, input_tensor)


class _Gated(torch.autograd.Function):
    """hidden * gelu(gate) of both halves of (..., 2 D); both gradients are written into one
    tensor, which autograd would put together of two."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        hidden, gate = both.chunk(2, dim=-1)
        opened = F.gelu(gate)
        ctx.save_for_backward(both, opened)
        return hidden * opened

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        both, opened = ctx.saved_tensors
        hidden, gate = both.chunk(2, dim=-1)
        whole = torch.empty_like(both)
        of_hidden, of_gate = whole.chunk(2, dim=-1)
        torch.mul(gradient, opened, out=of_hidden)
        torch.ops.aten.gelu_backward.grad_input(gradient * hidden, gate, grad_input=of_gate)
        return whole


def _geglu(self: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    """`GEGLU.forward`."""
    gated: Tensor = _Gated.apply(self.proj(hidden_states))
    return gated

"""Scaled dot-product attention of the networks and layers that this package writes itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SHORT = 2**22  # scores, over all rows and heads, that may be kept for their gradient


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention of (B, heads, T, D) to (B, heads, S, D), (B, heads, T, D).

    ``bias``, which broadcasts to (B, heads, T, S), is added to the scores. It is torch's fused
    kernel, but for short attention that gets a gradient in 16 bit on a CPU: there plain products
    take a half to a sixth of the time of the kernel's backward pass. Long attention of that kind
    is the kernel's, which a training widens to float32 (`training.precision.wide_attention`).
    """
    half = query.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16)
    scores = query[..., 0].numel() * key.shape[-2]
    if not half or scores > SHORT or not torch.is_grad_enabled():
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    products = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if bias is not None:
        products = products + bias
    return products.softmax(-1).to(value.dtype) @ value


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, heads * D) -> (B, heads, T, D)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, heads, T, D) -> (B, T, heads * D)."""
    return x.transpose(1, 2).flatten(2)

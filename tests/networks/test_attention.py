"""Our own layers' attention against numpy in float64, and by what means it is computed."""

from __future__ import annotations

import numpy
import pytest
import torch
from torch.nn import functional

from socialcli.networks import attention
from socialcli.networks.attention import attend, join_heads, split_heads


def truth(query, key, value, bias=0.0):
    query, key, value = (part.detach().double().numpy() for part in (query, key, value))
    scores = query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5 + bias
    weights = numpy.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ value


@pytest.fixture()
def parts():
    torch.manual_seed(0)
    return [torch.randn(2, 3, length, 8, requires_grad=True) for length in (5, 7, 7)]


@pytest.mark.parametrize("dtype, near", [(torch.float32, 1e-6), (torch.bfloat16, 0.03)])
def test_with_and_without_bias(parts, dtype, near):
    bias = torch.randn(2, 1, 1, 7)
    narrow = [part.to(dtype) for part in parts]
    for added in (None, bias.to(dtype)):
        result = attend(*narrow, added)
        assert result.dtype == dtype
        exact = truth(*narrow, 0.0 if added is None else added.double().numpy())
        assert numpy.abs(result.detach().double().numpy() - exact).max() < near


def test_the_kernel_but_for_short_16_bit_with_gradients(parts, monkeypatch):
    calls = []
    kernel = functional.scaled_dot_product_attention

    def spy(*args, **named):
        calls.append(args[0].dtype)
        return kernel(*args, **named)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", spy)
    narrow = [part.bfloat16() for part in parts]
    attend(*narrow)
    assert not calls
    attend(*parts)
    with torch.no_grad():
        attend(*narrow)
    monkeypatch.setattr(attention, "SHORT", 2 * 3 * 5 * 7 - 1)
    attend(*narrow)
    assert calls == [torch.float32, torch.bfloat16, torch.bfloat16]


def test_gradients_of_plain_products(parts):
    """As near to those of float32 as 16 bit come."""
    exact = torch.autograd.grad(attend(*parts).square().sum(), parts)
    narrow = torch.autograd.grad(attend(*(p.bfloat16() for p in parts)).square().sum(), parts)
    for one, other in zip(narrow, exact, strict=True):
        assert float((one - other).norm() / other.norm()) < 0.02


def test_heads_split_and_join():
    rows = torch.randn(2, 5, 12)
    heads = split_heads(rows, 3)
    assert heads.shape == (2, 3, 5, 4) and torch.equal(heads[:, 1], rows[:, :, 4:8])
    assert torch.equal(join_heads(heads), rows)

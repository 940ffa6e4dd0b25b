"""16-bit attention on the CPU computes in float32 while it gets a gradient."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from socialcli.training import precision


def settings(mixed: str = "no", dtype: torch.dtype = torch.float32, **changed):
    config = SimpleNamespace(**{"mixed_precision": mixed, "compile": False, **changed})
    return config, SimpleNamespace(device=torch.device("cpu"), dtype=dtype)


def attend(layer: torch.nn.Linear, x: torch.Tensor, causal: bool) -> torch.Tensor:
    """(1, N, 12) of one head in four dimensions, whose queries, keys and values a layer makes."""
    q, k, v = (part[:, None] for part in layer(x).chunk(3, -1))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)[:, 0]


def gradients(dtype: torch.dtype, contexts, causal: bool, saving: bool = False):
    """Output and gradient with respect to the input, of weights that bfloat16 holds exactly."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(12, 12)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_((3 * parameter).bfloat16().float())
    layer.to(dtype)
    x = torch.randn(1, 30, 12).bfloat16().to(dtype).requires_grad_(True)
    first, second = contexts
    with first:
        with second:
            if saving:
                out = checkpoint(attend, layer, x, causal, use_reentrant=False)
            else:
                out = attend(layer, x, causal)
        (out.double() ** 2).sum().backward()
    return out.detach(), x.grad


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("mixed", "dtype"), [("bf16", torch.float32), ("no", torch.bfloat16)])
def test_it_is_float32_attention_of_16_bit_projections(mixed, dtype, causal, monkeypatch):
    given = settings(mixed, dtype)
    contexts = lambda: (precision.attention(*given), precision.autocast(*given))  # noqa: E731
    seen = []

    original = functional.scaled_dot_product_attention

    def see(*args, **named):
        seen.append([value.dtype for value in args])
        return original(*args, **named)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", see)
    out, gradient = gradients(dtype, contexts(), causal)
    assert functional.scaled_dot_product_attention is see  # as it was before the context
    assert seen == [[torch.float32] * 3] and out.dtype == torch.bfloat16
    # Projections are rounded to 16 bits, and so is what comes out; nothing between is.
    torch.manual_seed(0)
    layer = torch.nn.Linear(12, 12)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_((3 * parameter).bfloat16().float())
        x = torch.randn(1, 30, 12).bfloat16()
        projected = functional.linear(x, layer.weight.bfloat16(), layer.bias.bfloat16()).double()
    q, k, v = projected.chunk(3, -1)
    scores = q @ k.transpose(1, 2) / 2.0
    if causal:
        scores = scores.masked_fill(torch.ones(30, 30).triu(1).bool(), -torch.inf)
    assert torch.equal(out, (scores.softmax(-1) @ v).float().bfloat16())
    exact, exact_gradient = gradients(
        torch.float64, (precision.attention(*settings()),) * 2, causal
    )
    error = (gradient.double() - exact_gradient).norm() / exact_gradient.norm()
    assert error < 0.05 and (out.double() - exact).norm() / exact.norm() < 0.02


def test_what_is_computed_again_for_the_backward_pass_is_the_same():
    given = settings("bf16")
    results = [
        gradients(
            torch.float32, (precision.attention(*given), precision.autocast(*given)), False, saving
        )
        for saving in (False, True)
    ]
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


def test_all_else_stays_as_it_is():
    """float32 networks, pictures that are only looked at, and compiled networks."""
    from contextlib import nullcontext

    assert isinstance(precision.attention(*settings()), nullcontext)
    assert isinstance(precision.attention(*settings("bf16", compile=True)), nullcontext)
    q = torch.randn(1, 1, 40, 16).bfloat16()
    plain = functional.scaled_dot_product_attention(q, q, q)
    with precision.wide_attention(), torch.no_grad():
        assert torch.equal(functional.scaled_dot_product_attention(q, q, q), plain)

"""ProSpect's block: its shapes and names, and what it computes, by hand in float64."""

from __future__ import annotations

import math

import numpy
import pytest
import torch

from socialcli.networks.stage_tokens import StageTokens


@pytest.fixture(scope="module")
def block() -> StageTokens:
    torch.manual_seed(0)
    return StageTokens(12, 6, heads=2, head_width=5).eval()


def test_shapes_are_those_of_the_published_files():
    """Of ProSpect's ten vectors 768 wide: 31.48 million parameters under these names."""
    with torch.device("meta"):
        large = StageTokens(768, 10)
    shapes = {name: tuple(p.shape) for name, p in large.named_parameters()}
    assert shapes["attn1.to_q.weight"] == shapes["attn2.to_k.weight"] == (512, 768)
    assert shapes["attn1.to_out.0.weight"] == (768, 512)
    assert shapes["ff.net.0.proj.weight"] == (6144, 768)
    assert shapes["ff.net.2.weight"] == (7680, 3072)
    assert "attn1.to_v.bias" not in shapes and {"norm1.bias", "norm3.weight"} <= set(shapes)
    assert round(sum(p.numel() for p in large.parameters()) / 1e6, 2) == 31.48


def test_what_it_computes_by_hand(block):
    w = {k: v.double().numpy() for k, v in block.state_dict().items()}

    def norm(x, name):
        y = (x - x.mean()) / math.sqrt(x.var() + 1e-5)
        return y * w[f"{name}.weight"] + w[f"{name}.bias"]

    def attention(x, name):  # to itself alone: its own value
        value = w[f"{name}.to_v.weight"] @ x
        return w[f"{name}.to_out.0.weight"] @ value + w[f"{name}.to_out.0.bias"]

    given = torch.randn(12, generator=torch.Generator().manual_seed(1))
    x = given.double().numpy()
    x = x + attention(norm(x, "norm1"), "attn1")
    x = x + attention(norm(x, "norm2"), "attn2")
    both = w["ff.net.0.proj.weight"] @ norm(x, "norm3") + w["ff.net.0.proj.bias"]
    value, gate = numpy.split(both, 2)
    gelu = gate * 0.5 * (1 + numpy.vectorize(math.erf)(gate / math.sqrt(2)))
    out = w["ff.net.2.weight"] @ (value * gelu) + w["ff.net.2.bias"]
    with torch.no_grad():
        vectors = block(given)
    assert vectors.shape == (6, 12)
    assert numpy.allclose(vectors.numpy().ravel(), out, atol=1e-5)


def test_it_can_start_from_a_vector():
    torch.manual_seed(0)
    fresh = StageTokens(8, 4, heads=2, head_width=4)
    vector = torch.arange(8.0)
    fresh.start_from(vector)
    vectors = fresh(torch.randn(8))
    assert torch.equal(vectors, vector.expand(4, 8))
    vectors.square().sum().backward()
    assert fresh.ff.net[2].weight.grad.abs().max() > 0

"""The UNet in training: the same losses and gradients as diffusers' own, with less work."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from tiny import diffusion

from socialcli.diffusion import inference, lean_training
from socialcli.networks import attention


@pytest.fixture(scope="module")
def unet():
    return diffusion.networks()[2].train()


def both(unet):
    """A UNet as diffusers has it, and one that is lean."""
    plain, lean = copy.deepcopy(unet), copy.deepcopy(unet)
    lean_training.attach(lean)
    assert any("forward" in vars(layer) for layer in lean.modules())
    return plain, lean


def step(unet, precision=None, side=16):
    """The loss, and the gradients of all that trains and of the latents."""
    random = torch.Generator().manual_seed(0)
    latents = torch.randn(3, 4, side, side, generator=random).requires_grad_()
    text = torch.randn(3, diffusion.TOKENS, diffusion.WIDTH, generator=random)
    goal = torch.randn(3, 4, side, side, generator=random)
    torch.manual_seed(1)  # dropout
    mixed = torch.autocast("cpu", precision) if precision else contextlib.nullcontext()
    with mixed:
        said = unet(latents, torch.tensor([7, 400, 999]), text).sample
    loss = (said.float() - goal).square().mean()
    loss.backward()
    return [loss.detach(), latents.grad, *(p.grad for p in unet.parameters() if p.requires_grad)]


def same(one, other):
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("kind", ["all", "frozen", "checkpointing", "dropout", "channels last"])
def test_the_same_to_the_last_bit(unet, kind):
    pair = both(unet)
    for network in pair:
        if kind == "frozen":  # as beside an adapter: only keys of texts train
            network.requires_grad_(False).eval()
            network.mid_block.attentions[0].transformer_blocks[0].attn2.to_k.requires_grad_(True)
        elif kind == "checkpointing":
            network.enable_gradient_checkpointing()
        elif kind == "dropout":
            for layer in network.modules():
                if isinstance(layer, torch.nn.Dropout):
                    layer.p = 0.2
        elif kind == "channels last":
            network.to(memory_format=torch.channels_last)
    plain, lean = map(step, pair)
    assert same(lean, plain)
    assert float(plain[1].abs().max()) > 0


def test_an_attention_processor_sees_what_it_saw(unet):
    """What another processor gives is not changed in place: it may be kept."""
    kept = []

    class Keeps(inference.AttnProcessor2_0):
        def __call__(self, *given, **named):
            kept.append(super().__call__(*given, **named))
            return kept[-1]

    pair = both(unet)
    for network in pair:
        network.set_attn_processor(Keeps())
    plain, lean = map(step, pair)
    half = len(kept) // 2
    assert same(lean, plain) and half == 2 * len(blocks(unet))
    assert same(kept[half:], kept[:half])


def test_half_precision_on_a_cpu_trains_without_the_fused_kernel(unet, monkeypatch):
    fused, calls = torch.nn.functional.scaled_dot_product_attention, []

    def counted(*given, **named):
        calls.append(given[0].dtype)
        return fused(*given, **named)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    exact, (plain, lean) = step(copy.deepcopy(unet)), both(unet)
    assert set(calls) == {torch.float32}
    calls.clear()
    gradients = {"plain": step(plain, torch.bfloat16)}
    assert set(calls) == {torch.bfloat16}
    calls.clear()
    gradients["lean"] = step(lean, torch.bfloat16)
    assert not calls
    # As near to what float32 says as the fused kernel comes.
    far = {name: distance(values[1:], exact[1:]) for name, values in gradients.items()}
    assert 0 < far["lean"] < 1.3 * far["plain"] < 0.1
    # Long ones, and those that no gradient passes, stay fused: their scores are not kept.
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        lean(torch.randn(1, 4, 16, 16), 7, torch.randn(1, diffusion.TOKENS, diffusion.WIDTH))
    assert set(calls) == {torch.bfloat16}
    calls.clear()
    monkeypatch.setattr(attention, "SHORT", 10)
    step(lean, torch.bfloat16)
    assert set(calls) == {torch.bfloat16}


def test_a_compiled_network_stays_as_it_is(unet):
    network = copy.deepcopy(unet)
    network._compiled_call_impl = network.forward
    lean_training.attach(network)
    assert not any("forward" in vars(layer) for layer in network.modules())


def distance(one, other):
    """Of two lists of gradients, over the length of the second."""
    apart, whole = (
        sum(float(d.double().square().sum()) for d in parts) ** 0.5
        for parts in ([a.float() - b for a, b in zip(one, other, strict=True)], other)
    )
    return apart / whole


def blocks(unet):
    return [layer for layer in unet.modules() if isinstance(layer, inference.BasicTransformerBlock)]

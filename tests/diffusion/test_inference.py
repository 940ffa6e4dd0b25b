"""The lean UNet: the same numbers as diffusers' own, whatever hangs on its layers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from socialcli.diffusion import inference
from socialcli.networks import lora
from socialcli.networks.ssr_encoder import SSREncoder
from tests.tiny import diffusion


@pytest.fixture(scope="module", params=["contiguous", "channels last"])
def unet(request):
    network = diffusion.networks()[2]
    if request.param == "channels last":
        network.to(memory_format=torch.channels_last)
    return network.requires_grad_(False)


def inputs(seed, rows=4, side=16):
    random = torch.Generator().manual_seed(seed)
    latents = torch.randn(rows, 4, side, side, generator=random)
    return latents, torch.randn(rows, diffusion.TOKENS, diffusion.WIDTH, generator=random)


def steps(unet):
    """What it says at three steps, the last of which is told another text."""
    (first, text), (second, other) = inputs(0), inputs(1)
    calls = [(first, 801, text), (second, 401, text), (first, 401, other)]
    with torch.inference_mode():
        return [unet(x, t, encoder_hidden_states=states).sample for x, t, states in calls]


def lean_steps(unet):
    with torch.inference_mode(), inference.lean(unet):
        return steps(unet)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_same_to_the_last_bit(unet, monkeypatch):
    plain = steps(unet)
    assert not same(plain[:1], plain[1:2])
    for cache in (2**10, 2**14, 2**20):  # one picture, two, all at once
        monkeypatch.setattr(inference, "CACHE", cache)
        assert same(lean_steps(unet), plain)


def test_a_text_is_projected_once(unet, monkeypatch):
    texts = []
    linear = inference.F.linear

    def counted(x, *rest):
        texts.append(x)
        return linear(x, *rest)

    monkeypatch.setattr(inference.F, "linear", counted)
    lean_steps(unet)
    # Every layer of torch's goes through the same function.
    projected = [x for x in texts if x.shape[-2:] == (diffusion.TOKENS, diffusion.WIDTH)]
    assert len(projected) == 2 * 2 * len(blocks(unet))  # two texts, keys and values


def test_hooks_see_what_they_saw(unet):
    """An adapter with a weight for each row, and somebody who keeps what attention gives."""
    places = {
        (lora.UNET, name): lora.LowRank(torch.ones(2, layer.in_features) / 50,
                                        torch.ones(layer.out_features, 2) / 50, 2.0)
        for name, layer in unet.named_modules()
        if name.endswith(("attn1.to_q", "attn2.to_k", "ff.net.2"))
    }  # fmt: skip
    plain, kept = steps(unet), []
    adapter = lora.Lora({lora.UNET: unet}, places)
    adapter.weigh(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    attention = blocks(unet)[0].attn1
    hook = attention.register_forward_hook(lambda *given: kept.append(given[-1]))
    try:
        adapted, lean = steps(unet), lean_steps(unet)
    finally:
        hook.remove()
        adapter.remove()
    assert same(lean, adapted) and not same(adapted, plain)
    assert same(kept[3:], kept[:3])


def test_a_processor_keeps_what_it_gives(unet):
    """Nothing that another attention processor gives is changed in place."""
    given = {}

    class Always:
        def __call__(self, attn, hidden_states, **_):
            return given.setdefault(hidden_states.shape, torch.ones_like(hidden_states))

    processors = dict(unet.attn_processors)
    name = next(n for n in processors if n.endswith("attn1.processor"))
    unet.set_attn_processor({**processors, name: Always()})
    try:
        plain, lean = steps(unet), lean_steps(unet)
    finally:
        unet.set_attn_processor(processors)
    assert same(lean, plain)
    assert all(bool((kept == 1).all()) for kept in given.values())


def test_everything_is_put_back(unet):
    lean_steps(unet)
    assert not any("forward" in vars(layer) for layer in unet.modules())
    with pytest.raises(RuntimeError, match="inference"), inference.lean(unet):
        pass


def blocks(unet):
    return [layer for layer in unet.modules() if isinstance(layer, inference.BasicTransformerBlock)]


@pytest.fixture
def subjects(unet):
    """An SSR-Encoder in the UNet, and what four rows with two subjects call it with."""
    random = torch.Generator().manual_seed(3)
    width = diffusion.WIDTH
    torch.manual_seed(2)
    before = dict(unet.attn_processors)
    encoder = SSREncoder.create(unet, SimpleNamespace(hidden_size=8), width, 2, 2, 4)
    encoder.attach(unet)
    text = torch.randn(4, diffusion.TOKENS, width, generator=random)
    both = [torch.randn(4, 6, width, generator=random) for _ in range(2)]
    yield encoder, encoder.condition(text, both, [0.6, 0.9])
    unet.set_attn_processor(before)


def test_subjects_are_projected_once(unet, subjects, monkeypatch):
    encoder, condition = subjects
    latents = inputs(0)[0]
    projected, linear = [], torch.nn.functional.linear

    def counted(x, *rest):
        projected.append(x)
        return linear(x, *rest)

    def told():
        with torch.inference_mode():
            return [unet(latents, t, **condition).sample for t in (801, 401, 1)]

    plain = told()
    monkeypatch.setattr(torch.nn.functional, "linear", counted)
    with torch.inference_mode(), inference.lean(unet):
        lean = told()
    assert same(lean, plain) and not same(plain[:1], plain[1:2])
    of_text = [x for x in projected if x.shape[-2:] == (diffusion.TOKENS, diffusion.WIDTH)]
    of_subjects = [x for x in projected if x.shape[-2:] == (12, diffusion.WIDTH)]
    assert len(of_text) == len(of_subjects) == 2 * len(encoder.layers)


def test_in_training_every_layer_cuts_for_itself(subjects):
    """One cut for all would sum their gradients in another order."""
    _, condition = subjects
    parts = condition["cross_attention_kwargs"]["subjects"]
    states = condition["encoder_hidden_states"].requires_grad_()
    first, second = parts.split(states), parts.split(states)
    assert same(first, second) and first[1] is not second[1]
    with torch.no_grad():
        assert parts.split(states)[1] is parts.split(states)[1]
        assert same(parts.split(states), first)
        assert same(parts.split(states * 2), [2 * part for part in first])

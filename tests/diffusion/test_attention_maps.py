"""The attention recorder: probabilities of the processors, with gradients, and no other change."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import (
    Attention,
    AttnProcessor,
    AttnProcessor2_0,
    IPAdapterAttnProcessor2_0,
)
from torch.nn import functional
from transformers import CLIPVisionConfig

from socialcli.diffusion.attention_maps import (
    AttentionMaps,
    average,
    choose,
    layers_of,
    memory,
    resize,
)
from socialcli.errors import UsageError
from socialcli.networks.ssr_encoder import SSREncoder

WIDTH, TOKENS = 12, 7


def network(**changed) -> UNet2DConditionModel:
    """A UNet with attention in two lower blocks of three, in the middle and in two upper ones."""
    torch.manual_seed(0)
    options = {
        "sample_size": 16, "layers_per_block": 1, "block_out_channels": (8, 16, 16),
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": WIDTH, "attention_head_dim": 2, "norm_num_groups": 4,
    }  # fmt: skip
    return UNet2DConditionModel(**{**options, **changed}).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return network()


@pytest.fixture(autouse=True)
def nothing_stays(unet):
    yield
    left = {n: m for n, m in unet.named_modules() if m._forward_hooks or m._forward_pre_hooks}
    assert not left
    unet.set_attn_processor(AttnProcessor2_0())


def inputs(height=16, width=16, rows=2, dtype=torch.float32):
    random = torch.Generator().manual_seed(3)
    latents = torch.randn(rows, 4, height, width, generator=random, dtype=dtype)
    text = torch.randn(rows, TOKENS, WIDTH, generator=random, dtype=dtype) * 3
    return latents, torch.tensor(500), text


def unfused(unet, monkeypatch, latents, t, text, **more):
    """Layer name -> (B, heads, L, places): what diffusers' unfused processor computes itself."""
    names = {m: n for n, m in unet.named_modules()}
    probabilities = {}
    original = Attention.get_attention_scores

    def spy(self, query, key, mask=None):
        result = original(self, query, key, mask)
        if self.is_cross_attention:
            probabilities[names[self]] = result.unflatten(0, (len(latents), -1)).transpose(2, 3)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Attention, "get_attention_scores", spy)
        unet.set_attn_processor(AttnProcessor())
        unet(latents, t, text, **more)
    return probabilities


@pytest.mark.parametrize("size", [(16, 16), (8, 24), (20, 12)])
def test_maps_are_the_processors_own_softmax(unet, monkeypatch, size):
    latents, t, text = inputs(*size)
    expected = unfused(unet, monkeypatch, latents, t, text)
    unet.set_attn_processor(AttnProcessor2_0())
    with AttentionMaps(unet) as maps:
        unet(latents, t, encoder_hidden_states=text)
    assert {layer.name for layer in maps.maps} == set(expected) and len(expected) == 7
    for layer, one in maps.maps.items():
        assert one.shape == (2, layer.heads, TOKENS, *(-(-s // layer.factor) for s in size))
        assert torch.allclose(one.flatten(-2), expected[layer.name], atol=1e-6)
        assert torch.allclose(one.sum(2), torch.ones(()), atol=1e-5)


def test_a_mask_on_the_text_counts(unet, monkeypatch):
    latents, t, text = inputs()
    read = torch.ones(2, TOKENS, dtype=torch.bool)
    read[1, 4:] = False
    expected = unfused(unet, monkeypatch, latents, t, text, encoder_attention_mask=read)
    unet.set_attn_processor(AttnProcessor2_0())
    with AttentionMaps(unet) as maps:
        unet(latents, t, text, encoder_attention_mask=read)
    for layer, one in maps.maps.items():
        assert torch.allclose(one.flatten(-2), expected[layer.name], atol=1e-6)
        assert float(one[1, :, 4:].max()) < 1e-6 < float(one[0, :, 4:].max())


def test_layers_stand_in_the_order_in_which_they_run(unet):
    ran = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in unet.named_modules()
        if name.endswith(".attn2")
    ]
    unet(*inputs())
    for hook in hooks:
        hook.remove()
    layers = layers_of(unet)
    assert [layer.name for layer in layers] == ran
    assert [layer.index for layer in layers] == list(range(7))
    assert [(x.part, x.factor) for x in layers] == [
        ("down", 1), ("down", 2), ("mid", 4), ("up", 2), ("up", 2), ("up", 1), ("up", 1)
    ]  # fmt: skip
    assert [x.index for x in choose(unet, factors={1}, parts={"up"})] == [5, 6]
    assert [x.index for x in choose(unet, indices=[6, 0])] == [0, 6]
    with pytest.raises(UsageError, match=r"no cross-attention layer .* 2 \(mid, 1/4\)"):
        choose(unet, factors=[16])


def test_pictures_stay_and_other_layers_have_no_hook(unet):
    plain = unet(*inputs()).sample
    (middle,) = choose(unet, parts=["mid"])
    with AttentionMaps(unet, [middle]) as maps:
        assert torch.equal(unet(*inputs()).sample, plain)
        hooked = {n for n, m in unet.named_modules() if m._forward_hooks}
    assert hooked == {"", middle.name, f"{middle.name}.to_q", f"{middle.name}.to_k"}
    assert list(maps.maps) == [middle] and maps.calls == 1


def test_tokens_heads_and_rows_are_chosen(unet):
    with AttentionMaps(unet) as maps:
        unet(*inputs())
        every = dict(maps.maps)
    own = torch.tensor([[1, 5], [2, -1]])
    with AttentionMaps(unet, tokens=own, heads=[1, 0]) as maps:
        unet(*inputs())
        for layer, one in maps.maps.items():
            assert torch.equal(one[0], every[layer][0][[1, 0]][:, [1, 5]])
            assert torch.equal(one[1, :, 0], every[layer][1][[1, 0]][:, 2])
            assert not one[1, :, 1].any()
    some = slice(1, None)
    with AttentionMaps(unet, tokens=[3], rows=some, mean_heads=True) as maps:
        unet(*inputs())
        for layer, one in maps.maps.items():
            assert torch.allclose(one, every[layer][1:, :, 3:4].mean(1, keepdim=True), atol=1e-6)
    together = average(maps, 8)
    means = [every[x][1:, :, 3:4].mean(1, keepdim=True) for x in every]
    by_hand = [
        functional.interpolate(m[:, 0], (8, 8), mode="bilinear", antialias=True) for m in means
    ]
    assert torch.allclose(together[:, 0], torch.stack(by_hand).mean(0), atol=1e-6)


def test_maps_of_any_size_sum_to_one():
    maps = torch.randn(2, 3, TOKENS, 16, 8).softmax(2)
    for size in ((32, 32), (8, 4), (5, 7), (16, 8)):
        assert torch.allclose(resize(maps, size).sum(2), torch.ones(()), atol=1e-5)
    # Half the side is the mean of four, each of which counts as much.
    halved = functional.avg_pool2d(maps.flatten(1, 2), 2).unflatten(1, (3, TOKENS))
    assert torch.allclose(functional.interpolate(maps[0], (8, 4), mode="bilinear"), halved[0])


def test_gradients_agree_with_finite_differences():
    unet = network().double()
    latents, t, text = inputs(8, 8, 1, torch.float64)
    text.requires_grad_(True)
    wanted = torch.rand(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def loss(states, gradient):
        with AttentionMaps(unet, tokens=[2], gradient=gradient) as maps:
            unet(latents, t, states)
        return (average(maps, 4, mean_heads=True)[0, 0, 0] - wanted).square().sum()

    assert not loss(text, False).requires_grad
    (gradient,) = torch.autograd.grad(loss(text, True), text)
    assert gradient.abs().max() > 1e-3
    for place in ((0, 2, 3), (0, 5, 1)):
        step = torch.zeros_like(text)
        step[place] = 1e-5
        with torch.no_grad():
            difference = (loss(text + step, False) - loss(text - step, False)) / 2e-5
        assert abs(float(difference - gradient[place])) < 1e-6 * float(gradient.abs().max())


def test_gradient_checkpointing_changes_no_gradient():
    latents, t, text = inputs()
    results = []
    for checkpointing in (False, True):
        unet = network().train()
        if checkpointing:
            unet.enable_gradient_checkpointing()
        states = text.clone().requires_grad_(True)
        with AttentionMaps(unet, tokens=[1], gradient=True) as maps:
            noise = unet(latents, t, states).sample
            loss = average(maps, 8).square().mean() + noise.square().mean()
            loss.backward()
        results.append((float(loss.detach()), states.grad))
    assert results[0][0] == results[1][0] and torch.allclose(results[0][1], results[1][1])


def test_beside_ssr_encoder_and_ip_adapter(unet, monkeypatch):
    """Both add tokens with keys of their own; the maps are those of the text."""
    from socialcli.networks import ssr_encoder

    latents, t, text = inputs()
    seen = []

    def spy(q, k, v, bias=None):
        seen.append((q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1))
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    encoder = SSREncoder.create(
        unet, CLIPVisionConfig(hidden_size=8, num_attention_heads=2), WIDTH, 3, 2, 4
    )
    encoder.attach(unet)
    arguments = encoder.condition(text, [torch.randn(2, 5, WIDTH)], [0.7])
    with monkeypatch.context() as patch, AttentionMaps(unet) as maps:
        patch.setattr(ssr_encoder, "attend", spy)
        unet(latents, t, **arguments)
    ours = [p for p in seen if p.shape[-1] == TOKENS]
    assert len(ours) == len(maps.maps)
    for one, own in zip(maps.maps.values(), ours, strict=True):
        assert torch.allclose(one.flatten(-2).transpose(2, 3), own, atol=1e-6)

    unet.set_attn_processor(AttnProcessor2_0())
    with AttentionMaps(unet) as maps:
        unet(latents, t, text)
    before = maps.maps
    unet.set_attn_processor(
        {
            name: IPAdapterAttnProcessor2_0(x.to_k.out_features, WIDTH, (3,), 1.0)
            if name.endswith("attn2.processor")
            else AttnProcessor2_0()
            for name, x in (
                (n, unet.get_submodule(n.removesuffix(".processor"))) for n in unet.attn_processors
            )
        }
    )
    pictures = [torch.randn(2, 1, 3, WIDTH)]
    with monkeypatch.context() as patch, AttentionMaps(unet) as maps:
        patch.setattr(unet, "process_encoder_hidden_states", lambda **_: (text, pictures))
        unet(latents, t, text)
    first, last = layers_of(unet)[0], layers_of(unet)[-1]
    assert torch.allclose(maps.maps[first], before[first], atol=1e-6)  # no picture's word yet
    assert not torch.allclose(maps.maps[last], before[last], atol=1e-4)
    assert maps.maps[last].shape == before[last].shape


def test_memory_is_what_is_kept(unet):
    layers = choose(unet, factors=(1, 2))
    with AttentionMaps(unet, layers, tokens=[0, 1, 2]) as maps:
        unet(*inputs())
    held = sum(one.numel() * one.element_size() for one in maps.maps.values())
    largest = 2 * 4 * 2 * 16 * 16 * TOKENS
    assert memory(layers, (16, 16), TOKENS, kept=3, rows=2) == held + largest


def test_after_each_call_it_says_which(unet):
    steps = []
    with AttentionMaps(unet, tokens=[1], after=lambda maps, t: steps.append((maps.calls, int(t)))):
        latents, _, text = inputs()
        unet(latents, 700, text)
        unet(latents, timestep=300, encoder_hidden_states=text)
    assert steps == [(1, 700), (2, 300)]


def test_what_does_not_fit_is_said(unet):
    with pytest.raises(UsageError, match=r"heads \[9\]"):
        AttentionMaps(unet, heads=[9]).attach()
    unet.fuse_qkv_projections()
    with AttentionMaps(unet), pytest.raises(UsageError, match=r"FusedAttnProcessor2_0, .* unfuse"):
        unet(*inputs())
    unet.unfuse_qkv_projections()
    with AttentionMaps(unet, tokens=[TOKENS]) as maps, pytest.raises(UsageError, match="to 7 do"):
        unet(*inputs())
    with AttentionMaps(unet) as maps, pytest.raises(UsageError, match="call the UNet first"):
        average(maps, 8)


def test_maps_of_another_text_with_the_same_queries(unet, monkeypatch):
    """Algorithm 1 of Identity Embedding: only the keys are of the other text."""
    latents, t, text = inputs()
    other = torch.randn(2, TOKENS, WIDTH, generator=torch.Generator().manual_seed(8)) * 3
    plain = unet(latents, t, text).sample
    queries, keys = {}, {}
    names = {m: n for n, m in unet.named_modules()}
    original = Attention.get_attention_scores

    def spy(self, query, key, mask=None):
        if self.is_cross_attention:
            queries[names[self]], keys[names[self]] = query, key
        return original(self, query, key, mask)

    with monkeypatch.context() as patch:
        patch.setattr(Attention, "get_attention_scores", spy)
        unet.set_attn_processor(AttnProcessor())
        unet(latents, t, text)
    unet.set_attn_processor(AttnProcessor2_0())
    text.requires_grad_(True)
    with AttentionMaps(unet, tokens=[1, 2], gradient=True, beside=other) as maps:
        assert torch.equal(unet(latents, t, text).sample, plain)
    for layer, one in maps.others.items():
        module = unet.get_submodule(layer.name)
        key = module.head_to_batch_dim(module.to_k(other))
        expected = (queries[layer.name] @ key.transpose(1, 2) * module.scale).softmax(-1)
        expected = expected.unflatten(0, (2, layer.heads)).transpose(2, 3)[:, :, 1:3]
        assert torch.allclose(one.flatten(-2), expected, atol=1e-6)
        assert maps.maps[layer].requires_grad and not one.requires_grad
    assert list(maps.others) == list(maps.maps)
    same = average(maps.others, 8, mean_heads=True)
    assert same.shape == (2, 1, 2, 8, 8)


def test_maps_are_exact_where_layers_run_in_half_precision(unet):
    """Training runs under autocast; probabilities of bfloat16 sum to one to two digits only."""
    latents, t, text = inputs()
    with torch.autocast("cpu", torch.bfloat16), AttentionMaps(unet, beside=text) as maps:
        unet(latents, t, text)
    for recorded in (maps.maps, maps.others):
        for one in recorded.values():
            assert one.dtype == torch.float32
            assert torch.allclose(one.sum(2), torch.ones(()), atol=1e-5)

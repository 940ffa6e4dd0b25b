"""SSR-Encoder: against a computation of its own in float64, its files, several subjects."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from safetensors.torch import load_file
from transformers import CLIPVisionConfig, CLIPVisionModel

from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import ssr_encoder, ssr_layouts
from socialcli.networks.ssr_encoder import SSREncoder, SubjectAttention, image_features

TEXT, IMAGE, HEADS, HEAD, SCALES = 12, 10, 2, 4, 3


def unet(widths=(8, 16), text=TEXT):
    torch.manual_seed(0)
    network = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=widths,
        layers_per_block=1,
        cross_attention_dim=text,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    return network.eval()


@pytest.fixture
def encoder():
    torch.manual_seed(1)
    config = CLIPVisionConfig(hidden_size=IMAGE, num_attention_heads=2)
    encoder = SSREncoder.create(unet(), config, TEXT, SCALES, HEADS, HEAD)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.copy_(torch.randn_like(weight) * 0.5)
    return encoder.eval()


def wide(tensor):
    return tensor.detach().numpy().astype(numpy.float64)


def attention(q, k, v, heads, bias=0.0):
    """(T, heads * D) attention in float64, head by head, with loops."""
    out = numpy.zeros((len(q), v.shape[1]))
    depth = q.shape[1] // heads
    for h in range(heads):
        at = slice(h * depth, (h + 1) * depth)
        scores = q[:, at] @ k[:, at].T / numpy.sqrt(depth) + bias
        scores = numpy.exp(scores - scores.max(1, keepdims=True))
        out[:, at] = scores / scores.sum(1, keepdims=True) @ v[:, at]
    return out


def aligned(encoder, features, query, bias=0.0):
    """The aligner for one sample: a list of (N, IMAGE) and (T, TEXT), in float64."""
    w = {k: wide(v) for k, v in encoder.aligner.state_dict().items()}
    rows = []
    for i, depth in enumerate(features):
        out = attention(query @ w["to_q.weight"].T, features[-1] @ w["to_k.weight"].T,
                        depth @ w[f"to_v.{i}.weight"].T, HEADS, bias)  # fmt: skip
        rows.append(out @ w[f"to_out.{i}.weight"].T)
    rows = numpy.concatenate(rows)
    centred = rows - rows.mean(1, keepdims=True)
    return (
        centred / numpy.sqrt(rows.var(1, keepdims=True) + 1e-5) * w["norm.weight"] + w["norm.bias"]
    )


def test_subject_tokens_are_the_definition(encoder):
    features = torch.randn(2, SCALES * 10, IMAGE)
    query = torch.randn(2, 5, TEXT)
    with torch.no_grad():
        tokens = encoder.subject_tokens(features, query)
        listed = encoder.subject_tokens(list(features.chunk(SCALES, 1)), query)
    assert tokens.shape == (2, SCALES * 5, TEXT)
    assert torch.equal(tokens, listed)
    for i in range(2):
        depths = numpy.split(wide(features[i]), SCALES)
        truth = aligned(encoder, depths, wide(query[i]))
        assert numpy.abs(wide(tokens[i]) - truth).max() < 1e-5


def test_a_mask_adds_its_square_inside_and_takes_its_weight_outside(encoder):
    features, query = torch.randn(1, SCALES * 10, IMAGE), torch.randn(1, 5, TEXT)
    mask = torch.zeros(1, 3, 3)
    mask[0, 1, 2] = 1
    with torch.no_grad():
        tokens = encoder.subject_tokens(features, query, mask, mask_weight=3.0)
    bias = numpy.full(10, -3.0)
    bias[0], bias[1 + 3 + 2] = 1.0, 9.0
    truth = aligned(encoder, numpy.split(wide(features[0]), SCALES), wide(query[0]), bias)
    assert numpy.abs(wide(tokens[0]) - truth).max() < 1e-5
    large = ssr_encoder.mask_bias(mask.repeat_interleave(8, 1).repeat_interleave(8, 2), 9, 3.0)
    assert large.argmax() == 6 and large.shape == (1, 1, 1, 10)


def layer():
    torch.manual_seed(2)
    return Attention(query_dim=16, cross_attention_dim=TEXT, heads=2, dim_head=8)


def crossed(attn, own, hidden, text, tokens, value_scale):
    """One layer for one sample in float64: text attention plus subject attention."""
    w = {k: wide(v) for k, v in attn.state_dict().items()}
    q = hidden @ w["to_q.weight"].T
    out = attention(q, text @ w["to_k.weight"].T, text @ w["to_v.weight"].T, 2)
    k, v = wide(own.to_k_SSR.weight), wide(own.to_v_SSR.weight)
    out = out + attention(q, tokens @ k.T, (tokens @ v.T) * value_scale[:, None], 2)
    return out @ w["to_out.0.weight"].T + w["to_out.0.bias"]


def test_each_subject_has_its_own_scale(encoder):
    attn, own = layer(), encoder.subject_layers[0]
    hidden, text = torch.randn(1, 6, 16), torch.randn(1, 4, TEXT)
    subjects = [torch.randn(1, 3, TEXT), torch.randn(1, 5, TEXT)]
    given = encoder.condition(text, subjects, [0.3, 1.7])
    with torch.no_grad():
        attended = SubjectAttention(own)(
            attn, hidden, given["encoder_hidden_states"], **given["cross_attention_kwargs"]
        )
    tokens = numpy.concatenate([wide(s[0]) for s in subjects])
    scale = numpy.array([0.3] * 3 + [1.7] * 5)
    truth = crossed(attn, own, wide(hidden[0]), wide(text[0]), tokens, scale)
    assert numpy.abs(wide(attended[0]) - truth).max() < 1e-5


def test_compat_gives_all_subjects_the_first_scale(encoder):
    attn, own = layer(), encoder.subject_layers[0]
    hidden, text = torch.randn(1, 6, 16), torch.randn(1, 4, TEXT)
    subjects = [torch.randn(1, 3, TEXT), torch.randn(1, 3, TEXT)]
    encoder.compat = True
    outputs = []
    for scales in ([0.8, 0.2], [0.8, 1.5]):
        given = encoder.condition(text, subjects, scales)
        with torch.no_grad():
            outputs.append(
                SubjectAttention(own)(
                    attn, hidden, given["encoder_hidden_states"], **given["cross_attention_kwargs"]
                )
            )
    assert torch.equal(*outputs)
    tokens = 0.8 * numpy.concatenate([wide(s[0]) for s in subjects])
    truth = crossed(attn, own, wide(hidden[0]), wide(text[0]), tokens, numpy.ones(6))
    assert numpy.abs(wide(outputs[0][0]) - truth).max() < 1e-5


def test_a_unet_without_subjects_stays_what_it_was_and_with_them_does_not(encoder):
    plain, attached = unet(), unet()
    encoder.attach(attached)
    latents, t, text = torch.randn(2, 4, 8, 8), torch.tensor([3, 700]), torch.randn(2, 4, TEXT)
    tokens = encoder.subject_tokens(torch.randn(2, 30, IMAGE), torch.randn(2, 4, TEXT))
    with torch.no_grad():
        before = plain(latents, t, text).sample
        without = attached(latents, t, **encoder.condition(text)).sample
        silent = attached(latents, t, **encoder.condition(text, [tokens], [0.0])).sample
        heard = attached(latents, t, **encoder.condition(text, [tokens], [1.0])).sample
        one = attached(
            latents, t, **encoder.condition(text, [tokens], [torch.tensor([0.0, 1.0])])
        ).sample
    assert torch.allclose(before, without, atol=1e-6)
    assert torch.allclose(before, silent, atol=1e-6)
    assert (heard - before).abs().max() > 1e-3
    assert torch.allclose(one[0], before[0], atol=1e-6)
    assert torch.allclose(one[1], heard[1], atol=1e-6)


def test_the_layers_are_the_encoders_not_the_unets(encoder):
    attached = unet()
    names = set(attached.state_dict())
    encoder.attach(attached)
    attached.requires_grad_(False)
    assert set(attached.state_dict()) == names
    tokens = encoder.subject_tokens(torch.randn(1, 30, IMAGE), torch.randn(1, 4, TEXT))
    given = encoder.condition(torch.randn(1, 4, TEXT), [tokens], [1.0])
    attached(torch.randn(1, 4, 8, 8), 10, **given).sample.square().sum().backward()
    for name, weight in encoder.named_parameters():
        assert weight.grad is not None and weight.grad.abs().max() > 0, name
    assert all(p.grad is None for p in attached.parameters())


def test_a_new_encoder_reads_subjects_as_the_unet_reads_text():
    net = unet()
    encoder = SSREncoder.create(
        net, CLIPVisionConfig(hidden_size=IMAGE, num_attention_heads=2), TEXT
    )
    attentions = ssr_encoder.cross_attentions(net)
    assert encoder.places == tuple(place for place, _, _ in attentions)
    assert all(place % 2 == 1 for place in encoder.places)  # every other one is self-attention
    for own, (_, _, its) in zip(encoder.subject_layers, attentions, strict=True):
        assert torch.equal(own.to_k_SSR.weight, its.to_k.weight)
        assert torch.equal(own.to_v_SSR.weight, its.to_v.weight)


def test_features_are_equal_steps_that_end_at_the_last_layer():
    torch.manual_seed(0)
    vision = CLIPVisionModel(
        CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=12,
                         num_attention_heads=2, image_size=16, patch_size=8)
    ).eval()  # fmt: skip
    pixels = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        states = vision(pixels, output_hidden_states=True).hidden_states
        assert torch.equal(image_features(vision, pixels), torch.cat(states[2::2], 1))
        assert torch.equal(image_features(vision, pixels, 3), torch.cat(states[4::4], 1))
        with pytest.raises(UsageError, match=r"13 scales .* 12 layers"):
            image_features(vision, pixels, 13)


def test_files_come_back_as_they_went(encoder, tmp_path):
    ssr_layouts.save(encoder, tmp_path, {"seed": "7"})
    back = ssr_layouts.load(tmp_path)
    assert back.aligner.heads == HEADS  # not what the width alone would say
    assert back.places == encoder.places and back.scales == SCALES
    for name, weight in encoder.state_dict().items():
        assert torch.equal(weight, back.state_dict()[name]), name
    for name in ssr_layouts.FILES:
        assert ssr_layouts.read_metadata(tmp_path / name)["seed"] == "7"
    written = load_file(tmp_path / "model.safetensors")
    assert "aligner.processor.to_v.2.weight" in written and "norm.bias" in written
    assert set(load_file(tmp_path / "model_1.safetensors")) == {
        f"{p}.to_{x}_SSR.weight" for p in encoder.places for x in "kv"
    }
    ssr_layouts.save(encoder, tmp_path / "half", dtype=torch.float16)
    half = load_file(tmp_path / "half" / "model.safetensors")
    assert {v.dtype for v in half.values()} == {torch.float16}


def official(folder, first="aligner", key="to_k_SSR", value="to_v_SSR", layers=12):
    """Random weights under the official names and shapes, small; returns them."""
    torch.manual_seed(3)
    aligner = {
        f"{first}.to_q.weight": torch.randn(64, TEXT),
        f"{first}.to_k.weight": torch.randn(64, IMAGE),
        "norm.weight": torch.randn(TEXT), "norm.bias": torch.randn(TEXT),
    }  # fmt: skip
    for i in range(6):
        aligner[f"{first}.processor.to_v.{i}.weight"] = torch.randn(64, IMAGE)
        aligner[f"{first}.processor.to_out.{i}.weight"] = torch.randn(TEXT, 64)
    own = {}
    for place in range(1, 2 * layers, 2):
        own[f"{place}.{key}.weight"] = torch.randn(8 + place, TEXT)
        own[f"{place}.{value}.weight"] = torch.randn(8 + place, TEXT)
    folder.mkdir(exist_ok=True)
    torch.save(aligner, folder / "pytorch_model.bin")
    torch.save(own, folder / "pytorch_model_1.bin")
    return aligner, own


@pytest.mark.parametrize(
    "names", [{}, {"first": "attn1", "key": "to_k_SC", "value": "to_v_SC"}], ids=["new", "old"]
)
def test_official_files_in_both_namings(tmp_path, names):
    aligner, own = official(tmp_path, **names)
    encoder = ssr_layouts.load(tmp_path)
    assert encoder.places == tuple(range(1, 24, 2))
    assert (encoder.text_dim, encoder.image_dim, encoder.scales) == (TEXT, IMAGE, 6)
    assert encoder.aligner.heads == 1  # 64 wide each
    assert torch.equal(encoder.aligner.to_v[5].weight, next(
        v for k, v in aligner.items() if k.endswith("to_v.5.weight")
    ))  # fmt: skip
    # Layer 21 comes after layer 3, whatever the order of their names.
    last = encoder.subject_layers[10].to_v_SSR.weight
    assert torch.equal(last, next(v for k, v in own.items() if k.startswith("21.to_v")))
    pair = (tmp_path / "pytorch_model_1.bin", tmp_path / "pytorch_model.bin")
    assert torch.equal(ssr_layouts.load(pair).aligner.norm.bias, aligner["norm.bias"])


def test_what_does_not_fit_is_said_in_a_line(encoder, tmp_path):
    with pytest.raises(ModelMissing, match=r"no SSR-Encoder in .*Get them with: fetch it"):
        ssr_layouts.load(tmp_path, get="fetch it")
    with pytest.raises(UsageError, match="this one has"):
        encoder.attach(unet((8, 32)))
    with pytest.raises(UsageError, match="text 20"):
        encoder.attach(unet(text=20))
    with pytest.raises(UsageError, match="3 scales of image features 10 wide"):
        encoder.subject_tokens(torch.randn(1, 30, IMAGE + 1), torch.randn(1, 5, TEXT))
    with pytest.raises(UsageError, match="1 subjects and 2 scales"):
        encoder.condition(torch.randn(1, 4, TEXT), [torch.randn(1, 3, TEXT)], [1.0, 1.0])
    aligner, _ = official(tmp_path)
    aligner["aligner.to_k.weight"] = torch.randn(32, IMAGE)
    torch.save(aligner, tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match="not SSR-Encoder weights"):
        ssr_layouts.load(tmp_path)
    torch.save({"conv.weight": torch.randn(2, 2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"there is a tensor 'conv\.weight'"):
        ssr_layouts.load(tmp_path)

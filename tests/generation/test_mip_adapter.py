"""MIP-Adapter on a tiny SDXL: its attention against the formula, and real pictures with it."""

from __future__ import annotations

import json
from pathlib import Path

import conftest
import drawings
import numpy
import pytest
import torch
from diffusers.models.attention_processor import Attention
from drawings import failure
from parts import part
from PIL import Image
from tiny import adapters as tiny
from tiny import sdxl as tiny_xl

from socialcli.cli import profiles
from socialcli.cli.commands import generate
from socialcli.errors import UsageError
from socialcli.networks.subject_attention import Named, SubjectAttention
from socialcli.pipeline.run import RunOptions


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("models")
    tiny_xl.stable_diffusion_xl(place / "xl")
    tiny.vision(place / "vision")
    unet = tiny_xl.unet()
    for kind in ("plain", "plus"):
        torch.save(tiny.mip(unet, kind), place / f"{kind}.bin")
    torch.save(tiny.parts("plain", unet), place / "ip-adapter.bin")
    for number, name in enumerate(("dog", "ball")):
        Image.effect_mandelbrot((40, 40), (-2 + number, -1, 1, 1), 20).convert("RGB").save(
            place / f"{name}.png"
        )
    return place


def run(models: Path, out: Path, kind: str = "plain", **options) -> dict:
    given = {
        "model": str(models / "xl"), "steps": 3,
        "prompt": ["a dog holds a ball"], "adapter_model": str(models / f"{kind}.bin"),
        "image_encoder_model": str(models / "vision"), "query": ["dog", "ball"],
        "reference": [str(models / "dog.png"), str(models / "ball.png")], **options,
    }  # fmt: skip
    return drawings.run("mip-adapter", out, **given)["00000"]


def pixels(members: dict) -> numpy.ndarray:
    return drawings.pixels(members["png"])


def test_the_attention_is_the_formula():
    """Place by place, head by head, in float64."""
    torch.manual_seed(0)
    rows, places, channels, heads, width, subjects = 2, 6, 8, 2, 5, 2
    layer = Attention(channels, width, heads=heads, dim_head=channels // heads).double()
    k, v, gate = (torch.randn(*shape).double() for shape in ((8, 5), (8, 5), (1, 8)))
    own = SubjectAttention(k, v, gate)
    x, text = torch.randn(rows, places, channels).double(), torch.randn(rows, 7, width).double()
    tokens = torch.randn(rows, subjects, 3, width).double()
    words = torch.randn(rows, subjects, 7, width).double()
    lengths = torch.tensor([[1, 2], [3, 1]])
    own.scale, own.named = 0.6, Named(words, lengths)
    with torch.no_grad():
        attended = own(layer, x, (text, [tokens]))
        expected = torch.stack([
            _row(layer, x[r], text[r], tokens[r], words[r], lengths[r], (k, v, gate), 0.6)
            for r in range(rows)
        ])  # fmt: skip
    assert torch.allclose(attended, expected, atol=1e-10)


def _row(layer, x, text, tokens, words, lengths, weights, scale):
    k, v, gate = weights
    heads = layer.heads
    size = x.shape[-1] // heads

    def attend(keys, values):
        out = []
        for h in range(heads):
            part_of = slice(h * size, (h + 1) * size)
            q = layer.to_q(x)[:, part_of]
            out.append(torch.softmax(q @ keys[:, part_of].T / size**0.5, -1) @ values[:, part_of])
        return torch.cat(out, -1)

    attended = attend(layer.to_k(text), layer.to_v(text))
    shares = []
    for own, length in zip(words, lengths.tolist(), strict=True):
        keys, maps = layer.to_k(own), []
        for h in range(heads):
            part_of = slice(h * size, (h + 1) * size)
            scores = keys[:, part_of] @ layer.to_q(x)[:, part_of].T / size**0.5
            maps.append(torch.softmax(scores, -1)[1 : 1 + length].mean(0))
        shares.append(torch.stack(maps).mean(0))
    total = sum(shares)
    g = torch.sigmoid(attended @ gate[0])
    g = g / g.mean()
    result = attended
    for share, own in zip(shares, tokens, strict=True):
        result = result + (share / total * g)[:, None] * scale * attend(own @ k.T, own @ v.T)
    return layer.to_out[0](result)


@pytest.mark.parametrize("kind", ["plain", "plus"])
def test_pictures_of_two_subjects(models, tmp_path, kind):
    members = run(models, tmp_path / "a", kind)
    record = json.loads(members["generated.json"])
    assert (
        record["models"]["adapter"]["backend"] == f"mip-adapter{'' if kind == 'plain' else '-plus'}"
    )
    assert [r["scale"] for r in record["references"]] == [0.6, 0.6]
    swapped = run(models, tmp_path / "b", kind, query=["ball", "dog"])
    assert (pixels(members) != pixels(swapped)).any()


def test_without_weight_it_is_the_text_alone(models, tmp_path):
    config = part("methods.generate", "text").Config
    given = {"backend": "sdxl", "model": str(models / "xl"), "steps": 3, "device": "cpu",
             "prompt": ["a dog holds a ball"]}  # fmt: skip
    values = profiles.values(None, "generate", config, given, "text")
    none = run(models, tmp_path / "c", scale=[0.0])
    values["prompt"] = ["a dog holds a ball"]
    prompts = tmp_path / "one.csv"
    seed = json.loads(none["generated.json"])["seed"]
    prompts.write_text(f"key,prompt,seed\nx,a dog holds a ball,{seed}\n")
    values["prompt"], values["prompts"] = [], [str(prompts)]
    generate.run("text", values, [], str(tmp_path / "t"), RunOptions(quiet=True))
    (text,) = conftest.members(tmp_path / "t").values()
    assert abs(pixels(none) - pixels(text)).max() <= 1
    whole = run(models, tmp_path / "d")
    assert abs(pixels(none) - pixels(whole)).max() > 4


def test_it_wants_two_named_subjects_and_its_own_file(models, tmp_path):
    one = failure(tmp_path / "one", lambda out: run(models, out, query=["dog"]))
    assert "two subjects, each named by a --query" in one
    two = failure(tmp_path / "two", lambda out: run(models, out, scale=[0.5, 0.6]))
    assert "give one scale" in two
    with pytest.raises(UsageError, match=r"ip-adapter.bin: IP-Adapter: take --method ip-adapter"):
        run(models, tmp_path / "no", "ip-adapter")

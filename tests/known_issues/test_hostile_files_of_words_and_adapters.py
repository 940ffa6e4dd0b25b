"""Files of learned words, LoRAs and drawings from strangers ended in tracebacks, or never.

A header's JSON nested a hundred thousand deep, a word "for 0 layers" or for a thousand million, a
rank of 0, an alpha that is no number, a pattern that a regular expression never ends with, a cut
file: each is refused in one line now. So is a drawing's text that asks for more pixels than memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pace
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from socialcli.diffusion import embeddings, word_files
from socialcli.errors import SampleFailed, UsageError
from socialcli.importers import layout as importer
from socialcli.networks import (
    adapter_files,
    custom_diffusion,
    lora,
    lora_files,
    pose_judge,
    weights,
)
from socialcli.networks.neti import NeTIMapper
from socialcli.vision import layouts

DEEP = "[" * 100_000


def refused(read: Any, *arguments: Any) -> str:
    """What one line says of a file that is refused; anything but that one line fails."""
    with pytest.raises((UsageError, SampleFailed)) as error:
        read(*arguments)
    text = str(error.value)
    assert "\n" not in text and "Error" not in text and len(text) < 500, text
    return text


def words(kind: str, settings: Any, **tensors: torch.Tensor) -> tuple[dict[str, Any], dict]:
    """Tensors and header of one learned word."""
    header = {word_files.KINDS: json.dumps({"<x>": {"kind": kind, "settings": settings}})}
    return {f"<x>/{name}": tensor for name, tensor in tensors.items()}, header


def neti(**changed: Any) -> tuple[dict[str, Any], dict]:
    state = NeTIMapper(8, 2, None, 2).state_dict()
    settings = {"layers": 2, "norm": None, "bypass": 0.2, "positional": True, **changed}
    return words("neti", settings, **{f"mapper.{n}": t for n, t in state.items()})


ONES = torch.ones(2, 8)
WORDS = {
    "deep": ({"<x>/new": ONES}, {word_files.KINDS: DEEP}),
    "no JSON": ({"<x>/new": ONES}, {word_files.KINDS: "{"}),
    "a list": ({"<x>/new": ONES}, {word_files.KINDS: "[1]"}),
    "no settings": ({"<x>/new": ONES}, {word_files.KINDS: '{"<x>": {"kind": "p-plus"}}'}),
    "another kind": words("__init__", {}, new=ONES),
    "nothing": words("neti", {}),
    "0 layers": neti(layers=0),
    "-2 layers": neti(layers=-2),
    "a thousand million layers": neti(layers=10**9),
    "infinitely many": neti(layers=float("inf")),
    "3 layers of 2": neti(layers=3),
    "no number": neti(layers=[]),
    "a vector": words("p-plus", {}, layers=torch.ones(8)),
    "two tensors": words("p-plus", {}, layers=torch.ones(2, 1, 8), more=ONES),
    "no stages": words("staged", {"order": "noisy-first"}, stages=torch.ones(0, 1, 1, 8)),
    "no order": words("staged", {"order": DEEP[:50]}, stages=torch.ones(2, 1, 1, 8)),
    "not finite": words("p-plus", {}, layers=torch.full((2, 1, 8), torch.nan)),
    "not finite in 8 bits": words(
        "p-plus", {}, layers=torch.full((2, 1, 8), torch.nan).to(torch.float8_e4m3fn)
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_words(tmp_path, name):
    tensors, header = WORDS[name]
    save_file(tensors, tmp_path / "words.safetensors", header)
    refused(word_files.read, str(tmp_path / "words.safetensors"))


def test_notes_that_are_only_read_along_do_not_matter(tmp_path):
    tensors, header = words("p-plus", {}, layers=torch.ones(2, 1, 8))
    for note in (DEEP, "null", "[1]", '{"a": [1]}', "x"):
        more = {"initial_words": note, "socialcli.models": note}
        save_file(tensors, tmp_path / "words.safetensors", header | more)
        (one,) = word_files.read(str(tmp_path))
        assert one.plain == "" and one.base == ("", "")


NETWORKS = {lora.UNET: nn.ModuleDict({"attn": nn.ModuleDict({"to_q": nn.Linear(6, 4)})})}


def adapter(down: Any = None, up: Any = None, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "unet.attn.to_q.lora.down.weight": torch.ones(2, 6) if down is None else down,
        "unet.attn.to_q.lora.up.weight": torch.ones(4, 2) if up is None else up,
        **{f"unet.attn.to_q.{name}": tensor for name, tensor in more.items()},
    }


def stated(**more: Any) -> dict[str, str]:
    return {lora_files.HEADER: json.dumps({f"unet.{k}": v for k, v in more.items()})}


LORAS: dict[str, tuple[dict[str, torch.Tensor], dict[str, str]]] = {
    "rank 0": (adapter(torch.ones(0, 6), torch.ones(4, 0)), {}),
    "a number": (adapter(torch.tensor(1.0), torch.tensor(1.0)), {}),
    "a row": (adapter(torch.ones(6), torch.ones(4)), {}),
    "alpha nan": (adapter(alpha=torch.tensor(torch.nan)), {}),
    "alpha infinite": (adapter(alpha=torch.tensor(torch.inf)), {}),
    "two alphas": (adapter(alpha=torch.ones(2)), {}),
    "a deep header": (adapter(), {lora_files.HEADER: DEEP}),
    "a list": (adapter(), {lora_files.HEADER: "[1]"}),
    "alpha in words": (adapter(), stated(lora_alpha="four")),
    "alpha of nothing": (adapter(), stated(lora_alpha=None)),
    "alpha 1e999": (adapter(), {lora_files.HEADER: '{"unet.lora_alpha": 1e999}'}),
    "patterns in a list": (adapter(), stated(alpha_pattern=["to_q"])),
    "a pattern of nothing": (adapter(), stated(alpha_pattern={"to_q": []})),
    "too large for the layer": (adapter(torch.ones(2, 7)), {}),
}


@pytest.mark.parametrize("name", LORAS)
def test_loras(tmp_path, name):
    tensors, header = LORAS[name]
    save_file(tensors, tmp_path / "x.safetensors", header)
    refused(lora_files.read, str(tmp_path / "x.safetensors"), NETWORKS)


def test_patterns_are_names(tmp_path):
    """As a regular expression the second name takes longer than the sun shines."""
    patterns = {"to_q": 4, "(a|aa|(a|aa)+)+" * 9 + "b": 1, "[": 3}
    save_file(adapter(), tmp_path / "x.safetensors", stated(alpha_pattern=patterns))
    layers, _ = lora_files.read(str(tmp_path / "x.safetensors"), NETWORKS)
    assert [layer.alpha for layer in layers.values()] == [4]


@pytest.mark.parametrize("scale", ["nan", "inf", "-inf", "x", ""])
def test_scales(scale):
    message = refused(lambda: lora_files.split(f"x.safetensors:{scale}"))
    assert "FILE:SCALE" in message


def cut(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: len(data) - 9])


BROKEN = {
    "cut": cut,
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_text("<html>not found</html>"),
    "a huge header": lambda file: file.write_bytes(b"\xff" * 8 + b"{}"),
    "a header of nothing": lambda file: file.write_bytes((2).to_bytes(8, "little") + b"[]"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_safetensors(tmp_path, name):
    file = tmp_path / "x.safetensors"
    save_file(adapter(), file, {})
    BROKEN[name](file)
    for read in (
        word_files.read,
        lambda place: weights.read(place, "gaze"),
        lambda place: lora_files.read(place, NETWORKS),
        lambda place: custom_diffusion.read(place, NETWORKS[lora.UNET]),
        pose_judge.read,
    ):
        refused(read, str(file))


DELTAS: dict[str, Any] = {
    "no tensors": {"unet": {"attn.to_q.weight": {"u": 1, "v": 2}}},
    "other shapes": {
        "unet": {"attn.to_q.weight": {"u": torch.ones(2, 3), "v": torch.ones(2, 3)}}
    },
    "numbers for tokens": {"state_dict": {"embed": 7}},
    "foreign blocks": {
        "state_dict": {"model.diffusion_model.cellar.1.attn2.to_k.weight": torch.ones(1)}
    },
}  # fmt: skip


@pytest.mark.parametrize("name", DELTAS)
def test_custom_diffusion(tmp_path, name):
    torch.save(DELTAS[name], tmp_path / "delta.bin")
    refused(custom_diffusion.read, str(tmp_path), NETWORKS[lora.UNET])


def toml(**segment: Any) -> str:
    fields = {"prompt": '"a dog"', "place": '"left"', **segment}
    return 'prompt = "a dog"\n[[segments]]\n' + "\n".join(f"{k} = {v}" for k, v in fields.items())


TEXTS = {
    "deep.toml": "prompt = " + DEEP,
    "long.toml": "size = [" + "9" * 5000 + ", 8]",
    "near.toml": toml(depth='"near"'),
    "yes.toml": toml(depth="true"),
    "list.toml": toml(depth="[1]"),
    "date.toml": toml(word="2020-01-01"),
    "keys.toml": toml(keypoints='"x"'),
    "giant.toml": "size = [20000, 20000]\n" + toml() + toml().partition("\n")[2] * 3,
    "giant.txt": "prompt: a dog\nsize: 20000x20000\n" + "left: a dog\n" * 200,
    "digits.txt": f"prompt: a dog\nsize: {'9' * 5000}x8\nleft: a dog\n",
    "many.txt": "prompt: a dog\n" + "left: a dog\n" * 20_000,
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_layouts(name):
    def read() -> None:
        text = TEXTS[name]
        importer.made(
            importer.of_toml(text) if name.endswith("toml") else importer.of_text(text), None
        )

    assert pace.loops(lambda: refused(read)) < 40


def test_a_photograph_for_a_drawing_is_refused_in_time():
    import numpy
    from PIL import Image

    noise = numpy.random.default_rng(0).integers(0, 256, (800, 800, 3), numpy.uint8)
    wanted = [f"#{n:06x}" for n in range(250)]
    assert pace.loops(lambda: refused(layouts.of_picture, Image.fromarray(noise), wanted)) < 80


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n and more", b"PK\x03\x04", b"\x80\x02cos\n"]
)
def test_what_is_no_file_of_weights_is_not_named_by_an_exception(tmp_path, data):
    """An IP-Adapter that was a picture "cannot be read (UnpicklingError)"."""
    for suffix in (".bin", ".safetensors"):
        file = tmp_path / f"a{suffix}"
        file.write_bytes(data)
        refused(adapter_files.read, file)
        refused(weights.read, file, "face")
        refused(custom_diffusion._load, file)
        refused(embeddings._state, file)

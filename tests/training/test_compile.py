"""--compile: which networks are compiled, when, and what is refused. Whether compiled networks
compute the same is torch's business; the real compiler takes too long for a test."""

from __future__ import annotations

import dataclasses

import pytest
import scenes
import torch
from parts import part
from tiny import diffusion as tiny

from socialcli import registry, shards
from socialcli.backends import devices
from socialcli.errors import UsageError
from socialcli.training import loop


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("model")))


@pytest.fixture
def compiled(monkeypatch) -> list[str]:
    """The classes of the networks that were compiled, and of those called after that."""
    named: list[str] = []

    def compile(self, *_, **__):
        named.append(type(self).__name__)

    monkeypatch.setattr(torch.nn.Module, "compile", compile)
    return named


def train(method: str, data, output, **changed) -> None:
    kind = registry.load("methods.train", method)
    values = {
        **dataclasses.asdict(kind.config_type()), "device": "cpu", "dtype": "float32",
        "quiet": True, "mixed_precision": "no", "steps": 1, "batch_size": 2,
        **changed,
    }  # fmt: skip
    loop.run("train", method, kind, values, [str(data)], str(output))


def test_training_compiles_the_unet_once_and_saves_it_by_its_own_names(tmp_path, model, compiled):
    from safetensors.torch import load_file

    data = tmp_path / "a.tar"
    shards.write(data, [(f"{n}", scenes.members(n)) for n in range(2)])
    for name, on in (("plain", False), ("fast", True)):
        train("text-to-image", data, tmp_path / name, model=model, compile=on)
    assert compiled == ["UNet2DConditionModel"]
    file = "unet/diffusion_pytorch_model.safetensors"
    plain, fast = (load_file(tmp_path / name / file) for name in ("plain", "fast"))
    assert plain.keys() == fast.keys()
    assert all(torch.equal(plain[name], fast[name]) for name in plain)


def test_what_has_nothing_to_compile_says_so(tmp_path):
    with pytest.raises(UsageError, match="pose-judge has no network that --compile"):
        train("pose-judge", tmp_path / "no.tar", tmp_path / "out", compile=True)


def test_generate_compiles_the_unet_and_tells_its_shards_apart(model, compiled):
    text = part("methods.generate", "text")
    config = text.config_type(prompt=["a dog"], model=model, device="cpu", dtype="float32")
    stage = registry.load("methods.generate", "text").as_stage()
    before = stage.facts(config)
    assert "compiled" not in before
    config.compile = True
    assert stage.facts(config) == {**before, "compiled": True}
    text.load(config)
    assert compiled == ["UNet2DConditionModel"]


def test_without_a_compiler_one_line_says_so(monkeypatch):
    monkeypatch.setattr(devices.shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UsageError, match=r"C\+\+ compiler \(g\+\+ or clang\+\+\)"):
        devices.compile_network(torch.nn.Linear(1, 1), "cpu")


def test_a_lean_unet_trains_to_the_same_weights(tmp_path, model, monkeypatch):
    """Its layers are those of `diffusion.lean_training`, whose numbers are diffusers' own."""
    from safetensors.torch import load_file

    from socialcli.diffusion import lean_training

    data = tmp_path / "a.tar"
    shards.write(data, [(f"{n}", scenes.members(n)) for n in range(2)])
    attach, attached = lean_training.attach, []

    def noted(network):
        attached.append(type(network).__name__)
        attach(network)

    for name, how in (("lean", noted), ("plain", lambda network: None)):
        monkeypatch.setattr(lean_training, "attach", how)
        train("text-to-image", data, tmp_path / name, model=model, steps=2)
    assert attached == ["UNet2DConditionModel"]
    file = "unet/diffusion_pytorch_model.safetensors"
    lean, plain = (load_file(tmp_path / name / file) for name in ("lean", "plain"))
    assert lean.keys() == plain.keys()
    assert all(torch.equal(lean[name], plain[name]) for name in plain)

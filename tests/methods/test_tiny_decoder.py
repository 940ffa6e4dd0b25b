"""A small decoder: it learns from a model's own, goes on where it was, and is read again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import scenes
import torch
from parts import part
from tiny import diffusion as tiny

from socialcli import backends, shards
from socialcli.backends import ModelSpec
from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import tiny_decoder

method = part("methods.train", "tiny-decoder")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> str:
    place = tmp_path_factory.mktemp("data") / "a.tar"
    shards.write(place, [(f"{n}", {"jpg": scenes.picture(n, size=(40, 36))}) for n in range(4)])
    return str(place)


def train(output: Path, inputs: str, model: str, **changed) -> None:
    from socialcli.training import loop

    small = {
        "device": "cpu", "dtype": "float32", "quiet": True, "mixed_precision": "no", "steps": 16,
        "batch_size": 4, "micro_batch": 2, "model": model, "width": 8, "blocks": "1,1,0",
        "variants": 1, "learning_rate": 1e-2, "noise": 0.1, "checkpoint_every": 5, "keep": 5,
    }  # fmt: skip
    values = {**dataclasses.asdict(method.Config()), **small, **changed}
    loop.run("train", "tiny-decoder", method, values, [inputs], str(output))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pictures, model) -> Path:
    place = tmp_path_factory.mktemp("decoder")
    train(place, pictures, model)
    return place


def test_it_comes_nearer_to_the_models_own_decoder(trained, model):
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    values = [
        [v[f"loss/{n}"] for v in lines if "loss" in v] for n in ("reconstruction", "response")
    ]
    assert len(values[0]) == 16
    assert sum(values[0][-3:]) < 0.8 * sum(values[0][:3]) and min(values[1]) > 0


def test_gone_on_with_it_ends_with_the_same_bytes(tmp_path, trained, pictures, model):
    """As if it had been killed after ten steps: what was written by then, and no more."""
    kept = Path("checkpoints") / "step-000010"
    shutil.copytree(trained / kept, tmp_path / kept)
    train(tmp_path, pictures, model)
    name = tiny_decoder.WEIGHTS
    assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


def test_diffusers_reads_the_decoder(trained, capfd):
    """The layout is AutoencoderTiny's: its own class decodes to the same numbers."""
    import diffusers

    capfd.readouterr()
    decoder = tiny_decoder.load(trained)
    assert capfd.readouterr().err == ""
    config = json.loads((trained / tiny_decoder.CONFIG).read_text())
    in_diffusers = diffusers.AutoencoderTiny.from_config(config)
    missing = in_diffusers.load_state_dict(decoder.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all(name.startswith("encoder.") for name in missing.missing_keys)
    latents = torch.randn(2, 4, 5, 6)
    with torch.no_grad():
        assert torch.equal(decoder(latents), in_diffusers.decode(latents).sample)
    assert decoder(latents).shape == (2, 3, 20, 24) and decoder.factor == 4


def test_a_whole_autoencoder_tiny_is_read_too(tmp_path):
    """TAESD's folder has an encoder, and settings of its own."""
    import diffusers

    torch.manual_seed(0)
    whole = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1), scaling_factor=0.5,
    )  # fmt: skip
    whole.save_pretrained(tmp_path)
    loaded = backends.load(ModelSpec("decoder", "autoencoder-tiny", str(tmp_path)))
    latents = torch.randn(1, 4, 3, 3, requires_grad=True)
    drawn = loaded.decode(latents)
    assert torch.equal(drawn, whole.decode(latents / 0.5).sample)
    drawn.sum().backward()
    assert latents.grad.abs().sum() > 0
    assert all(p.grad is None for p in loaded.network.parameters())


def test_what_is_refused(tmp_path, trained, pictures, model):
    for blocks, reason in (("1,1", "has 3 sizes"), ("1,x,1", "numbers with commas")):
        with pytest.raises(UsageError, match=reason):
            train(tmp_path / "no", pictures, model, blocks=blocks)
    with pytest.raises(UsageError, match="AutoencoderKL, not an AutoencoderTiny"):
        tiny_decoder.load(Path(model) / "vae")
    with pytest.raises(ModelMissing, match="hf download madebyollin/taesd"):
        backends.load(ModelSpec("decoder", "autoencoder-tiny", "someone/nowhere"))
    large = backends.load(ModelSpec("decoder", "autoencoder-tiny", str(trained)))
    other = type("Other", (), {"factor": 8, "vae": type("Vae", (), {})()})()
    other.vae.config = type("Config", (), {"latent_channels": 4})()
    with pytest.raises(UsageError, match="another diffusion model: 4 channels and 4 pixels"):
        large.check(other)

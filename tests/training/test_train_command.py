"""`socialcli train` and `invert` as people call them, and plain fine-tuning against diffusers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import COMMAND, ENVIRONMENT, picture
from tiny import diffusion as tiny

from socialcli import shards
from socialcli.training import checkpoints


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def captioned(tmp_path_factory) -> str:
    place = tmp_path_factory.mktemp("data") / "a.tar"
    samples = []
    for number in range(5):
        caption = json.dumps({"schema": 1, "text": f"a dog number {number}"}).encode()
        samples.append(
            (f"{number:03d}", {"jpg": picture(number, (40, 36)), "caption.json": caption})
        )
    shards.write(place, samples)
    return str(place)


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


TRAIN = ("train", "--method", "text-to-image", "--device", "cpu")


def test_help_names_every_option(run_cli):
    for command in ("train", "invert"):
        text = run_cli(command, "--help").stdout.decode()
        for flag in ("--method", "--steps", "--learning-rate", "--profile-steps", "--profile"):
            assert flag in text


def test_it_trains_and_diffusers_loads_the_result(tmp_path, captioned, model, run_cli):
    """A sigterm on the way, the same command again, and the model that comes out."""
    import torch
    from safetensors import safe_open

    line = [
        *COMMAND, *TRAIN, captioned, "--model", model, "-o", str(tmp_path / "out"),
        "--batch-size", "2", "--checkpoint-every", "1000", "--learning-rate", "0.001",
        "--prompt", "a dog", "--sampling-steps", "2",
    ]  # fmt: skip
    first = subprocess.Popen(  # of more steps than a busy machine takes before the signal comes
        [*line, "--steps", "100000"], env={**os.environ, **ENVIRONMENT},
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    log = tmp_path / "out" / "log.jsonl"
    while not log.exists() or log.stat().st_size < 400:
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    assert first.wait(300) == 143
    assert b"the same command goes on from there" in first.stderr.read()
    step = checkpoints.read_state(checkpoints.latest(tmp_path / "out" / "checkpoints"))["step"]
    steps = step + 3
    stderr = run_cli(*line[3:], "--steps", steps, "--validate-every", steps).stderr.decode()
    assert f"going on from step {step} of {steps}" in stderr
    assert f"{steps} steps; the result is in" in stderr
    assert len(losses(tmp_path / "out")) == steps

    from diffusers import StableDiffusionPipeline

    parts = {
        place: StableDiffusionPipeline.from_pretrained(place, safety_checker=None)
        for place in (model, str(tmp_path / "out"))
    }
    before, after = parts.values()
    pairs = zip(before.unet.parameters(), after.unet.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)
    for name in ("vae", "text_encoder"):
        old, new = (getattr(p, name).state_dict() for p in (before, after))
        assert all(torch.equal(old[k], new[k]) for k in old)
    file = tmp_path / "out" / "unet" / "diffusion_pytorch_model.safetensors"
    with safe_open(file, "pt") as opened:
        header = opened.metadata()
    assert header["socialcli.step"] == str(steps)
    assert json.loads(header["socialcli.data"])["shards"] == ["a.tar"]
    assert (tmp_path / "out" / "pictures" / f"step-{steps:06d}.png").exists()


def test_two_processes_of_torchrun_agree_with_one(tmp_path, captioned, model, run_cli, torchrun):
    same = [
        *TRAIN, captioned, "--model", model, "--steps", 3, "--batch-size", 3, "--micro-batch", 1,
        "--optimiser", "sgd", "--learning-rate", 0.01,
    ]  # fmt: skip
    run_cli(*same, "-o", tmp_path / "one")
    torchrun(*same, "-o", tmp_path / "two")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


def test_a_step_is_diffusers_own(tmp_path, captioned, model):
    """One SGD step against the same by hand, with diffusers' scheduler and torch's gradient."""
    import torch
    from diffusers import DDPMScheduler
    from parts import part
    from safetensors.torch import load_file

    method = part("methods.train", "text-to-image")
    from socialcli.randomness import Draw, Variant
    from socialcli.shards import index as indexing
    from socialcli.training import examples, loop

    values = {
        "model": model, "device": "cpu", "dtype": "float32", "steps": 1, "batch_size": 3,
        "micro_batch": 2, "optimiser": "sgd", "beta1": 0.0, "weight_decay": 0.0,
        "learning_rate": 0.1, "max_grad_norm": 0.0, "caption_drop": 0.0, "quiet": True,
    }  # fmt: skip
    import dataclasses

    config = method.Config(**values)
    loop.run(
        "train", "text-to-image", method, dataclasses.asdict(config), [captioned], str(tmp_path)
    )

    vae, encoder, unet, _ = tiny.networks()
    words = tiny.tokenizer()
    index = indexing.build([captioned], tmp_path / "cache")
    order = [int(n) for n in examples.shuffled(5, 0, 0)[:3]]
    one_encoder = type("D", (), {"encoders": (None,)})
    state = type("S", (), {"config": config, "side": 32, "diffusion": one_encoder})()
    prepared = []
    for number in order:
        key = index.entries[number].key
        prepared.append(method.prepare(state, index.read(number), Variant(0, f"{number}:{key}", 0)))
    draw = Draw(0, 0, [0, 1, 2], [])
    ids = words(
        [m["caption"] for m in prepared], padding="max_length", max_length=tiny.TOKENS,
        return_tensors="pt",
    ).input_ids  # fmt: skip
    with torch.no_grad():
        posterior = vae.encode(torch.stack([m["pixels"] for m in prepared])).latent_dist
        latents = posterior.mean + posterior.std * draw.normal("posterior", 4, 8, 8)
        latents = latents * vae.config.scaling_factor
        states = encoder(ids).last_hidden_state
    noise, steps = draw.normal("noise", 4, 8, 8), draw.integers("timestep", 1000)
    scheduler = DDPMScheduler.from_pretrained(model, subfolder="scheduler")
    model_pred = unet(scheduler.add_noise(latents, noise, steps), steps, states).sample
    loss = torch.nn.functional.mse_loss(model_pred, noise)
    loss.backward()
    assert losses(tmp_path) == pytest.approx([float(loss.detach())], rel=1e-4)
    trained = load_file(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    for name, weight in unet.named_parameters():
        moved = weight.detach() - 0.1 * weight.grad
        assert torch.allclose(trained[name], moved, atol=1e-5), name


def test_captions_are_dropped_as_often_as_asked(captioned, model):
    import torch
    from parts import part

    from socialcli.diffusion import latents as common

    method = part("methods.train", "text-to-image")
    from socialcli.randomness import Draw

    seen = []
    state = type("S", (), {})()
    state.config = method.Config(caption_drop=0.25)
    state.nothing = torch.zeros(2, 3)
    state.diffusion = state.alphas_cumprod = state.prediction_type = None
    batch = {"states": torch.ones(2000, 2, 3), "mean": None, "deviation": None}
    whole, common.denoising = (
        common.denoising,
        lambda *a: seen.append(a[5].arguments["encoder_hidden_states"]),
    )
    try:
        method.losses(state, batch, Draw(0, 0, list(range(2000)), []))
    finally:
        common.denoising = whole
    share = 1 - float(seen[0][:, 0, 0].mean())
    assert abs(share - 0.25) < 0.03


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model", "/nowhere/model"], 2, "/nowhere/model"),
        (["--caption-drop", "2"], 2, "--caption-drop 2.0: expected a number from 0 to 1"),
        (["--validate-every", "5"], 2, "--validate-every draws the texts of --prompt"),
        (["--size", "30"], 2, "multiples of"),
        (
            ["--log-to", "tensorboard", "--steps", "1"],
            2,
            "-toolkit[tensorboard]'",
        ),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, captioned, model, run_cli, arguments, code, message):
    import importlib.util

    if "tensorboard" in arguments and importlib.util.find_spec("tensorboard"):
        pytest.skip("tensorboard is installed here")
    if "--model" not in arguments:
        arguments = [*arguments, "--model", model]
    done = run_cli(*TRAIN, captioned, "-o", tmp_path / "out", *arguments, code=code)
    lines = done.stderr.decode().strip().splitlines()
    assert message in lines[-1] and lines[-1].startswith("socialcli: error:")


def test_shards_without_captions_name_the_stage(tmp_path, model, run_cli, make_shards):
    folder = make_shards(1, 2)
    done = run_cli(*TRAIN, folder, "--model", model, "-o", tmp_path / "out", code=2)
    assert b"2 of 2 samples have no caption.json: run `socialcli caption` first" in done.stderr
    done = run_cli(*TRAIN, "--model", model, "-o", tmp_path / "out", code=2)
    assert b"train: which shards?" in done.stderr

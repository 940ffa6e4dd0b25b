"""`train --method interactdiffusion`: gates and position net alone are trained, and draw."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import conftest
import pytest
import scenes
import torch
from parts import part
from safetensors.torch import load_file
from tiny import diffusion as tiny
from tiny import interactdiffusion as tiny_interactions

from socialcli import records, shards
from socialcli.cli import profiles
from socialcli.cli.commands import generate
from socialcli.errors import SampleFailed, UsageError
from socialcli.pipeline.run import RunOptions
from socialcli.shards import Sample

method = part("methods.train", "interactdiffusion")
FILE = "interactdiffusion.safetensors"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """sd: a Stable Diffusion; a.tar: a woman who holds a dog."""
    place = tmp_path_factory.mktemp("data")
    tiny.stable_diffusion(place / "sd")
    shards.write(place / "a.tar", [(f"k{n}", scenes.members(n)) for n in range(3)])
    return place


def train(output: Path, place: Path, **changed) -> dict[str, torch.Tensor]:
    from socialcli.training import loop

    small = {
        "model": str(place / "sd"), "device": "cpu", "dtype": "float32", "steps": 3, "warm_up": 0,
        "batch_size": 2, "micro_batch": 2, "quiet": True, "learning_rate": 1e-2,
        "interaction_drop": 0.0,
    }  # fmt: skip
    config = method.Config(**{**small, **changed})
    values = dataclasses.asdict(config)
    loop.run("train", "interactdiffusion", method, values, [str(place / "a.tar")], str(output))
    return load_file(output / FILE)


def test_gates_open_and_what_they_read_is_learnt(place, tmp_path):
    trained = train(tmp_path / "run", place)
    layout = set(load_file(tiny_interactions.folder(tmp_path / "gated")
                           / "unet/diffusion_pytorch_model.safetensors"))  # fmt: skip
    assert set(trained) == {n for n in layout if ".fuser." in n or n.startswith("position_net.")}
    alphas = [tensor for name, tensor in trained.items() if ".alpha_" in name]
    assert len(alphas) == 10 and all(alpha != 0 for alpha in alphas)
    assert trained["position_net.null_position_feature"].any()  # 29 of 30 are nothing
    again = train(tmp_path / "again", place)
    assert all(torch.equal(again[name], tensor) for name, tensor in trained.items())
    # Told no interactions, it learns nothing of what an interaction is.
    without = train(tmp_path / "without", place, interaction_drop=1.0)
    for name in ("linears.0.weight", "linear_action.0.weight"):
        text = slice(0, tiny.WIDTH)
        moved = [t[f"position_net.{name}"][:, text] for t in (trained, without)]
        assert not torch.equal(*moved)
    given = {"model": str(place / "sd"), "steps": 1, "device": "cpu",
             "adapter_model": str(tmp_path / "run" / FILE)}  # fmt: skip
    own = part("methods.generate", "interactdiffusion").Config
    values = profiles.values(None, "generate", own, given, "interactdiffusion")
    out, shard = str(tmp_path / "o"), str(place / "a.tar")
    generate.run("interactdiffusion", values, [shard], out, RunOptions(quiet=True, limit=1))
    [members] = conftest.members(out).values()
    record = records.load(records.Generated, members["generated.json"])
    assert record.models["interactions"].model == FILE


def test_what_cannot_be_trained_is_a_line(place, tmp_path):
    alone = Sample("k", scenes.members(changed={"interactions.json": records.dump(
        records.Interactions([]))}))  # fmt: skip
    with pytest.raises(SampleFailed, match="none of its 0 interactions has a box"):
        method.check(method.Config(), alone)
    with pytest.raises(UsageError, match="--backend fastcomposer: gates are trained in models of"):
        train(tmp_path / "run", place, backend="fastcomposer")

"""`train --method fastcomposer`: what it trains and what it leaves, and a picture of its result."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import conftest
import numpy
import pytest
import scenes
import torch
from parts import part
from PIL import Image
from tiny import diffusion as tiny
from tiny import fastcomposer as tiny_composer

from socialcli import backends, records, registry, shards
from socialcli.backends import ModelSpec
from socialcli.cli import profiles
from socialcli.cli.commands import generate
from socialcli.errors import SampleFailed, UsageError
from socialcli.losses import localisation
from socialcli.pipeline.run import RunOptions
from socialcli.shards import Sample

method = part("methods.train", "fastcomposer")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """sd: a Stable Diffusion; tower: CLIP's; a.tar: pictures of a woman and a dog with masks."""
    place = tmp_path_factory.mktemp("data")
    tiny.stable_diffusion(place / "sd")
    tiny_composer.own_networks()[0].save_pretrained(place / "tower")
    shards.write(place / "a.tar", [(f"k{n}", scenes.members(n)) for n in range(3)])
    return place


def config(place: Path, **changed):
    small = {
        "model": str(place / "sd"), "image_encoder_model": str(place / "tower"), "device": "cpu",
        "dtype": "float32", "steps": 2, "batch_size": 2, "micro_batch": 2, "quiet": True,
        "learning_rate": 1e-2, "kinds": "person,animal", "caption_drop": 0.0, "subject_keep": 1.0,
        "localisation_weight": 0.1,
    }  # fmt: skip
    return method.Config(**{**small, **changed})


@pytest.fixture(scope="module")
def trained(tmp_path_factory, place) -> Path:
    from socialcli.training import loop

    output = tmp_path_factory.mktemp("run")
    values = dataclasses.asdict(config(place))
    loop.run("train", "fastcomposer", method, values, [str(place / "a.tar")], str(output))
    return output


def test_unet_postfuse_and_the_last_layers_of_the_tower_are_trained(trained, place):
    composer = backends.load(ModelSpec("diffusion", "fastcomposer", str(trained)))
    start = backends.load(ModelSpec("diffusion", "stable-diffusion", str(place / "sd")))
    tower, _ = tiny_composer.own_networks()
    moved = {
        name: not torch.equal(tensor, tower.state_dict()[name])
        for name, tensor in composer.image_encoder.state_dict().items()
    }
    assert {name for name, changed in moved.items() if changed} == {
        name for name in moved if ".layers.1." in name or ".layers.2." in name
    }
    assert not torch.equal(composer.unet.conv_in.weight, start.unet.conv_in.weight)
    for name, tensor in start.text_encoder.state_dict().items():
        assert torch.equal(composer.text_encoder.state_dict()[name], tensor), name
    assert (composer.postfuse.mlp1.fc1.bias != 0).any()
    from safetensors import safe_open

    with safe_open(trained / "fastcomposer.safetensors", "pt") as opened:
        assert opened.metadata()["socialcli.method"] == "fastcomposer"


def test_what_was_trained_draws(trained, tmp_path):
    picture = tmp_path / "dog.png"
    Image.effect_mandelbrot((50, 40), (-2, -1, 1, 1), 20).convert("RGB").save(picture)
    given = {"model": str(trained), "steps": 2, "device": "cpu", "prompt": ["a dog"],
             "reference": [str(picture)], "query": ["dog"]}  # fmt: skip
    own = part("methods.generate", "fastcomposer").Config
    values = profiles.values(None, "generate", own, given, "fastcomposer")
    out = str(tmp_path / "o")
    generate.run("fastcomposer", values, [], out, RunOptions(quiet=True))
    [members] = conftest.members(out).values()
    record = records.load(records.Generated, members["generated.json"])
    assert record.method == "fastcomposer" and record.references[0].query == "dog"


def test_a_subject_is_its_mask_with_noise_around_it(place, tmp_path):
    from socialcli.randomness import Variant
    from socialcli.shards import index as indexing
    from socialcli.training.place import Clock, Place

    device = torch.device("cpu")
    index = indexing.build([str(place / "a.tar")], tmp_path)
    state = method.load(config(place), Place(device, torch.float32, Clock(device), index=index))
    sample = index.read(0)
    example = method.prepare(state, sample, Variant(0, sample.key, 0))
    woman, dog = (scenes.TEXT.index(word) + len(word) for word in ("in red", "small dog"))
    assert example["ends"].tolist() == [woman, dog, -1, -1]
    columns = registry.module_of(method.part)._columns
    tokenizer = state.diffusion.tokenizer
    ids, numbers = tokenizer(scenes.TEXT).input_ids, columns(state.diffusion, scenes.TEXT,
                                                           [woman, dog, -1])  # fmt: skip
    assert [tokenizer.decode(ids[at]).strip() for at in numbers[:2]] == ["red", "dog"]
    assert numbers[2] == -1
    assert columns(state.diffusion, "a dog " * 9, [5, 50]).tolist() == [2, -1]
    assert example["pictures"].shape == (4, 3, 32, 32) and example["masks"].shape == (4, 32, 32)
    for number in range(2):
        assert example["masks"][number].any() and example["pictures"][number].std() > 0.05
    assert not example["masks"][2:].any() and not example["pictures"][2:].any()
    names = sorted({layer.name.split(".attentions")[0] for layer in state.layers})
    assert names == ["down_blocks.1", "mid_block", "up_blocks.0"]  # neither the first nor the last


def test_what_cannot_be_trained_is_a_line(place, tmp_path):
    sample = Sample("k", scenes.members())
    empty = Sample("k", scenes.members(changed={"masks.json": records.dump(
        records.Masks(scenes.WIDTH, scenes.HEIGHT, []))}))  # fmt: skip
    method.check(config(place), sample)
    for one, kinds in ((empty, "person"), (sample, "object")):
        with pytest.raises(SampleFailed, match=f"no mask of a subject .--kinds {kinds}."):
            method.check(config(place, kinds=kinds), one)
    from socialcli.training import loop

    values = dataclasses.asdict(config(place, backend="instruct-pix2pix"))
    with pytest.raises(UsageError, match="instruct-pix2pix is for generate --method instruct-pix2"):
        loop.run("train", "fastcomposer", method, values, [str(place / "a.tar")], str(tmp_path))
    with pytest.raises(UsageError, match="the localisation loss reads attention maps"):
        method.check_options(config(place, gradient_checkpointing=True))


def test_localisation_is_attention_on_the_background_less_that_on_the_subject():
    masks = torch.zeros(2, 2, 8, 8)
    masks[0, 0, :4], masks[0, 1, :, 4:], masks[1, 0, 2:6, 2:6] = 1, 1, 1
    shown = torch.tensor([[True, True], [True, False]])
    torch.manual_seed(0)
    maps = [torch.rand(2, 3, 2, side, side, dtype=torch.float64) for side in (8, 4)]
    expected = []
    for b, subjects in ((0, (0, 1)), (1, (0,))):
        each = []
        for layer in maps:
            side = layer.shape[-1]
            for k in subjects:
                inside = numpy.array(masks[b, k])
                if side == 4:  # halved bilinearly with antialiasing, as the library does it
                    inside = torch.nn.functional.interpolate(
                        masks[b : b + 1, k : k + 1], (4, 4), mode="bilinear", antialias=True
                    )[0, 0].numpy()
                for head in range(3):
                    values = layer[b, head, k].numpy()
                    on = (values * inside).sum() / inside.sum()
                    off = (values * (1 - inside)).sum() / (1 - inside).sum()
                    each.append(1 + off - on)
        expected.append(sum(each) / len(each))
    loss = localisation.loss(maps, masks, shown)
    assert torch.allclose(loss, torch.tensor(expected, dtype=torch.float64), atol=1e-5)
    assert localisation.loss(maps, masks, torch.zeros_like(shown)).tolist() == [0.0, 0.0]
    on_it = [masks[:, None].double()]
    assert localisation.loss(on_it, masks, shown).abs().max() < 1e-4
    leaf = maps[1].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: localisation.loss([x], masks.double(), shown), leaf)
    with pytest.raises(UsageError, match="must be as many"):
        localisation.loss(maps, masks[:1], shown)

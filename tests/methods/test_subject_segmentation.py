"""Subject segmentation: it learns where each subject is, and SAS compares pictures by it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import subjects as data
import torch
from parts import part

from socialcli import shards
from socialcli.errors import UsageError
from socialcli.losses import dice, mask_cross_entropy
from socialcli.networks import subject_unet

method = part("methods.train", "subject-segmentation")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> str:
    place = tmp_path_factory.mktemp("data") / "a.tar"
    shards.write(place, data.samples())
    return str(place)


def train(output: Path, pictures: str, **changed) -> Path:
    from socialcli.training import loop

    small = {
        "device": "cpu", "dtype": "float32", "steps": 3, "size": 32, "held_back": 6, "quiet": True,
        "batch_size": 4, "learning_rate": 2e-3,
    }  # fmt: skip
    config = method.Config(**{**small, **changed})
    name = "subject-segmentation"
    loop.run("train", name, method, dataclasses.asdict(config), [pictures], str(output))
    return output


@pytest.fixture(scope="module")
def trained(tmp_path_factory, pictures) -> Path:
    return train(tmp_path_factory.mktemp("run"), pictures, steps=40, held_back=12)


def test_it_finds_each_subject_and_says_how_well(trained):
    measured = json.loads((trained / "iou.json").read_text())
    assert set(measured) == {"rex", "tom"} and min(measured.values()) > 0.3
    again = subject_unet.load(str(trained))
    assert [s["class"] for s in again.subjects] == ["dog", "cat"] and again.side == 32
    from safetensors import safe_open

    with safe_open(trained / "model.safetensors", "pt") as opened:
        assert json.loads(opened.metadata()["iou"]) == measured


def test_a_checkpoint_holds_what_batch_normalisation_has_seen():
    from socialcli.training import checkpoints

    kept = checkpoints.tensors(subject_unet.SubjectUNet(2))
    assert set(kept) == set(subject_unet.SubjectUNet(2).state_dict())
    assert "encoder.layer4.2.bn2.running_var" in kept


def test_the_masks_of_all_subjects_in_a_picture_are_learnt(tmp_path):
    """Without augmentation each subject has its channel; with it only the one that is placed."""
    from socialcli.miniature.world import scene
    from socialcli.miniature.world.ground_truth import members
    from socialcli.randomness import Variant
    from socialcli.shards import index as indexing
    from socialcli.training.place import Clock, Place

    picture = next(s for s in (scene(0, n, 64) for n in range(40)) if s.things and s.people)
    names = [picture.people[0].who.name, picture.things[0].look.name]
    shards.write(tmp_path / "a.tar", [("a", members(picture))])
    cpu = torch.device("cpu")
    for augment in (0.0, 1.0):
        config = method.Config(subject=names, size=64, augment=augment, flip=0.0, device="cpu")
        index = method.select(config, indexing.build([str(tmp_path / "a.tar")], tmp_path))
        place = Place(cpu, torch.float32, Clock(cpu), index=index)
        state = method.load(config, place)
        example = method.prepare(state, index.read(0), Variant(0, "a", 0))
        assert example["pixels"].min() >= 0 and example["pixels"].max() <= 1
        if augment:
            assert sorted(float(m.sum() > 0) for m in example["masks"]) == [0.0, 1.0]
        else:
            for mask, true in zip(example["masks"], (picture.people[0], picture.things[0]),
                                  strict=True):  # fmt: skip
                assert (mask.numpy() == true.mask).all()


def test_losses_are_zero_where_the_masks_are_met():
    masks = (torch.rand(3, 2, 8, 8) > 0.7).double()
    met = (masks - 0.5) * 100
    assert mask_cross_entropy.loss(met, masks).abs().max() < 1e-6
    assert dice.loss(met, masks).abs().max() < 1e-6
    logits = torch.randn(3, 2, 8, 8).double()
    chance = 1 / (1 + torch.exp(-logits))
    wanted = -(masks * chance.log() + (1 - masks) * (1 - chance).log()).flatten(1).mean(1)
    assert torch.allclose(mask_cross_entropy.loss(logits, masks), wanted)
    both, total = (chance * masks).flatten(1).sum(1), (chance + masks).flatten(1).sum(1)
    assert torch.allclose(dice.loss(logits, masks), 1 - (2 * both + 1) / (total + 1))
    assert torch.autograd.gradcheck(
        lambda x: dice.loss(x, masks[:1, :1, :3, :3]),
        (logits[:1, :1, :3, :3].clone().requires_grad_(),),
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": 40}, "--size 40: a multiple of 32"),
        ({"encoder_model": "DATA"}, "not ResNet-34 weights|cannot be read"),
        ({"backgrounds": "/nowhere"}, "/nowhere: no such folder"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, pictures, changed, message):
    if "encoder_model" in changed:
        torch.save({"conv1.weight": torch.zeros(2)}, tmp_path / "x.pth")
        changed = {"encoder_model": str(tmp_path / "x.pth")}
    with pytest.raises(UsageError, match=message) as error:
        train(tmp_path / "out", pictures, **changed)
    assert "\n" not in str(error.value)


# --- SAS ------------------------------------------------------------------------------------------


def test_sas_is_the_cosine_of_pooled_features(trained, tmp_path):
    """Against the network's own layers."""
    import io

    import numpy
    from PIL import Image

    from socialcli.evaluation.features import Look
    from socialcli.evaluation.features import load as feature

    seen = [
        Image.open(io.BytesIO(data.sample(name, n)[1]["png"]))
        for name, n in (("rex", 0), ("rex", 1), ("tom", 0))
    ]
    part = feature("subject-encoder")
    config = type("Config", (), {"segmentation_model": str(trained), "device": "cpu"})
    values = part.run(config, [part.load(config)], [Look(image) for image in seen])
    rows = numpy.stack([v["vector"] for v in values])
    assert rows.shape == (3, 512)
    cosines = rows @ rows.T
    assert numpy.allclose(numpy.diag(cosines), 1) and cosines[0, 1] < 0.9999
    network = subject_unet.load(str(trained)).network
    squeezed = numpy.asarray(seen[0].resize((32, 32), Image.Resampling.BICUBIC))
    with torch.no_grad():
        encoded = network.encoder(
            subject_unet.normalised(torch.from_numpy(squeezed).permute(2, 0, 1)[None] / 255.0)
        )[-1].mean((2, 3))[0]
    assert numpy.allclose(rows[0], encoded / encoded.norm(), atol=1e-5)


def test_score_asks_for_the_network(tmp_path, run_cli, pictures):
    done = run_cli(
        "score", pictures, "--reference", pictures, "--metrics", "sas", "-o", tmp_path / "out",
        "--device", "cpu", code=2,
    )  # fmt: skip
    assert b"give --segmentation-model FOLDER" in done.stderr

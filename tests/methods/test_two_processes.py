"""One process and two make the same word or adapter of the same global batch.

Other sums have other last bits, which Adam would make larger where a gradient is nearly zero: plain
descent does not.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import scenes
import subjects
from parts import part
from safetensors.torch import load_file
from tiny import diffusion as tiny
from tiny import fastcomposer
from torch import Tensor
from toy_method import free_port

from socialcli import records, shards
from socialcli.miniature.world import interactions as world
from socialcli.training import loop

SAME = {
    "device": "cpu", "dtype": "float32", "steps": 2, "batch_size": 2, "micro_batch": 1,
    "optimiser": "sgd", "learning_rate": 0.5, "quiet": True,
}  # fmt: skip
CLASS = {"class_count": 2, "class_steps": 1}
# Command, data, and what its Config has besides.
METHODS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "prospect": ("invert", "subjects", {"by": "none", "initial_word": ["dog"]}),
    "p-plus": ("invert", "subjects", {"by": "none", "initial_word": ["dog"]}),
    "reversion": ("invert", "captions", {"initial_word": ["with"]}),
    "celeb-basis": ("invert", "people", {"by": "none", "templates": "object"}),
    "identity": ("invert", "people", {"pairs": 2}),
    "interaction": ("invert", "exemplars", {"variants": 2, "attention_side": 8,
                    "pose_initial_word": "standing", "pose_steps": 1, "sampling_steps": 1,
                    "learning_rate": 50.0}),
    "dreambooth": ("train", "subjects", {**CLASS, "adapter": "lora", "rank": 2,
                                         "subject": ["rex=rex/*"]}),
    "custom-diffusion": ("train", "subjects", {**CLASS, "subject": ["rex=rex/*"]}),
    "fastcomposer": ("train", "scenes", {"kinds": "person,animal", "localisation_weight": 0.1}),
    "interactdiffusion": ("train", "scenes", {"warm_up": 0}),
    "tiny-decoder": ("train", "scenes", {"width": 8, "blocks": "1,1,0"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Option -> the tiny model that is given with it, to whatever has such an option."""
    place = tmp_path_factory.mktemp("models")
    fastcomposer.own_networks()[0].save_pretrained(place / "tower")
    tiny.controlnet(place / "controlnet")
    tiny.stable_diffusion(place / "sd")
    names = [f"{first} {last}" for first in ("red", "blue", "green") for last in ("man", "boy")]
    (place / "names.txt").write_text("\n".join(names))
    return {
        "names": str(place / "names.txt"),
        "model": str(place / "sd"),
        "image_encoder_model": str(place / "tower"),
        "controlnet_model": str(place / "controlnet"),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard of each sort of data."""
    place = tmp_path_factory.mktemp("data")
    pictures = subjects.samples(2)
    shards.write(place / "subjects.tar", pictures)
    caption = records.dump(records.Caption("a dog with a ball"))
    captions = [
        (key, {"png": members["png"], "caption.json": caption}) for key, members in pictures
    ]
    shards.write(place / "captions.tar", captions)
    marks = [(0.25, 0.3), (0.35, 0.3), (0.3, 0.4), (0.26, 0.45), (0.34, 0.45)]
    person = records.Person(1, face=records.Face((0.2, 0.2, 0.4, 0.5), 0.9, marks))
    one = records.dump(records.People(48, 40, [person]))
    embeddings = numpy.random.default_rng(0).normal(size=(len(pictures), 1, 16)).astype("float32")
    faces = [records.dump_identity(records.identity_array([1], row)) for row in embeddings]
    people = [
        (key, {"png": members["png"], "people.json": one, "identity.npy": face})
        for (key, members), face in zip(pictures[::2], faces, strict=False)
    ]
    shards.write(place / "people.tar", people)
    exemplars = [(world.key("interactions", n), world.exemplar(0, n, 64)) for n in (0, 7, 15, 22)]
    shards.write(place / "exemplars.tar", exemplars)
    shards.write(place / "scenes.tar", [(f"k{n}", scenes.members(n)) for n in range(3)])
    return place


def learn(name: str, output: Path, data: Path, models: dict[str, str]) -> None:
    command, source, own = METHODS[name]
    method = part(f"methods.{command}", name)
    options = {field.name for field in dataclasses.fields(method.Config)}
    given = {option: model for option, model in models.items() if option in options}
    config = method.Config(**{**SAME, **given, **own})
    values = dataclasses.asdict(config)
    loop.run(command, name, method, values, [str(data / f"{source}.tar")], str(output))


def quietly(rank: int, port: int, said: Path, *arguments: Any) -> None:
    os.environ.update(
        WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank),
        LOCAL_RANK=str(rank), ACCELERATE_USE_CPU="1",
    )  # fmt: skip
    sys.stderr = said.open("w", buffering=1)
    learn(*arguments)


def tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a run's result, by file and name."""
    files = [f for f in folder.rglob("*.safetensors") if not {"cache", "checkpoints"} & {*f.parts}]
    return {f"{f.relative_to(folder)} {n}": t for f in files for n, t in load_file(f).items()}


@pytest.mark.parametrize("name", METHODS)
def test_they_learn_the_same(tmp_path, data, models, name):
    learn(name, tmp_path / "one", data, models)
    port, said = free_port(), [tmp_path / f"rank-{rank}.txt" for rank in (0, 1)]
    both = [
        multiprocessing.get_context("fork").Process(
            target=quietly, args=(rank, port, said[rank], name, tmp_path / "two", data, models)
        )
        for rank in (0, 1)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [one.exitcode for one in both] == [0, 0], [file.read_text()[-2000:] for file in said]
    one, two = (tensors(tmp_path / place) for place in ("one", "two"))
    assert one.keys() == two.keys() and any(bool(tensor.any()) for tensor in one.values())
    for weight, tensor in one.items():
        assert (tensor - two[weight]).abs().max() < 1e-5 * (1 + tensor.abs().max()), weight
    files = [{str(p.relative_to(tmp_path / place)) for p in (tmp_path / place).rglob("*")
              if "cache" not in p.parts} for place in ("one", "two")]  # fmt: skip
    assert files[0] == files[1]

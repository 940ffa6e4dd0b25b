"""One process and two make the same word or adapter of the same global batch.

Other sums have other last bits, which Adam would make larger where a gradient is nearly zero: plain
descent does not.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import subjects
from parts import part
from safetensors.torch import load_file
from tiny import diffusion as tiny

from socialcli import shards
from socialcli.training import loop

SAME = {
    "device": "cpu", "dtype": "float32", "steps": 2, "batch_size": 2, "micro_batch": 1,
    "optimiser": "sgd", "learning_rate": 0.5, "quiet": True,
}  # fmt: skip
METHODS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "prospect": ("invert", "words.safetensors", {"by": "none", "initial_word": ["dog"]}),
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("data") / "a.tar"
    shards.write(place, subjects.samples(2))
    return str(place)


def learn(name: str, output: Path, pictures: str, model: str) -> None:
    command, _, own = METHODS[name]
    method = part(f"methods.{command}", name)
    config = method.Config(model=model, **SAME, **own)
    loop.run(command, name, method, dataclasses.asdict(config), [pictures], str(output))


def quietly(rank: int, port: int, *arguments: Any) -> None:
    os.environ.update(
        WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank),
        LOCAL_RANK=str(rank), ACCELERATE_USE_CPU="1",
    )  # fmt: skip
    sys.stderr = open(os.devnull, "w")
    learn(*arguments)


@pytest.mark.parametrize("name", METHODS)
def test_they_learn_the_same(tmp_path, pictures, model, name):
    learn(name, tmp_path / "one", pictures, model)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    both = [
        multiprocessing.get_context("fork").Process(
            target=quietly, args=(rank, port, name, tmp_path / "two", pictures, model)
        )
        for rank in (0, 1)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    one, two = (load_file(tmp_path / place / METHODS[name][1]) for place in ("one", "two"))
    assert one.keys() == two.keys() and any(bool(tensor.any()) for tensor in one.values())
    for weight, tensor in one.items():
        assert (tensor - two[weight]).abs().max() < 1e-5, weight
    files = [{str(p.relative_to(tmp_path / place)) for p in (tmp_path / place).rglob("*")
              if "cache" not in p.parts} for place in ("one", "two")]  # fmt: skip
    assert files[0] == files[1]

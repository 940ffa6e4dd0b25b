"""The recipe for a GPU, in its short form on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ENVIRONMENT

from socialcli.miniature.zoo import cards, gpu, training

SCRIPT = Path(__file__).parents[2] / gpu.COMMAND


def _run(*arguments, code=0):
    done = subprocess.run(
        [SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=600,
        env={**os.environ, **ENVIRONMENT, "PYTHON": sys.executable},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


def test_the_short_form_trains_everything_and_goes_on_where_it_was(tmp_path, monkeypatch):
    short = ("--device", "cpu", "--work", tmp_path, "--workers", 1, "--batch", 2, "--scenes", 4,
             "--no-measure", "--minutes", 0.05)  # fmt: skip
    before = {p: p.read_bytes() for p in cards.WEIGHTS.rglob("*.card.json")}
    _run(*short)
    shas = {}
    for role, _, _ in gpu.PARTS:
        file = next((tmp_path / "weights").rglob(f"{role}.card.json"))
        card = json.loads(file.read_text())
        assert card["command"] == gpu.COMMAND and card["batch"] == 2 and card["steps"] > 0
        shas[role] = card["sha256"]
        assert shas[role] != json.loads(cards.card(role).read_text())["sha256"]
    assert {p: p.read_bytes() for p in cards.WEIGHTS.rglob("*.card.json")} == before
    monkeypatch.setattr(cards, "WEIGHTS", tmp_path / "weights")
    gpu._train("vae", tmp_path, 2, "cpu")  # what is done is not done again
    assert json.loads(cards.card("vae").read_text())["sha256"] == shas["vae"]
    (tmp_path / "vae.done").unlink()
    monkeypatch.setattr(training, "PACE", training.Pace(0.1))
    gpu._train("vae", tmp_path, 2, "cpu")
    assert json.loads(cards.card("vae").read_text())["sha256"].keys() == shas["vae"].keys()
    assert (tmp_path / "vae.done").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    done = _run("--work", tmp_path / "none", code=2)
    assert done.stderr == (f"{gpu.COMMAND}: torch finds no cuda; --device cpu trains without\n")
    assert not (tmp_path / "none").exists()


def test_shares_of_the_minutes_are_all_of_them():
    assert sum(share for _, share, _ in gpu.PARTS) == pytest.approx(1)


@pytest.mark.parametrize("workers", [0, 2])
def test_by_the_clock_a_cosine_ends_when_its_share_is_over(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(training, "PACE", training.Pace(4.0, workers))
    seen = []

    def loss(model, pair, step):
        seen.append((step, int(pair[0, 0])))
        time.sleep(0.01)
        return ((model(pair * 0 + 1) - 1) ** 2).mean()

    def fit(minutes):
        return training.fit(
            torch.nn.Linear(1, 1), lambda step: torch.full((2, 1), float(step)), loss, tmp_path,
            3, rate=0.01, minutes=minutes, part=0.5,
        )  # fmt: skip

    first = fit(0.1 / 60)
    assert not first.finished
    second = fit(None)
    assert second.finished and 2.0 <= second.seconds < 60
    assert seen == [(n, n) for n in range(second.step)] and second.step > 3

"""``--device cuda`` on a machine without a card, or a misspelt device, ended five commands with a
traceback; a misspelt number type was told as "no attribute" by training."""

from __future__ import annotations

import subprocess
import sys

import pytest

from socialcli.backends import ModelSpec, devices, load
from socialcli.cli.app import app
from socialcli.errors import UsageError

COMMANDS = {
    "caption": ["caption", "IN", "-o", "OUT", "--profile", "mini"],
    "extract-entities": ["extract-entities", "IN", "-o", "OUT"],
    "ground": ["ground", "IN", "-o", "OUT", "--profile", "mini"],
    "segment": ["segment", "IN", "-o", "OUT", "--profile", "mini"],
    "annotate-pose": ["annotate-pose", "IN", "-o", "OUT", "--profile", "mini"],
    "generate": ["generate", "--prompt", "a man", "-o", "OUT", "--profile", "mini"],
    "train": ["train", "IN", "-o", "OUT", "--profile", "mini"],
    "invert": ["invert", "IN", "-o", "OUT", "--profile", "mini"],
    "score": ["score", "IN", "-o", "OUT", "--profile", "mini"],
}


@pytest.fixture(autouse=True)
def no_card(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def refused(make_shards, tmp_path, monkeypatch, capsys):
    """``refused("caption", "--device", "x")``: the one line that the command ends with."""

    def run(command, *more):
        places = {"IN": str(make_shards(1, 1)), "OUT": str(tmp_path / "out")}
        words = [places.get(word, word) for word in COMMANDS[command]]
        monkeypatch.setattr(sys, "argv", ["socialcli", *words, *more])
        with pytest.raises(SystemExit) as end:
            app()
        lines = capsys.readouterr().err.splitlines()
        assert end.value.code == 2 and len(lines) == 1 and not (tmp_path / "out").exists()
        return lines[0]

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_a_card_that_is_not_here_is_one_line(refused, command):
    message = refused(command, "--device", "cuda")
    assert message.startswith("socialcli: error: --device cuda: there is no CUDA device here (")


@pytest.mark.parametrize("command", ["caption", "train", "score"])
def test_a_misspelt_device_and_type_name_the_right_one(refused, command):
    message = refused(command, "--device", "cdua")
    assert "--device 'cdua'. Did you mean 'cuda'? There are: auto, cpu, cuda" in message
    message = refused(command, "--dtype", "fp16")
    assert "--dtype 'fp16'. Did you mean 'float16'? There are: auto, float32" in message


def test_the_zoo_too():
    line = [sys.executable, "-m", "socialcli.miniature.zoo", "face", "--device", "cuda:3"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2 and "--device cuda:3: there is no CUDA device" in done.stderr


@pytest.mark.parametrize("name", ["gpu", "nvidia", "GPU"])
def test_what_others_call_it(name):
    with pytest.raises(UsageError, match="Did you mean 'cuda'"):
        devices.check(name)


@pytest.mark.parametrize("name", ["", "cuda:", "cuda:x", "cuda:-1", "cpux", "mps:1", "cuda:1:2"])
def test_what_is_no_device(name):
    with pytest.raises(UsageError, match="--device"):
        devices.resolved({"device": name})


def test_other_machines_are_not_looked_up_here():
    assert devices.resolved({"device": "cuda:7"}, elsewhere=True)["device"] == "cuda:7"
    with pytest.raises(UsageError, match="Did you mean 'cuda'"):
        devices.resolved({"device": "cudda"}, elsewhere=True)


def test_a_plan_from_elsewhere_is_checked_where_models_are_loaded():
    with pytest.raises(UsageError, match="no CUDA device here"):
        load(ModelSpec("clip", "clip", device="cuda"))


def test_more_cards_than_there_are(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    devices.check("cuda:1")
    with pytest.raises(UsageError, match="this machine has cuda:0 to cuda:1"):
        devices.check("cuda:2")

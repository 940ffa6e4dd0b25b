"""The loop around the steps: what is written when, what is resumed, what is shared, how it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import toy_method
from conftest import samples
from toy_method import Config, ToyMethod, train

from socialcli import shards
from socialcli.errors import UsageError
from socialcli.training import checkpoints, loop
from socialcli.training.method import Phase


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("data")
    shards.write(folder / "a.tar", samples(0, 11))
    return str(folder)


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def result(folder: Path) -> bytes:
    last = checkpoints.latest(folder / "checkpoints")
    return (last / "trainable.safetensors").read_bytes()


# --- what is due ----------------------------------------------------------------------------------


def test_what_is_due_after_a_step_is_done_after_it_and_at_the_end(tmp_path, data):
    train(tmp_path, [data], steps=7, checkpoint_every=3, keep=9, log_every=3, save_every=7)
    lines = log(tmp_path)
    assert [line["step"] for line in lines if "loss" in line] == [3, 6, 7]
    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-000003", "step-000006", "step-000007"]
    # The result itself is the copy of the last step.
    assert not list(tmp_path.glob("step-*")) and (tmp_path / "toy.safetensors").is_file()
    assert (lines[-1]["step"], lines[-1].get("event")) == (7, "finished")
    for line in lines:
        if "loss" in line:
            rate = 4 / line["seconds"]
            assert line["samples_per_second"] == pytest.approx(rate, rel=1e-5)


def test_a_finished_run_goes_on_where_more_steps_are_asked_for(tmp_path, data):
    """And one that was finished, but has a later checkpoint since, is not taken for finished."""
    train(tmp_path, [data], steps=3)
    train(tmp_path, [data], steps=5)
    assert json.loads((tmp_path / "run.json").read_text())["finished"] == 5
    body = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**body, "finished": 3}))
    (tmp_path / "toy.safetensors").unlink()
    train(tmp_path, [data], steps=5)
    assert (tmp_path / "toy.safetensors").is_file()


def test_validation_sees_the_network_at_rest_and_changes_nothing(tmp_path, data, monkeypatch):
    """In eval mode, without gradient; the dropout of the next step is on again."""
    import torch

    seen = []
    original = toy_method.validate

    def watched(state):
        seen.append((state.network.training, torch.is_grad_enabled()))
        return original(state)

    monkeypatch.setattr(toy_method, "validate", watched)
    train(tmp_path / "with", [data], steps=4, validate_every=1)
    train(tmp_path / "without", [data], steps=4)
    assert seen == [(False, False)] * 4
    assert result(tmp_path / "with") == result(tmp_path / "without")


def test_what_other_processes_left_out_is_told_too(tmp_path, data, monkeypatch):
    monkeypatch.setattr(loop, "gathered", lambda rows, place: [*rows, ("afar", "a reason")])
    train(tmp_path, [data], steps=1)
    skipped = [(n["key"], n["reason"]) for n in log(tmp_path) if n.get("event") == "skipped"]
    assert skipped == [("afar", "a reason")]


# --- before it begins -----------------------------------------------------------------------------


def test_inputs_outputs_and_phases_that_cannot_be(tmp_path, data, monkeypatch):
    for output in ("-", "s3://bucket/out"):
        with pytest.raises(UsageError, match="training writes to a local folder"):
            train(output, [data])
    with pytest.raises(UsageError, match="its results go into a folder"):
        train(tmp_path / "out.tar", [data])
    with pytest.raises(UsageError, match="which shards"):
        train(tmp_path / "out", [])
    monkeypatch.setattr(
        ToyMethod, "phases", lambda *_: [Phase("", ToyMethod(), Config(batch_size=0))]
    )
    with pytest.raises(UsageError, match="--batch-size 0"):
        train(tmp_path / "out", [data])
    assert not list(tmp_path.iterdir())


def frozen(count: int):
    """The toy's network with its first parameters frozen."""

    def trainable(state):
        for number, parameter in enumerate(state.network.parameters()):
            parameter.requires_grad_(number >= count)
        return state.network

    return trainable


def test_something_must_train_but_not_everything(tmp_path, data, monkeypatch):
    monkeypatch.setattr(toy_method, "trainable", frozen(2))
    train(tmp_path / "part", [data], steps=1)
    assert (tmp_path / "part" / "toy.safetensors").is_file()
    monkeypatch.setattr(toy_method, "trainable", frozen(99))
    with pytest.raises(UsageError, match="train --method toy: nothing to train"):
        train(tmp_path / "none", [data], steps=1)


def test_a_run_does_not_go_on_with_other_models(tmp_path, data, monkeypatch):
    facts = {"text_encoder": "first"}
    monkeypatch.setattr(ToyMethod, "facts", lambda self, state: facts)
    train(tmp_path, [data], steps=2)
    train(tmp_path, [data], steps=3)
    monkeypatch.setitem(facts, "text_encoder", "other")
    with pytest.raises(UsageError, match=r"a run with other models: .*first.*other"):
        train(tmp_path, [data], steps=4)
    assert log(tmp_path)[-1]["step"] == 3


@pytest.mark.parametrize("first", [True, False])
def test_of_several_processes_the_first_one_speaks(tmp_path, monkeypatch, capsys, first):
    run = loop.Run("train", "toy", ToyMethod(), Config(), [], tmp_path)
    monkeypatch.setattr(loop, "here", lambda config: SimpleNamespace(first=first))

    def owner(output, place):
        run.report.info("a line")
        raise UsageError("enough")

    monkeypatch.setattr(loop, "sole_owner", owner)
    with pytest.raises(UsageError, match="enough"):
        run.go()
    assert ("a line" in capsys.readouterr().err) is first


# --- features that runs share ---------------------------------------------------------------------


def folder(features=None, identity=(), **changed) -> Path:
    """Where the features of a run lie."""
    method = ToyMethod()
    method.FEATURES = features
    run = loop.Run("train", "toy", method, Config(cache="c", **changed), [], Path("out"))
    known = {"command": "train", "method": "toy", "version": 1, "data": "d"}
    run.identity = {**known, **dict(identity)}
    return run._cache()


def test_runs_share_features_that_are_the_same_and_no_others():
    same = folder()
    assert same.parts[:2] == ("c", "features")
    for changed in ({"learning_rate": 0.5}, {"steps": 9}, {"batch_size": 1}, {"threads": 1}):
        assert folder(**changed) == same, changed
    for changed in ({"seed": 1}, {"variants": 2}, {"dtype": "float16"}, {"width": 5}):
        assert folder(**changed) != same, changed
    for name in ("command", "method", "version", "data"):
        assert folder(identity=[(name, "other")]) != same, name
    named = folder(("model",))
    assert folder(("model",), width=5) == named != folder(("model",), model="other")
    assert folder(("model",), seed=1) != named


@pytest.mark.parametrize("variants", [0, 2])
def test_only_features_that_come_again_are_kept(tmp_path, data, variants):
    train(tmp_path, [data], steps=2, variants=variants)
    assert bool(list(tmp_path.glob("cache/features/**/*.safetensors"))) is (variants > 0)


# --- how it ends ----------------------------------------------------------------------------------


def handlers():
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


def interrupted(at: int, then=lambda: None):
    """The toy's losses, that ask for a stop in a step (counted from 0), and then do something."""
    original = toy_method.losses

    def losses(state, batch, draw):
        if draw.step == at:
            os.kill(os.getpid(), signal.SIGTERM)
            then()
        return original(state, batch, draw)

    return losses


def test_a_stop_is_told_and_signals_are_as_before(tmp_path, data, monkeypatch, capsys):
    before = handlers()
    monkeypatch.setattr(toy_method, "losses", interrupted(2))
    with pytest.raises(SystemExit) as ended:
        train(tmp_path, [data], steps=9, checkpoint_every=99, quiet=False)
    assert ended.value.code == 143 and handlers() == before
    assert "stopped after step 2; the same command goes on" in capsys.readouterr().err
    last = log(tmp_path)[-1]
    assert (last["step"], last["event"]) == (2, "stopped")
    assert checkpoints.latest(tmp_path / "checkpoints").name == "step-000002"


def test_an_error_while_it_stops_is_not_hidden(tmp_path, data, monkeypatch):
    """Where a neighbour ends first, the connection breaks; one process alone has no such excuse."""

    def broken():
        raise RuntimeError("a fault of the method")

    monkeypatch.setattr(toy_method, "losses", interrupted(1, broken))
    with pytest.raises(RuntimeError, match="a fault of the method"):
        train(tmp_path, [data], steps=3)


def test_a_second_signal_insists(tmp_path):
    run = loop.Run("train", "toy", ToyMethod(), Config(), [], tmp_path)
    before = handlers()
    with pytest.raises(SystemExit) as ended, run._signals():
        os.kill(os.getpid(), signal.SIGTERM)
        assert run.stopping == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("it went on")
    assert ended.value.code == 143 and handlers() == before


def test_a_checkpoint_that_a_killed_run_had_no_time_to_remove_is_removed(tmp_path, data):
    train(tmp_path, [data], steps=3, keep=1, checkpoint_every=1)
    kept = tmp_path / "checkpoints"
    shutil.copytree(kept / "step-000003", kept / "step-000002")
    train(tmp_path, [data], steps=3, keep=1, checkpoint_every=1)  # finished: it writes nothing
    assert [p.name for p in kept.iterdir()] == ["step-000003"]


# --- the profile ----------------------------------------------------------------------------------


def test_a_profile_counts_the_steps_after_two_and_begins_anew(tmp_path, data, monkeypatch, capsys):
    """Beside a finished run too, of which it takes and changes nothing."""
    train(tmp_path, [data], steps=4)
    before = {p.name for p in tmp_path.rglob("*")}
    seen = []
    original = toy_method.losses

    def watched(state, batch, draw):
        seen.append(draw.step)
        return original(state, batch, draw)

    monkeypatch.setattr(toy_method, "losses", watched)
    train(tmp_path, [data], profile_steps=3, steps=4, wait=0.05)
    assert sorted(set(seen)) == [0, 1, 2, 3, 4] and len(seen) == 5 * 2
    assert {p.name for p in tmp_path.rglob("*")} == before
    out = capsys.readouterr().out
    cells = {line.split()[0]: line.split() for line in out.splitlines()}
    # The first two steps are not counted: each of the others waits twice in its forward passes.
    assert float(cells["forward"][1]) >= 0.1
    rate = float(re.search(r"([\d.]+) samples/s", out)[1])
    total = float(cells["total"][1])
    assert rate == pytest.approx(4 / total, rel=0.05)
    assert float(cells["other"][1]) > 0

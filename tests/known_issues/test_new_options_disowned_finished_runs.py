"""A version with one option more refused to go on with everything that was made before it, as if
the usual value of an option that was not there yet were another one."""

from __future__ import annotations

import json

import pytest
from conftest import samples
from toy_method import train

from socialcli import shards
from socialcli.errors import UsageError
from socialcli.training import checkpoints

WORLD = ("import", "world", "interaction-sentences", "--scenes", 3, "--size", 48)


def test_a_finished_shard_of_a_version_without_the_option_is_kept(tmp_path, run_cli):
    run_cli(*WORLD, "-o", tmp_path)
    stats, before = tmp_path / "000000.stats.json", (tmp_path / "000000.tar").read_bytes()
    body = json.loads(stats.read_text())
    assert body["identity"].pop("option animals") == 0.5  # as an earlier version wrote it
    stats.write_text(json.dumps(body))
    assert b"finished already" in run_cli(*WORLD, "-o", tmp_path).stderr
    other = run_cli(*WORLD, "--animals", 0, "-o", tmp_path, code=2).stderr
    assert b"option animals was None, now 0.0" in other
    assert (tmp_path / "000000.tar").read_bytes() == before
    body["identity"]["option of-a-later-version"] = 1  # what it did to the result nobody knows
    stats.write_text(json.dumps(body))
    assert b"of-a-later-version was 1" in run_cli(*WORLD, "-o", tmp_path, code=2).stderr


def test_a_training_goes_on_from_a_version_without_the_option(tmp_path):
    shards.write(tmp_path / "a.tar", samples(0, 4))
    train(tmp_path / "out", [str(tmp_path / "a.tar")], steps=3)
    place = checkpoints.latest(tmp_path / "out" / "checkpoints")
    file = next(f for f in place.rglob("*.json") if "identity" in f.read_text())
    body = json.loads(file.read_text())
    assert body["identity"].pop("--max-grad-norm") is not None
    file.write_text(json.dumps(body))
    train(tmp_path / "out", [str(tmp_path / "a.tar")], steps=5)
    assert checkpoints.read_state(checkpoints.latest(tmp_path / "out" / "checkpoints"))["step"] == 5
    with pytest.raises(UsageError, match="--learning-rate was"):
        train(tmp_path / "out", [str(tmp_path / "a.tar")], steps=6, learning_rate=0.3)

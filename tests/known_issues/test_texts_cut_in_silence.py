"""`train --method fastcomposer` learnt long captions from their beginning without saying so: the
end that is cut off was asked for where features are made, and this method makes none."""

from __future__ import annotations

import json

import toy_method
from conftest import samples
from parts import part

from socialcli import shards
from socialcli.training.method import TrainMethod


def test_a_method_without_features_says_what_it_cuts(tmp_path, monkeypatch, capsys):
    shards.write(tmp_path / "data.tar", samples(0, 6))
    prepared = toy_method.prepare
    for name, hook in (
        ("features", TrainMethod.features),
        ("prepare", lambda _, *given: {**prepared(*given), "pair": [1, 2]}),
        ("unread", lambda _, state, example: "its end" * (example["number"] == 2)),
    ):
        monkeypatch.setattr(toy_method.ToyMethod, name, hook, raising=False)
    toy_method.train(tmp_path / "out", [str(tmp_path / "data.tar")], steps=6, quiet=False)
    stderr = capsys.readouterr().err
    assert "00002: its text is longer" in stderr and "the texts of 1 samples were cut" in stderr
    lines = map(json.loads, (tmp_path / "out" / "log.jsonl").read_text().splitlines())
    assert [one["key"] for one in lines if one.get("event") == "text cut"] == ["00002"]


def test_that_is_what_fastcomposer_is():
    method = part("methods.train", "fastcomposer")
    assert method.has("unread") and not method.has("features")

"""A training that went on had forgotten whom it had left out, and whose text it had cut, before it
was stopped: run.json counted the texts cut since, each line of the log the samples skipped since,
and the log named samples twice. A run ends as it would have ended undisturbed, in this too."""

from __future__ import annotations

import json
from pathlib import Path

import toy_method
from conftest import samples

from socialcli import shards


def told(folder: Path) -> tuple[int, int, list[str], list[str]]:
    """What run.json counts as cut, the last line as skipped, and whom the log names as either."""
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    cut, left = (
        sorted(one["key"] for one in log if one.get("event") == event)
        for event in ("text cut", "skipped")
    )
    last = [one["skipped"] for one in log if "loss" in one][-1]
    count = json.loads((folder / "run.json").read_text())["texts_cut"]
    return count, last, cut, left


def test_what_was_told_before_the_stop_is_known_after_it(tmp_path, monkeypatch):
    shards.write(tmp_path / "data.tar", samples(0, 20))
    monkeypatch.setattr(
        toy_method.ToyMethod, "unread", lambda self, state, e: "its end" * (e["number"] % 2),
        raising=False,
    )  # fmt: skip
    same = {"unusable": ",".join(f"{n:05d}" for n in range(0, 20, 4)), "threads": 1}
    data = [str(tmp_path / "data.tar")]
    toy_method.train(tmp_path / "whole", data, steps=9, **same)
    for steps in (4, 9):
        toy_method.train(tmp_path / "stopped", data, steps=steps, **same)
    whole, stopped = told(tmp_path / "whole"), told(tmp_path / "stopped")
    assert whole == stopped
    assert whole[0] == len(whole[2]) > 5 and whole[1] == len(whole[3]) == 5

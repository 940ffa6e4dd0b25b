"""A ``NAME.stats.json`` of another program beside an input ended a command with a traceback, where
the number of its samples was wanted: its form was trusted once it was JSON at all."""

from __future__ import annotations

import json

import pytest
from conftest import samples, tars

from socialcli import shards
from socialcli.pipeline import run
from socialcli.pipeline.run import RunOptions
from socialcli.registry import load

SIZE = object()  # the shard's, so that it might be what its stats speak of
OURS = {"total": 2, "ok": 2, "filtered": 0, "failed": 0, "damaged": 0}


def caption(source, out, **options):
    config = vars(load("stages", "caption").config_type(backend="given"))
    return run.run_stage("stages", "caption", config, [str(source)], str(out),
                         RunOptions(quiet=True, **options))  # fmt: skip


@pytest.mark.parametrize(
    "stats",
    [
        {"output": None},
        {"output": {"bytes": SIZE}},
        {"output": {"bytes": SIZE}, "counts": 3},
        {"output": {"bytes": SIZE}, "counts": {"ok": 1}},
        {"output": {"bytes": SIZE}, "counts": OURS, "identity": 3},
        {"output": {"bytes": SIZE}, "counts": OURS, "identity": {}, "timing": {}, "input": None},
        {"output": {"bytes": SIZE}, "counts": OURS | {"ok": "9"}},
        "[" * 100_000,
    ],
)
def test_they_say_nothing(tmp_path, stats):
    shard = tmp_path / "in" / "000.tar"
    shards.write(shard, samples(0, 2))
    text = stats if isinstance(stats, str) else json.dumps(stats, default=lambda _: size(shard))
    shard.with_name("000.stats.json").write_text(text)
    for _ in range(2):
        assert caption(tmp_path / "in", tmp_path / "out", limit=1).counts["ok"] == 1
    assert caption(tmp_path / "in", tmp_path / "all").counts["ok"] == 2
    # Nor do they call an output finished.
    made = tars(tmp_path / "all")
    (tmp_path / "all" / "000.stats.json").write_text(text)
    assert caption(tmp_path / "in", tmp_path / "all").skipped == 0
    assert tars(tmp_path / "all") == made


def size(file):
    return file.stat().st_size

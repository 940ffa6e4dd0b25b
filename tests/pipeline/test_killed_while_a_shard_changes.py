"""A shard, its errors and its stats appear in an order in which none speaks for another's run.

Runs are killed at every single change of a name, and looked at before and after the next run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import leftovers, samples, tars

from socialcli import shards
from socialcli.pipeline import plan as planning
from socialcli.pipeline.run import RunOptions, run_stage
from socialcli.shards import publishing


def caption(source: Path, out: Path, **options: Any) -> None:
    more = RunOptions(quiet=True, max_error_rate=1.0, **options)
    run_stage("stages", "caption", {"backend": "given"}, [str(source)], str(out), more)


def outcome(out: Path) -> tuple[bytes | None, bytes | None]:
    """The shard and its errors; None for what is not there."""
    files = [out / "000.tar", out / "000.errors.jsonl"]
    shard, errors = (file.read_bytes() if file.exists() else None for file in files)
    return shard, errors


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    """Two inputs of one name and size, of which another sample fails: so do their outputs."""
    for name, lacks in (("a", 1), ("b", 3)):
        rows = samples(0, 5)
        del rows[lacks][1]["txt"]
        shards.write(tmp_path / name / "000.tar", rows)
    return [tmp_path / "a", tmp_path / "b"]


def killed(count: int, run: Callable[[], None]) -> bool:
    """Whether a run, in a process of its own, was killed before its ``count``-th change."""
    child = os.fork()
    if child == 0:
        left, code = [count], 1

        def counted(change: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
                return change(*args, **kwargs)

            return wrapped

        for name in ("replace", "mkdir", "unlink"):
            setattr(Path, name, counted(getattr(Path, name)))
        try:
            run()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


@pytest.mark.parametrize("before", [False, True])
def test_killed_at_every_change(tmp_path, inputs, before, monkeypatch):
    # Another command knows nothing of what this process saw in the folder a moment ago.
    monkeypatch.setattr(publishing, "_LOOKS", 0)
    first, second = inputs
    clean = {}
    for source in inputs:
        caption(source, tmp_path / f"clean-{source.name}")
        noted = json.loads((tmp_path / f"clean-{source.name}" / "000.stats.json").read_text())
        clean[noted["input"][0]["checksum"]] = outcome(tmp_path / f"clean-{source.name}")
    old, new = clean.values()
    assert len(old[0]) == len(new[0]) and old != new  # no size tells which one a shard is
    count = 1
    while True:
        out = tmp_path / f"{count}"
        if before:
            caption(first, out)
        if not killed(count, lambda out=out: caption(second, out, overwrite=before)):
            break
        body = planning.load_stats(str(out / "000.tar"))
        if body is not None:
            assert outcome(out) == clean[body["input"][0]["checksum"]]
        if body is None or outcome(out) == new:
            caption(second, out)  # nobody has to say --overwrite
            assert outcome(out) == new and leftovers(out) == []
        count += 1
    assert count > 4 + before


def test_what_is_on_the_disk_when_a_name_appears(tmp_path, inputs, disk_events):
    """A power cut: the shard's and the errors' bytes are there before their names, and both names
    before the stats that vouch for them."""
    caption(inputs[0], tmp_path / "out")
    assert disk_events == [
        ("on disk", "000.errors.jsonl"), ("named", "000.errors.jsonl"),
        ("on disk", "000.tar"), ("named", "000.tar"),
        ("on disk", "out"), ("named", "000.stats.json"),
    ]  # fmt: skip
    assert tars(tmp_path / "out")

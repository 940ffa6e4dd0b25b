"""What was damaged in a sidecar, and its last files that belong to no sample, were lost without a
word: a join spoke only of the damage of its first archive."""

from __future__ import annotations

import json

import pytest
from conftest import members, samples

from socialcli import shards


@pytest.fixture
def join(tmp_path) -> str:
    """A shard and a sidecar of two members a sample, the first of which is broken in 00001."""
    shards.write(tmp_path / "000.tar", samples(0, 3))
    rows = [(key, {"a.json": b"{}", "b.json": b"{}"}) for key, _ in samples(0, 3)]
    side = tmp_path / "side.tar"
    shards.write(side, [*rows, ("notes/", {"hidden": b"x"})])
    data = side.read_bytes()
    where = data.find(b"00001.a.json")
    side.write_bytes(data[:where] + b"XXXXX" + data[where + 5 :])
    return f"{tmp_path}/000.tar+{side}"


def test_the_damage_is_counted_and_named(run_cli, tmp_path, join):
    line = ["caption", "--backend", "given", join, "-o", tmp_path / "out"]
    assert b"side.tar" in run_cli(*line, "--max-error-rate", 0.5).stderr
    counts = json.loads((tmp_path / "out" / "000.stats.json").read_text())["counts"]
    assert counts == {"total": 3, "ok": 3, "filtered": 0, "failed": 0, "damaged": 1}
    (error,) = map(json.loads, (tmp_path / "out" / "000.errors.jsonl").read_text().splitlines())
    assert error["status"] == "damaged" and "in " in error["reason"]
    assert "side.tar: " in error["reason"] and "not a tar header" in error["reason"]
    assert set(members(tmp_path / "out")["00001"]) == {
        "jpg",
        "txt",
        "bin",
        "b.json",
        "caption.json",
    }


def test_merge_names_it_too(run_cli, tmp_path, join):
    done = run_cli("merge", join, "-o", tmp_path / "merged", code=1)  # a quarter is damaged
    assert b"side.tar: " in done.stderr and b"not a tar header" in done.stderr
    assert b"3 samples merged, 1 left out" in done.stderr


def test_files_of_no_sample_travel_from_wherever_they_are(join):
    names = [suffix for one in shards.read_all(join) if isinstance(one, shards.Sample)
             for suffix, _, _ in one.blocks]  # fmt: skip
    assert names[-1] == ""

"""What a shard's run writes and says: files of no sample, empty sidecars, notes, first warnings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import members, picture, samples, tars
from parts import part

from socialcli import shards
from socialcli.errors import SampleFailed, SampleFiltered
from socialcli.pipeline.run import RunOptions, run_stage
from socialcli.pipeline.stage import Noted


def caption(source: Path | str, out: Path, **options: Any) -> dict[str, int]:
    """`socialcli caption --backend given` in this process; the counts of its first shard."""
    config: dict[str, Any] = {"backend": "given", **options.pop("config", {})}
    more = RunOptions(**{"quiet": True, "max_error_rate": 1.0, **options})
    run_stage("stages", "caption", config, [str(source)], str(out), more)
    counts: dict[str, int] = json.loads((out / "000.stats.json").read_text())["counts"]
    return counts


def files_of(path: Path) -> list[str]:
    """Every file of a shard by its name, in order."""
    import tarfile

    with tarfile.open(path) as archive:
        return archive.getnames()


@pytest.fixture
def loose(tmp_path: Path) -> Path:
    """Three samples with a file that belongs to none before each, and one at the end."""
    rows: list[tuple[str, dict[str, bytes]]] = []
    for key, body in samples(0, 3):
        rows += [(f"notes/{key}/", {"hidden": key.encode()}), (key, body)]
    rows.append(("notes/", {"hidden": b"the end"}))
    shards.write(tmp_path / "in" / "000.tar", rows)
    return tmp_path / "in"


def test_files_of_no_sample_travel_once(loose, tmp_path):
    """With their shard, not with its sidecars; and are no samples to a limit."""
    everything = files_of(loose / "000.tar")
    assert [name for name in everything if "hidden" in name] == [
        "notes/00000/.hidden", "notes/00001/.hidden", "notes/00002/.hidden", "notes/.hidden",
    ]  # fmt: skip
    caption(loose, tmp_path / "out")
    kept = [name for name in files_of(tmp_path / "out" / "000.tar") if "caption" not in name]
    assert kept == everything
    caption(loose, tmp_path / "side", sidecar=True)
    assert files_of(tmp_path / "side" / "000.tar") == [f"{n:05d}.caption.json" for n in range(3)]
    assert caption(loose, tmp_path / "limited", limit=2)["total"] == 2
    assert list(members(tmp_path / "limited")) == ["00000", "00001"]


def test_a_limit_counts_samples_and_no_damaged_places(tmp_path):
    shards.write(tmp_path / "000.tar", samples(0, 5))
    data = (tmp_path / "000.tar").read_bytes()
    (tmp_path / "000.tar").write_bytes(b"XXXXX" + data[5:])  # the header of 00000.jpg
    counts = caption(tmp_path / "000.tar", tmp_path / "out", limit=3)
    assert (counts["total"], counts["damaged"]) == (3, 1)


def test_a_sidecar_has_every_key_even_where_nothing_is_added(tmp_path, monkeypatch):
    shards.write(tmp_path / "000.tar", samples(0, 4))
    stage = part("stages", "caption")
    process = stage.process

    def some(config: Any, loaded: Any, items: list[Any]) -> list[Any]:
        done = process(config, loaded, items)
        return [{} if i.key == "00001" else one for i, one in zip(items, done, strict=True)]

    monkeypatch.setattr(stage, "process", some)
    counts = caption(tmp_path / "000.tar", tmp_path / "side", sidecar=True)
    assert counts["ok"] == 4
    assert members(tmp_path / "side")["00001"] == {"status.json": b'{"status":"ok"}'}
    joined = members(f"{tmp_path}/000.tar+{tmp_path}/side/000.tar")
    assert [set(body) - {"jpg", "txt", "bin"} for body in joined.values()] == [
        {"caption.json"}, set(), {"caption.json"}, {"caption.json"},
    ]  # fmt: skip


def test_a_shard_warns_of_its_first_failures(tmp_path, capsys):
    """Three lines a shard are enough to see what is wrong; the rest is in its errors file. What
    was filtered on purpose is no warning, and is no failure."""
    rows = [(f"{n:05d}", {"jpg": picture(n)}) for n in range(9)]
    shards.write(tmp_path / "000.tar", rows)
    counts = caption(tmp_path / "000.tar", tmp_path / "out")
    assert counts["failed"] == 9
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[2] for line in lines] == ["00000", "00001", "00002"]
    assert len((tmp_path / "out" / "000.errors.jsonl").read_text().splitlines()) == 9


def test_what_is_filtered_is_said_in_the_end_alone(tmp_path, capsys, monkeypatch):
    def prepare(config: Any, sample: shards.Sample) -> Any:
        raise SampleFiltered("a drawing")

    monkeypatch.setattr(part("stages", "caption"), "prepare", prepare)
    shards.write(tmp_path / "000.tar", samples(0, 2))
    counts = caption(tmp_path / "000.tar", tmp_path / "out", quiet=False, max_error_rate=0.0)
    assert counts["filtered"] == 2 and tars(tmp_path / "out")
    (line,) = capsys.readouterr().err.splitlines()
    assert "2 samples: 0 ok, 2 filtered, 0 failed; reasons are in *.errors.jsonl" in line


def test_notes_are_counted_and_said_once_and_outlive_a_retry(tmp_path, monkeypatch, capsys):
    shards.write(tmp_path / "000.tar", samples(0, 5))
    stage = part("stages", "caption")
    prepare, process = stage.prepare, stage.process

    def noting(config: Any, loaded: Any, items: list[Any]) -> list[Any]:
        return [Noted(one, {"prompts_cut": "a prompt was cut"} if i.key != "00000" else {})
                for i, one in zip(items, process(config, loaded, items), strict=True)]  # fmt: skip

    def failing(config: Any, sample: shards.Sample) -> Any:
        if sample.key in ("00000", "00003"):
            raise SampleFailed("the network was away")
        return prepare(config, sample)

    monkeypatch.setattr(stage, "process", noting)
    with monkeypatch.context() as before:
        before.setattr(stage, "prepare", failing)
        counts = caption(tmp_path / "000.tar", tmp_path / "out")
    assert (counts["ok"], counts["failed"], counts["prompts_cut"]) == (3, 2, 3)
    assert capsys.readouterr().err.count("a prompt was cut") == 1
    counts = caption(tmp_path / "000.tar", tmp_path / "out", retry_failed=True, quiet=False)
    assert (counts["ok"], counts["failed"], counts["prompts_cut"]) == (5, 0, 4)
    assert "5 ok, 0 filtered, 0 failed, 4 prompts cut" in capsys.readouterr().err


def test_a_retry_takes_over_what_belongs_to_a_key(tmp_path, monkeypatch):
    """Where failed samples were dropped, the earlier shard lacks their keys."""
    shards.write(tmp_path / "000.tar", samples(0, 6))
    stage = part("stages", "caption")
    prepare = stage.prepare

    def failing(config: Any, sample: shards.Sample) -> Any:
        if sample.key in ("00000", "00002", "00003", "00005"):
            raise SampleFailed("the network was away")
        return prepare(config, sample)

    caption(tmp_path / "000.tar", tmp_path / "clean", on_error="drop")
    with monkeypatch.context() as before:
        before.setattr(stage, "prepare", failing)
        caption(tmp_path / "000.tar", tmp_path / "out", on_error="drop")
    assert list(members(tmp_path / "out")) == ["00001", "00004"]
    caption(tmp_path / "000.tar", tmp_path / "out", on_error="drop", retry_failed=True)
    assert tars(tmp_path / "out") == tars(tmp_path / "clean")

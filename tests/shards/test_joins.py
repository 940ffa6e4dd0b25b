"""Joins: what a sidecar says of a sample, and which of two members and reasons is kept."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from conftest import samples

from socialcli import shards
from socialcli.shards import sample as reading

Rows = list[tuple[str, dict[str, bytes]]]


def joined(tmp_path: Path, *archives: Rows | bytes) -> dict[str, shards.Sample]:
    """Samples by key of archives joined in this order, named 0.tar, 1.tar, ..."""
    paths = [str(tmp_path / f"{number}.tar") for number in range(len(archives))]
    for path, rows in zip(paths, archives, strict=True):
        if isinstance(rows, bytes):
            Path(path).write_bytes(rows)
        else:
            shards.write(path, rows)
    read = [one for one in shards.read_all("+".join(paths)) if isinstance(one, shards.Sample)]
    return {one.key: one for one in read}


def archive(*rows: tuple[str, dict[str, bytes]], end: bool = True) -> bytes:
    out = io.BytesIO()
    writer = shards.Writer(out)
    for key, body in rows:
        writer.added(key, body)
    if end:
        writer.close()
    return out.getvalue()


def status(**body: object) -> dict[str, bytes]:
    return {"status.json": json.dumps(body).encode()}


def twice(key: str, suffix: str) -> bytes:
    """A sample that has two members of one suffix."""
    return archive((key, {suffix: b"1"}), end=False) + archive((key, {suffix: b"2"}))


def cut(rows: bytes) -> bytes:
    """An archive whose last member lacks bytes."""
    return rows[: -1024 - 512 - 100]


BASE: Rows = [("a", {"jpg": b"1", "txt": b"old"})]


def test_a_sidecars_problem_is_the_samples(tmp_path):
    sample = joined(tmp_path, BASE, twice("a", "x"))["a"]
    assert sample.problem.endswith("1.tar: two members are called x") and "in " in sample.problem
    assert sample.whole


def test_a_sample_that_its_sidecar_has_cut_is_not_written_again(tmp_path):
    side = archive(("a", {"one": b"1"}), ("a", {"two": bytes(1024)}))
    sample = joined(tmp_path, BASE, cut(side))["a"]
    assert sample.problem and "1.tar" in sample.problem and not sample.whole


def test_the_first_reason_is_kept(tmp_path):
    sample = joined(tmp_path, twice("a", "jpg"), twice("a", "x"))["a"]
    assert sample.problem == "two members are called jpg"
    sample = joined(tmp_path, BASE, twice("a", "x"), twice("a", "y"))["a"]
    assert sample.problem.endswith("1.tar: two members are called x")
    sides = [[("a", status(status="filtered", reason=why))] for why in ("a drawing", "too small")]
    sample = joined(tmp_path, BASE, *sides)["a"]
    assert sample.filtered == "a drawing"
    assert [note["reason"] for note in sample.notes] == ["a drawing", "too small"]


def test_a_status_is_read_and_is_no_member(tmp_path):
    rows = [(key, BASE[0][1]) for key in "abcdef"]
    side = [
        ("a", status(status="ok")),
        ("b", status(status="failed", reason="no face")),
        ("c", status(status="filtered", reason="a drawing")),
        ("d", {"status.json": b"[1]"}),  # of somebody else: no status, and no reason to stop
        ("e", {"status.json": b"{half"}),
        ("f", status(status="filtered")),
    ]
    by_key = joined(tmp_path, rows, side)
    assert [s.filtered for s in by_key.values()] == [None, None, "a drawing", None, None, ""]
    assert [[note["reason"] for note in s.notes] for s in by_key.values()] == [
        [], ["no face"], ["a drawing"], [], [], [],
    ]  # fmt: skip
    assert all(s.members == BASE[0][1] for s in by_key.values())
    assert all([b[0] for b in s.blocks] == ["jpg", "txt"] for s in by_key.values())
    join = f"{tmp_path}/0.tar+{tmp_path}/1.tar"
    assert [s.key for s in shards.read(join)] == ["a", "b", "d", "e"]  # as if c, f were not there


def test_the_sidecars_member_takes_the_place_of_the_older_one(tmp_path):
    sample = joined(tmp_path, BASE, [("a", {"txt": b"new", "y": b"3"})], [("a", {"y": b"4"})])["a"]
    assert sample.members == {"jpg": b"1", "txt": b"new", "y": b"4"}
    out = io.BytesIO()
    writer = shards.Writer(out)
    writer.passed(sample, {})
    writer.close()
    assert out.getvalue() == archive(("a", {"jpg": b"1", "txt": b"new", "y": b"4"}))


def test_files_of_no_sample_in_a_sidecar_travel_and_are_no_members(tmp_path):
    sample = joined(tmp_path, BASE, [("notes/", {"hidden": b"x"}), ("a", {"y": b"3"})])["a"]
    assert set(sample.members) == {"jpg", "txt", "y"}
    assert [suffix for suffix, _, _ in sample.blocks] == ["jpg", "txt", "", "y"]


@pytest.mark.parametrize("gap", [1, 3, 4])
def test_a_key_that_comes_back_is_noticed_wherever_it_is(monkeypatch, gap):
    """Keys are forgotten a generation at a time, none before as many others have come."""
    monkeypatch.setattr(reading, "REMEMBERED", 4)
    for first in range(9):
        keys = [f"{n:02d}" for n in range(20)]
        keys[first + gap] = keys[first]
        stream = io.BytesIO(archive(*[(key, {"jpg": b"1"}) for key in keys]))
        read = list(reading._group(stream, shards.Checksum()))
        if gap == 1:  # one after the other they are one sample with two files of one name
            assert [s.key for s in read if s.problem] == [keys[first]]
        else:
            assert [bool(s.problem) for s in read].index(True) == first + gap
            assert sum(bool(s.problem) for s in read) == 1


def test_keys_are_scanned_as_samples_are_read(tmp_path):
    """Loose files between, archives one after another that meet in a key, folders."""
    one, two = samples(0, 3), samples(2, 5)
    loose = ("notes/", {"hidden": b"x"})
    data = archive(loose, *one) + archive(*two, ("d/e", {"jpg": b"1", "txt": b"2"}), loose)
    (tmp_path / "a.tar").write_bytes(data)
    read = [s.key for s in shards.read(str(tmp_path / "a.tar"))]
    assert read == ["00000", "00001", "00002", "00002", "00003", "00004", "d/e"]
    assert list(shards.scan(str(tmp_path / "a.tar"))) == read

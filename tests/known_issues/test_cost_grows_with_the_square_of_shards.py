"""Every file that was published looked through its whole folder for what killed runs had left of
it, so that a run of n shards into one folder cost n times n."""

from __future__ import annotations

import os

import numpy

from socialcli import records, shards
from socialcli.cli.commands import export
from socialcli.shards import publishing
from socialcli.vision import masks


def test_a_large_folder_is_not_looked_through_for_every_shard(tmp_path, monkeypatch):
    """With a clock that only looking moves on: a second each time."""
    looks, now = [], [100.0]
    real = os.scandir

    def scandir(place):
        looks.append(place)
        now[0] += 1.0
        return real(place)

    monkeypatch.setattr(publishing.os, "scandir", scandir)
    monkeypatch.setattr(publishing.time, "monotonic", lambda: now[0])
    for number in range(200):
        shards.write_bytes(str(tmp_path / f"{number}.json"), b"{}", synced=False)
    assert len(looks) == 1
    now[0] += 60  # one part in fifty of the time, at most
    shards.write_bytes(str(tmp_path / "last.json"), b"{}", synced=False)
    assert len(looks) == 2


def test_what_a_killed_run_left_is_removed_all_the_same(tmp_path, monkeypatch):
    left = tmp_path / ".a.tar.tmp-here-1-0"
    other = tmp_path / ".ab.tar.tmp-here-1-0"
    for file in (left, other):
        file.write_bytes(b"half")
    held = (tmp_path / ".a.tar.tmp-here-2-0").open("wb")
    assert publishing.lock(held.fileno())
    shards.write(tmp_path / "a.tar", [("k", {"txt": b"x"})])
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"a.tar", other.name, ".a.tar.tmp-here-2-0"}
    held.close()
    known = publishing._folders[tmp_path]
    known.until = 0.0  # as some time later
    shards.write(tmp_path / "a.tar", [("k", {"txt": b"y"})])
    assert {p.name for p in tmp_path.iterdir()} == {"a.tar", other.name}


def test_layouts_look_through_each_folder_once(tmp_path, monkeypatch):
    looks, real = [], os.scandir

    def scandir(place="."):
        looks.append(str(place))
        return real(place)

    whole = masks.encode(numpy.ones((12, 16)))
    layout = records.Layout(16, 12, "a", [records.Segment(1, "#112233", "a", whole)])
    rows = [(f"{n % 2}/{n}", {"layout.json": records.dump(layout)}) for n in range(20)]
    shards.write(tmp_path / "a.tar", rows)
    left = tmp_path / "out" / "1" / publishing.hidden("files")
    left.mkdir(parents=True)  # by a run that was killed
    monkeypatch.setattr(publishing.os, "scandir", scandir)
    export.command([str(tmp_path / "a.tar")], str(tmp_path / "out"), format="layout")
    assert [looks.count(str(tmp_path / "out" / name)) for name in "01"] == [1, 1]
    files = {f"{key}.{suffix}" for key, _ in rows for suffix in ("png", "toml")}
    out = tmp_path / "out"
    assert {str(f.relative_to(out)) for f in out.rglob("*") if not f.is_dir()} == files
    assert not left.exists()

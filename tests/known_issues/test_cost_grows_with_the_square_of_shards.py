"""Every file that was published looked through its whole folder for what killed runs had left of
it, so that a run of n shards into one folder cost n times n."""

from __future__ import annotations

import os

from socialcli import shards
from socialcli.shards import publishing


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

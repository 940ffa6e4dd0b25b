"""Folders that appear whole: what is on the disk when, what becomes of what was there before."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from socialcli import shards
from socialcli.errors import UsageError
from socialcli.shards import folders, publishing


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def left_behind(folder: Path, what: str = "old") -> Path:
    """What a process of this machine that was killed has left in a folder."""
    left = folder / f".{what}.tmp-{publishing.mark()}"
    left.mkdir(parents=True)
    (left / "x").write_text("half")
    return left


def test_names_of_files_are_refused_in_any_case(tmp_path):
    for given in ("x.txt", "x.TXT", "x.Jpg"):
        with pytest.raises(UsageError, match="this is the name of a file"):
            folders.refuse_file_name(str(tmp_path / given), "pictures")
        folders.refuse_file_name(f"{tmp_path / given}/", "pictures")
        (tmp_path / given).mkdir()
        folders.refuse_file_name(str(tmp_path / given), "pictures")
    folders.refuse_file_name(str(tmp_path / "run.v2"), "pictures")
    (tmp_path / "run.v2").write_text("")
    with pytest.raises(UsageError, match="is a file; pictures go into a folder"):
        folders.refuse_file_name(str(tmp_path / "run.v2"), "pictures")


def test_a_folder_is_on_the_disk_before_its_name(tmp_path, disk_events):
    with shards.publish_folder(tmp_path / "a") as folder:
        (folder / "in").mkdir()
        (folder / "in" / "deep.txt").write_text("1")
        (folder / "flat.txt").write_text("2")
    assert set(disk_events[:4]) == {("on disk", n) for n in ("in", "deep.txt", "flat.txt", "a")}
    assert disk_events[3:] == [("on disk", "a"), ("named", "a"), ("on disk", tmp_path.name)]


def test_what_is_settled_is_on_the_disk_before_its_name(tmp_path, disk_events):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "a.bin").write_text("1")
    folders.settle(tmp_path / "part" / "a.bin", tmp_path / "a.bin")
    assert disk_events == [("on disk", "a.bin"), ("named", "a.bin"), ("on disk", tmp_path.name)]


def test_nothing_of_the_folder_before_is_left(tmp_path):
    for text in ("one", "two"):
        with shards.publish_folder(tmp_path / "a") as folder:
            (folder / text).write_text(text)
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["two"]


def test_files_and_folders_are_settled_over_what_was_there(tmp_path):
    for text in ("one", "two"):
        for kind in ("file", "folder"):
            part = tmp_path / "parts" / kind
            (part if kind == "folder" else part.parent).mkdir(parents=True)
            (part / text if kind == "folder" else part).write_text(text)
            folders.settle(part, tmp_path / kind)
            part.parent.rmdir()
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "two" and names(tmp_path / "folder") == ["two"]


def test_a_folder_that_is_being_removed_has_no_name(tmp_path, monkeypatch):
    """Whoever reads meanwhile finds all of it or nothing."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("x")
    there = []
    rmtree = shutil.rmtree

    def removing(path: Path, **how: Any) -> None:
        there.append((Path(path).name[0], (tmp_path / "a").exists(), (Path(path) / "x").exists()))
        rmtree(path, **how)

    monkeypatch.setattr(shutil, "rmtree", removing)
    folders.remove_folder(tmp_path / "a")
    assert there == [(".", False, True)] and names(tmp_path) == []
    folders.remove_folder(tmp_path / "a")  # nothing there is nothing to do


def test_what_was_left_behind_is_swept_before_more_is_written(tmp_path):
    left_behind(tmp_path, "other")
    with shards.publish_folder(tmp_path / "a") as folder:
        assert names(tmp_path) == [folder.name]
    assert names(tmp_path) == ["a"]


def test_many_files_sweep_each_folder_once(tmp_path, monkeypatch):
    left_behind(tmp_path / "one")
    left_behind(tmp_path / "two")
    looked_at = []
    sweep = folders.sweep
    monkeypatch.setattr(folders, "sweep", lambda folder: looked_at.append(folder) or sweep(folder))
    files = shards.ManyFiles()
    for number in range(3):
        for folder in ("one", "two"):
            files.write(str(tmp_path / folder / f"{number}.txt"), b"%d" % number)
    assert looked_at == [tmp_path / "one", tmp_path / "two"]
    for folder in ("one", "two"):
        assert names(tmp_path / folder) == ["0.txt", "1.txt", "2.txt"]
    assert (tmp_path / "two" / "1.txt").read_bytes() == b"1"


def test_files_of_their_owner_alone_are_published_readable(tmp_path):
    before = os.umask(0o022)
    try:
        with shards.publish_folder(tmp_path / "a") as folder:
            for name, mode in (("weights", 0o600), ("script", 0o700)):
                (folder / name).touch()
                (folder / name).chmod(mode)
    finally:
        os.umask(before)
    modes = {name: (tmp_path / "a" / name).stat().st_mode & 0o777 for name in ("weights", "script")}
    assert modes == {"weights": 0o644, "script": 0o744}


def test_an_exit_at_any_moment_removes_what_is_not_published(tmp_path, monkeypatch):
    """As `atexit` does it: a signal may come where no ``finally`` is yet."""
    monkeypatch.setattr(publishing, "unfinished", set())
    publication = folders.FolderPublication(tmp_path, "a")
    (publication.path / "x").write_text("half")
    publishing.discard_unfinished()
    assert names(tmp_path) == []
    publication.discard()
    publication = folders.FolderPublication(tmp_path, "b")
    publication.commit("b")
    publication.discard()  # published: it stays
    publishing.discard_unfinished()
    assert names(tmp_path) == ["b"] and not publishing.unfinished

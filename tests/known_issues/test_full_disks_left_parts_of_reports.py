"""`inspect --out` on a full disk left an empty folder, or sheets without a page; where a report was
already, its sheets were gone or new, and its page old. `score` and `score --compare` left figures
of two runs beside each other, every command the empty folder that it had made."""

from __future__ import annotations

import contextlib
import errno
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import scenes
from typer.testing import CliRunner

from socialcli import shards
from socialcli.cli import app
from socialcli.errors import SocialcliError
from socialcli.evaluation import compare


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file may grow larger: as on a full disk, part of what is to be written does not fit."""
    before, bytecode = resource.getrlimit(resource.RLIMIT_FSIZE), sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # it would be cut, and be there for the next who imports it
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sys.dont_write_bytecode = bytecode


def contents(folder: Path) -> dict[str, bytes | None]:
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in paths}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("source") / "a.tar"
    shards.write(file, [(f"k{n}", scenes.members(n)) for n in range(6)])
    return file


def inspected(source: Path, out: Path, *more: str) -> int:
    words = ["inspect", str(source), "--out", str(out), "--sample", "2", "--page-size", "1", *more]
    done = CliRunner().invoke(app.app, words)
    assert done.exit_code == 0 or "no file may grow that large here" in done.output
    return done.exit_code


@pytest.mark.parametrize("size", [1000, 30_000])  # no sheet fits; the page does not
def test_inspect(source, tmp_path, size):
    with files_up_to(size):
        assert inspected(source, tmp_path / "new" / "report") == 1
    assert contents(tmp_path) == {}
    assert inspected(source, tmp_path) == 0
    before = contents(tmp_path)
    assert {"index.html", "sheet-000.png", "sheet-001.png"} < set(before)
    with files_up_to(size):
        assert inspected(source, tmp_path, "--limit", "1") == 1
    assert contents(tmp_path) == before
    assert inspected(source, tmp_path, "--limit", "1") == 0
    assert "sheet-000.png" in contents(tmp_path) and "sheet-001.png" not in contents(tmp_path)


def test_files_that_belong_together(tmp_path):
    out = tmp_path / "new" / "out"
    full = OSError(errno.ENOSPC, "No space left on device")
    for there in (False, True):
        before = contents(tmp_path)
        with (
            pytest.raises(SocialcliError, match=rf"{out}: the disk is full"),
            shards.publish_files(out, last="b.json") as folder,
        ):
            (folder / "b.json").write_bytes(b"new")
            raise full
        assert contents(tmp_path) == before, there
        with shards.publish_files(out, last="b.json") as folder:
            (folder / "rows").mkdir()
            (folder / "rows" / f"{there}.npz").write_bytes(b"x")
            (folder / "b.json").write_bytes(b"old")
            assert not (out / "b.json").exists() or there
    # A folder that is there keeps what else is in it.
    assert [p.name for p in sorted((out / "rows").iterdir())] == ["False.npz", "True.npz"]


def test_exported_layouts(source, tmp_path):
    """The colours of a layout were there, and not its words."""
    line = ["export", str(source), "--format", "layout", "-o", str(tmp_path / "new")]
    assert CliRunner().invoke(app.app, line).exit_code == 0
    sizes = [len(data or b"") for data in contents(tmp_path / "new").values()]
    shutil.rmtree(tmp_path / "new")
    with files_up_to(max(sizes) - 1):
        done = CliRunner().invoke(app.app, line)
    assert done.exit_code == 1 and "no file may grow that large here" in done.output
    assert contents(tmp_path) == {}


def test_exported_annotations(source, tmp_path, monkeypatch):
    """The first of three files was there, and not the others."""
    written = []

    def write(out, wanted, *more):
        out.write(b"{}")
        written.append(wanted)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("socialcli.exporters.coco.write", write)
    line = ["export", str(source), "-o", str(tmp_path / "new")]
    done = CliRunner().invoke(app.app, line)
    assert done.exit_code == 1 and "the disk is full" in done.output
    assert contents(tmp_path) == {}
    assert CliRunner().invoke(app.app, line).exit_code == 0
    assert len(contents(tmp_path / "new")) == 3


def test_comparisons(tmp_path, monkeypatch):
    monkeypatch.setattr(compare.tables, "compared_markdown", lambda result: "short")
    monkeypatch.setattr(compare.tables, "compared_latex", lambda result: "short")
    with files_up_to(4096), pytest.raises(SocialcliError, match="no file may grow that large"):
        compare.write({"long": "x" * 5000}, str(tmp_path / "new"))
    assert contents(tmp_path) == {}
    assert sorted(compare.write({"long": "x"}, str(tmp_path / "new"))) == [
        f"{tmp_path}/new/compare.{kind}" for kind in ("json", "md", "tex")
    ]


def test_the_folders_that_were_made_for_a_shard(tmp_path):
    (tmp_path / "there").mkdir()
    for place in ("new/out/000.tar", "there/000.tar"):
        with files_up_to(4096), pytest.raises(SocialcliError, match="no file may grow that large"):
            shards.write(tmp_path / place, [("k", {"bin": bytes(9999)})])
    assert contents(tmp_path) == {"there": None}
    with pytest.raises(RuntimeError), shards.publish(str(tmp_path / "new/000.tar")):
        (tmp_path / "new/001.tar").touch()  # of another process
        raise RuntimeError
    assert contents(tmp_path) == {"there": None, "new": None, "new/001.tar": b""}

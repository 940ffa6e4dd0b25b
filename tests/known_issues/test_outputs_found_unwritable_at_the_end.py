"""`generate --grid FILE` found out that nothing can be written there when all was drawn; so did
`score` after all models had looked at all pictures, `compare`, `export` and `inspect` after they
had read everything, and a stage when its models were loaded."""

from __future__ import annotations

import subprocess
from pathlib import Path

import disks
import pytest
import scenes
from typer.testing import CliRunner

from socialcli import backends, registry, shards
from socialcli.cli import app
from socialcli.errors import UsageError
from socialcli.evaluation import samples as scored
from socialcli.generation import folder
from socialcli.shards import outputs


def error_line(*arguments: object) -> str:
    done = CliRunner().invoke(app.app, [str(a) for a in arguments])
    assert isinstance(done.exception, SystemExit) and done.exit_code == 2, done.output
    return done.output


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    """A folder with a shard ``a.tar`` and a file ``plain``, in which nobody may read or load."""
    shards.write(tmp_path / "a.tar", [("k", scenes.members())])
    (tmp_path / "plain").write_text("a file")
    (tmp_path / "there.png").mkdir()
    monkeypatch.chdir(tmp_path)
    for module, names in ((shards, ("read", "read_all")), (backends, ("load", "require")),
                          (scored, ("generated",))):  # fmt: skip
        for name in names:
            monkeypatch.setattr(module, name, lambda *_, of=name: pytest.fail(f"{of} was called"))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["generate", "--prompt", "x", "-o", "new", "--grid"], "--grid plain/x.png"),
        (["generate", "--prompt", "x", "-o", "new", "--attention-maps"],
         "--attention-maps plain/x"),
        (["layout", "a.tar", "-o"], "plain/x.tar"),
        (["layout", "a.tar", "-o"], "plain/new"),
        (["import", "world", "test", "--scenes", "1", "-o"], "plain/new"),
        (["merge", "a.tar", "-o"], "plain/x.tar"),
        (["inspect", "a.tar", "--out"], "--out plain/new"),
        (["export", "a.tar", "-o"], "plain/x.json"),
        (["export", "a.tar", "-o", "x.json", "--images"], "--images plain/new"),
        (["export", "a.tar", "--format", "layout", "-o"], "plain/new"),
        (["compare", "a.tar", "a.tar", "-o"], "-o plain/x.md"),
        (["score", "a.tar", "--real", "--metrics", "clip-t", "-o"], "plain/new"),
        (["score", "a.tar", "--real", "--metrics", "clip-t", "-o", "new", "--features"],
         "--features plain/new"),
        (["score", "--compare", "a.tar", "b.tar", "-o"], "plain/new"),
        (["train", "--method", "text-to-image", "--model", "m", "a.tar", "-o"], "plain/new"),
        (["train", "--method", "text-to-image", "--model", "m", "a.tar", "-o", "new", "--cache"],
         "--cache plain/new"),
        (["invert", "--method", "textual-inversion", "--model", "m", "--initial-word", "dog",
          "a.tar", "-o"], "plain/new"),
    ],
)  # fmt: skip
def test_it_is_told_before_anything_is_read(place, words, named):
    before = sorted(place.rglob("*"))
    message = error_line(*words, f"plain/{named.rpartition('plain/')[2]}")
    assert f"error: {named}" in message and "nothing can be written" in message, message
    assert "Not a directory" in message and "give another place" in message
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("flag", ["--grid", "--attention-maps"])
def test_a_folder_where_a_file_shall_be(place, flag):
    message = error_line("generate", "--prompt", "x", "-o", "new", flag, "there.png")
    assert f"{flag} there.png: a folder is there; give the name of a file" in message


def test_the_curves_of_a_training(place):
    method = registry.load("methods.train", "feedback")
    config = method.config_type(write_curves="plain/c.json", ssr_model="m")
    with pytest.raises(UsageError, match=r"--write-curves plain/c.json: nothing can be written"):
        method.check_options(config)


@pytest.mark.parametrize(
    "words",
    [
        ["benchmarks", "startup", "--record"],
        ["benchmarks.overfit", "c.json", "--figure"],
        ["benchmarks.curves", "figure", "c.json", "-o"],
        ["benchmarks.table001", "map", "a", "b", "-o"],
        ["benchmarks.sentences", "a.tar", "b.csv", "-o"],
    ],
)
def test_benchmarks(place, python, words):
    line = [*python, "-m", f"socialcli.{words[0]}", *words[1:], "plain/x"]
    done = subprocess.run(line, capture_output=True, timeout=300)
    assert done.returncode == 2, done.stderr.decode()
    assert b"error: plain/x: nothing can be written in plain (Not a directory)" in done.stderr


def test_a_disk_that_is_mounted_for_reading(tmp_path):
    with disks.mounted(tmp_path / "disk", "ro") as place:
        with pytest.raises(UsageError, match=rf"{place}/a/b\.png: nothing .* in {place} \(Read-o"):
            outputs.check_output_file(f"{place}/a/b.png")
        with pytest.raises(UsageError, match=rf"{place}: nothing .* in {place} \(Read-only"):
            outputs.check_output_folder(str(place))


def test_what_can_be_written_is_not_touched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.png").write_bytes(b"old")
    for file in ("old.png", "new/b.png", "c.png", f"{tmp_path}/d/e.png", "-", "s3://b/x.png"):
        outputs.check_output_file(file)
        if not file.startswith("s3:"):  # what goes into folders goes into local ones
            outputs.check_output_folder(f"{file}.d")
    assert [p.name for p in tmp_path.iterdir()] == ["old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"old"


def test_a_list_of_no_pictures_is_not_written(tmp_path):
    """Drawing that was refused left a folder with an empty metadata.jsonl."""
    folder.write_metadata([f"{tmp_path}/new/000000.jsonl"])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "000000.jsonl").write_bytes(b"")  # all of its pictures failed
    folder.write_metadata([f"{tmp_path}/000000.jsonl", f"{tmp_path}/000001.jsonl"])
    assert (tmp_path / "metadata.jsonl").read_bytes() == b""

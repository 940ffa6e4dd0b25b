"""`export -o x.txt` made a folder called ``x.txt``; so did every command that writes a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import scenes
from typer.testing import CliRunner

from socialcli import shards
from socialcli.cli import app


def error_line(*arguments: object) -> str:
    done = CliRunner().invoke(app.app, [str(a) for a in arguments])
    assert isinstance(done.exception, SystemExit) and done.exit_code == 2, done.output
    return done.output


@pytest.fixture
def source(tmp_path: Path) -> Path:
    shards.write(tmp_path / "a.tar", [("k", scenes.members())])
    return tmp_path / "a.tar"


@pytest.mark.parametrize(
    "words",
    [
        ["export", "-o", "x.txt"],
        ["export", "--format", "layout", "-o", "x.png"],
        ["layout", "-o", "x.csv"],
        ["merge", "-o", "x.zip"],
        ["inspect", "--out", "x.html"],
        ["score", "-o", "x.json"],
        ["train", "--method", "text-to-image", "--model", "m", "-o", "x.safetensors"],
    ],
)
def test_it_is_refused_and_nothing_is_made(tmp_path, source, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = error_line(words[0], source, *words[1:])
    assert f"{words[-1]}: " in output and "this is the name of a file" in output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar"]


def test_a_file_in_its_place_is_named(tmp_path, source):
    (tmp_path / "there").write_text("mine")
    assert "there is a file" in error_line("export", source, "-o", tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"


def test_who_means_it_says_so(tmp_path, source):
    words = ["export", str(source), "-o", f"{tmp_path}/x.txt/"]
    assert CliRunner().invoke(app.app, words).exit_code == 0
    assert CliRunner().invoke(app.app, [*words[:-1], f"{tmp_path}/x.txt"]).exit_code == 0
    assert CliRunner().invoke(app.app, [*words[:-1], f"{tmp_path}/run.v2"]).exit_code == 0

"""The help of a command, printed without reading the line: the same text, and no pydantic."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ENVIRONMENT

from socialcli.cli import app as cli

COMMANDS = [
    *((name,) for name in cli.ORDER), ("import", "folder"), ("train", "--method", "text-to-image"),
    ("ground", "-h"), ("annotate_pose",),
]  # fmt: skip


def printed(call, capsys) -> str:
    with pytest.raises(SystemExit) as end:
        call()
    assert not end.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_it_is_what_typer_prints(words, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_program", lambda: "socialcli")
    line = [*words] if words[-1] == "-h" else [*words, "--help"]
    quick = printed(lambda: cli._quick_help(line), capsys)
    assert quick == printed(lambda: cli.app(line, prog_name="socialcli"), capsys)
    assert quick.startswith("Usage: socialcli ")


@pytest.mark.parametrize(
    "line", [["--help"], ["train", "--steps", "3", "--help"], ["train", "--help", "x"], ["-h"]]
)
def test_other_lines_go_their_usual_way(line, capsys):
    cli._quick_help(line)
    assert capsys.readouterr().out == ""


SCRIPT = """
import sys
from socialcli.cli.app import main
sys.argv = ["socialcli", "train", "--help"]
try:
    main()
except SystemExit:
    print("pydantic" in sys.modules, file=sys.stderr)
"""


def test_pydantic_is_not_loaded():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert done.stderr.split() == ["False"] and "--learning-rate" in done.stdout

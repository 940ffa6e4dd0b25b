"""Cron starts programs with closed streams, containers with a user whom nobody knows.

Both ended in a traceback: a closed stdin is no object at all in Python, and a path that begins
with ``~`` has no meaning without HOME and without a line in passwd.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import COMMAND, members, samples

from socialcli import shards
from socialcli.backends import where
from socialcli.cli import environment


def shell(line: str, *words) -> subprocess.CompletedProcess[bytes]:
    command = " ".join(shlex.quote(str(word)) for word in (*COMMAND, *words))
    return subprocess.run(["sh", "-c", f"{command} {line}"], capture_output=True, timeout=120)


@pytest.fixture
def shard(tmp_path) -> Path:
    shards.write(tmp_path / "in.tar", samples(0, 2))
    return tmp_path / "in.tar"


def test_closed_stdin_is_told_when_it_is_needed_and_only_then(tmp_path, shard):
    done = shell("<&-", "caption", "-", "-o", tmp_path / "x.tar", "--backend", "given")
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1
    assert b"standard input is closed" in done.stderr
    done = shell("<&-", "caption", shard, "-o", tmp_path / "y.tar", "--backend", "given")
    assert done.returncode == 0 and len(members(tmp_path / "y.tar")) == 2


def test_closed_stdout_is_an_error_where_data_goes_there(tmp_path, shard):
    for words in (["models"], ["caption", shard, "-o", "-", "--backend", "given"]):
        done = shell(">&-", *words)
        assert done.returncode == 1 and b"standard output is closed" in done.stderr, words
        assert b"Traceback" not in done.stderr
    assert shell(">&-", "caption", shard, "-o", tmp_path, "--backend", "given").returncode == 2
    done = shell(">&-", "caption", shard, "-o", tmp_path / "o", "--backend", "given")
    assert done.returncode == 0, done.stderr


def test_closed_stderr_never_becomes_a_file_of_ours(tmp_path, shard):
    """The next file opened would have been number 2, and messages would go into it."""
    done = shell("2>&-", "caption", shard, "-o", tmp_path / "x.tar", "--backend", "given")
    assert done.returncode == 0
    assert len(members(tmp_path / "x.tar")) == 2


def test_a_user_whom_nobody_knows_has_the_root_as_home(monkeypatch):
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999)
    with pytest.raises(RuntimeError):
        Path("~/x").expanduser()
    environment.prepare()
    import getpass

    assert Path("~/x").expanduser() == Path("/x") and getpass.getuser() == "3999999"
    assert where("no-such/model") is None


def test_another_users_home_that_is_not_there_is_one_line(tmp_path):
    done = shell("", "import", "folder", "~nobody-of-this-name/pictures", "-o", tmp_path / "o")
    assert done.returncode == 2 and b"Traceback" not in done.stderr
    assert b"Give the whole path" in done.stderr

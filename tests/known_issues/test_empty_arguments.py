"""An empty argument, as a script gives it whose variable is not set: as an input it ended in a
traceback, as ``--output`` it wrote shards into the root of the disk."""

from __future__ import annotations

import subprocess

import pytest
from conftest import COMMAND

from socialcli import shards
from socialcli.cli.app import guarded
from socialcli.errors import UsageError


@pytest.mark.parametrize(
    "command",
    [
        ("caption", "", "-o", "out", "--backend", "given"),
        ("caption", "in.tar", "-o", "", "--backend", "given"),
        ("inspect", "in.tar", "--out", ""),
        ("compare", "in.tar", ""),
        ("import", "folder", "", "-o", "out"),
    ],
)
def test_an_empty_place_is_refused(run_cli, tmp_path, command) -> None:
    done = run_cli(*command, code=2, cwd=tmp_path)
    assert b" is empty; a variable" in done.stderr and done.stderr.count(b"\n") == 1
    assert not list(tmp_path.iterdir())


def test_texts_may_be_empty() -> None:
    given = []
    guarded(lambda **kw: given.append(kw))(inputs=["a"], output="b", negative="", title="")
    assert given


def test_a_location_of_nothing_names_no_shard() -> None:
    with pytest.raises(UsageError, match="names no shard"):
        shards.expand([""])


def test_a_full_standard_output_is_named(run_cli, make_shards) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "inspect", make_shards(1, 1)], stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1
    assert done.stderr == b"socialcli: error: writing failed: No space left on device\n"

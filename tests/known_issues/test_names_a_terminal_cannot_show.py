"""A dry run ended with a UnicodeEncodeError over a shard whose name is no UTF-8, where stdout is
strict as under en_US.UTF-8; and it, and `merge`, sent a name's control characters to terminals."""

from __future__ import annotations

import os

import pytest
from conftest import samples

from socialcli import shards
from socialcli.cli.commands import merge
from socialcli.pipeline import dry_run, run
from socialcli.pipeline.run import RunOptions
from socialcli.registry import load

SHOWN = r"\udcff\x1b[31m.tar"


@pytest.fixture
def folder(tmp_path):
    shards.write(tmp_path / "in" / "x.tar", samples(0, 2))
    try:
        (tmp_path / "in" / "x.tar").rename(tmp_path / "in" / os.fsdecode(b"\xff\x1b[31m.tar"))
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    return tmp_path / "in"


def said(capsys):
    done = capsys.readouterr()
    assert "\x1b" not in done.out + done.err and "\udcff" not in done.out + done.err
    return done.out, done.err


def test_a_dry_run_shows_them(folder, tmp_path, capsys):
    config = vars(load("stages", "caption").config_type(backend="given"))
    options = RunOptions(dry_run=True)
    run.run_stage("stages", "caption", config, [str(folder)], str(tmp_path / "out"), options)
    assert f"in/{SHOWN} -> {tmp_path}/out/{SHOWN} (to do, 2 samples)" in said(capsys)[0]
    dry_run.show("inspect", shards.expand([str(folder)]), ["a report"])
    assert f"in/{SHOWN} (2 samples)\nwould write a report\n" in said(capsys)[0]


def test_merging_says_which_shards_are_there(folder, tmp_path, capsys):
    merge.command([str(folder)], str(tmp_path / "out"), dry_run=True)
    assert f"{SHOWN} (to do)\n" in said(capsys)[0]
    for there in (False, True):
        merge.command([str(folder)], str(tmp_path / "out"))
        assert (f"{SHOWN} is there already;" in said(capsys)[1]) == there

"""A pipe whose first command had failed gave a finished shard with no samples, for ever.

The reader of an empty stream published an empty shard and ended with 0; run again with the whole
input it said the shard was finished already. What comes from standard input is now held to the
same rules as a file: it must be whole, and its checksum says whether a shard was made from it.
"""

from __future__ import annotations

import json
import subprocess

import pytest
from conftest import COMMAND, leftovers, members, samples, tars

from socialcli import shards

CAPTION = ("caption", "-", "--backend", "given")


@pytest.fixture
def whole(tmp_path) -> bytes:
    shards.write(tmp_path / "whole.tar", samples(0, 6))
    return (tmp_path / "whole.tar").read_bytes()


@pytest.mark.parametrize("length", [0, 1, 511, 3000, -1024, "page"])
def test_an_early_end_finishes_nothing(tmp_path, run_cli, whole, length):
    data = b"<html>" + bytes(3000) if length == "page" else whole[:length]
    done = run_cli(*CAPTION, "-o", tmp_path / "o/x.tar", stdin=data, code=1)
    assert b"standard input ended early" in done.stderr
    assert not list((tmp_path / "o").glob("*")) and not leftovers(tmp_path)
    # What is passed on must not look whole either.
    passed = run_cli(*CAPTION, "-o", "-", stdin=data, code=1).stdout
    again = run_cli(*CAPTION, "-o", tmp_path / "o/y.tar", stdin=passed, code=1)
    assert b"standard input ended early" in again.stderr
    # With the whole input the same command does the work.
    run_cli(*CAPTION, "-o", tmp_path / "o/x.tar", stdin=whole)
    assert len(members(tmp_path / "o/x.tar")) == 6


def test_a_dead_command_upstream_is_noticed(tmp_path):
    line = " ".join([*COMMAND, "caption", "missing.tar", "-o", "-"])
    reader = " ".join([*COMMAND, *CAPTION, "-o", str(tmp_path / "x.tar")])
    done = subprocess.run(["sh", "-c", f"{line} 2>/dev/null | {reader}"], capture_output=True)
    assert done.returncode == 1 and b"command before" in done.stderr


def test_an_archive_without_samples_is_whole(tmp_path, run_cli):
    run_cli(*CAPTION, "-o", tmp_path / "x.tar", stdin=bytes(10240))
    assert members(tmp_path / "x.tar") == {}


@pytest.mark.parametrize("limit", [(), ("--limit", 3)])
def test_standard_input_is_finished_only_if_its_checksum_says_so(tmp_path, run_cli, whole, limit):
    command = (*CAPTION, "-o", tmp_path / "o/x.tar", *limit)
    run_cli(*command, stdin=whole)
    before = tars(tmp_path / "o")
    assert b"finished already" in run_cli(*command, stdin=whole).stderr
    shards.write(tmp_path / "other.tar", samples(1, 7))
    other = (tmp_path / "other.tar").read_bytes()
    done = run_cli(*command, stdin=other, code=2)
    assert b"standard input has changed" in done.stderr and tars(tmp_path / "o") == before
    run_cli(*command, "--dry-run", stdin=b"")  # which reads nothing
    run_cli(*command, "--overwrite", stdin=other)
    assert next(iter(members(tmp_path / "o/x.tar"))) == "00001"


def test_failed_samples_of_another_stream_are_not_mixed_in(tmp_path, run_cli):
    def stream(first: int) -> bytes:
        shards.write(tmp_path / "s.tar", [
            (key, {k: v for k, v in parts.items() if k != "txt" or key == f"{first:05d}"})
            for key, parts in samples(first, first + 3)
        ])  # fmt: skip
        return (tmp_path / "s.tar").read_bytes()

    command = (*CAPTION, "-o", tmp_path / "o/x.tar", "--max-error-rate", 1)
    run_cli(*command, stdin=stream(0))
    before = tars(tmp_path / "o")
    done = run_cli(*command, "--retry-failed", stdin=stream(1), code=2)
    assert b"standard input has changed" in done.stderr
    assert tars(tmp_path / "o") == before and not leftovers(tmp_path / "o")
    run_cli(*command, "--retry-failed", stdin=stream(0))
    assert json.loads((tmp_path / "o/x.stats.json").read_text())["counts"]["failed"] == 2


@pytest.mark.parametrize("size", [0, 3 << 20])
def test_a_file_without_anything_in_it_is_named(tmp_path, run_cli, size):
    """A file of a crashed writer or of a download that never began: 0 bytes, or all zeros."""
    (tmp_path / "x.tar").write_bytes(bytes(size))
    done = run_cli(
        "caption", tmp_path / "x.tar", "-o", tmp_path / "o", "--backend", "given", code=1
    )
    assert b"empty: " in done.stderr
    assert "empty: " in (tmp_path / "o/x.errors.jsonl").read_text()
    assert b"empty: " in run_cli("validate", tmp_path / "x.tar", code=1).stdout

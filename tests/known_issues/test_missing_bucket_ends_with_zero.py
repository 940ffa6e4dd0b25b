"""`inspect` of a bucket that is not there printed an empty table and ended with 0; a pattern in
such a bucket was passed over where another shard was given too."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "line",
    [
        ["inspect", "memory://bucket/a.tar"],
        ["inspect", "IN", "memory://bucket/a.tar"],
        ["inspect", "IN", "memory://bucket/*.tar"],
        ["validate", "IN", "memory://bucket/*.tar"],
        ["validate", "memory://bucket/a.tar"],
        ["caption", "IN", "memory://bucket/*.tar", "-o", "OUT", "--backend", "given"],
        ["caption", "memory://bucket/a.tar", "-o", "OUT", "--backend", "given"],
        ["export", "IN", "memory://bucket/a.tar", "-o", "OUT"],
        ["merge", "memory://bucket/a.tar", "-o", "OUT"],
        ["compare", "IN", "memory://bucket/a.tar"],
        ["import", "folder", "memory://bucket", "-o", "OUT"],
    ],
)
def test_what_is_not_there_is_an_error(run_cli, make_shards, tmp_path, line):
    places = {"IN": make_shards(1, 1), "OUT": tmp_path / "out"}
    done = run_cli(*(places.get(word, word) for word in line), code=None)
    assert done.returncode in (1, 2)
    assert b"memory://bucket" in done.stderr + done.stdout

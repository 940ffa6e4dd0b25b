"""Stages came to refuse bytes that are no picture, and the benchmark of shards, whose pictures were
random bytes, could not run any more: every sample failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from socialcli.benchmarks import io


def test_both_ways_write_the_same_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "SHARDS", 1)
    monkeypatch.setattr(io, "SAMPLES", 3)
    sources = io.make(tmp_path / "in")
    assert len(sources) == 1 and 3 * 140_000 < sources[0].stat().st_size < 3 * 190_000
    io._check(tmp_path, sources)

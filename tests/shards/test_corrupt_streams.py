"""A compressed archive whose checksum does not hold: a changed bit makes other pictures of it, and
a tar that is whole, so that none of its samples can be trusted."""

from __future__ import annotations

import gzip

from conftest import samples, tars

from socialcli import shards


def test_no_sample_of_a_corrupt_stream_is_used_or_passed_on(run_cli, tmp_path):
    shards.write(tmp_path / "plain.tar", samples(0, 3))
    data = bytearray(gzip.compress((tmp_path / "plain.tar").read_bytes(), 0))  # stored as it is
    at = data.find(b"holds 1 things")
    data[at : at + 5] = b"takes"
    packed = tmp_path / "000.tar.gz"
    packed.write_bytes(data)
    items = list(shards.read_all(str(packed)))
    read = [one for one in items if isinstance(one, shards.Sample)]
    assert [one.key for one in read] == ["00000", "00001", "00002"]
    for one in read:
        assert one.problem and not one.whole
    assert "compressed stream is corrupt" in read[0].problem
    line = ["caption", "--backend", "given", packed, "-o", tmp_path / "out"]
    assert b"100.0% of the samples failed" in run_cli(*line, code=1).stderr
    assert tars(tmp_path / "out")["000.tar"] == bytes(1024)

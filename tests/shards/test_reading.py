"""Streams whose bytes are given again: those read ahead, and those that have gone by."""

from __future__ import annotations

import contextlib
import io
import os

from socialcli.shards import reading


def test_bytes_read_ahead_come_first_however_many_are_asked_for():
    def stream() -> reading._Replay:
        return reading._Replay(b"abcd", io.BytesIO(b"efgh"))

    one = stream()
    assert [one.read(n) for n in (1, 2, 3, 9)] == [b"a", b"bc", b"def", b"gh"]
    one = stream()
    assert [one.read(n) for n in (4, 0, 1)] == [b"abcd", b"", b"e"]
    assert stream().read() == stream().read(-1) == b"abcdefgh"
    one = stream()
    assert one.read(3) + one.read() + one.read() == b"abcdefgh"
    assert stream().read(0) == b""


class Slow(io.BytesIO):
    """Gives at most two bytes at once, as pipes may; counts what was asked of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.given = 0

    def read(self, count: int = -1) -> bytes:
        data = super().read(min(count, 2))
        self.given += len(data)
        return data


def test_what_has_gone_by_is_read_again_as_far_as_needed(monkeypatch):
    opened: list[Slow] = []

    @contextlib.contextmanager
    def open_read(location: str):
        opened.append(Slow(bytes(range(20))))
        with opened[-1] as stream:
            yield stream

    monkeypatch.setattr(reading, "open_read", open_read)
    monkeypatch.setattr(reading, "READINGS", 3)
    with reading._Again("a.tar.gz") as again:
        assert again(3, 5) == bytes(range(3, 8)) and opened[0].given == 8
        assert again(8, 1) == bytes([8]) and again(12, 2) == bytes([12, 13])
        assert len(opened) == 1 and opened[0].given == 14
        assert again(13, 2) == bytes([13, 14]) and len(opened) == 2 and opened[0].closed
        assert again(18, 9) == bytes([18, 19])  # no more are there
        assert again(40, 2) == b"" and len(opened) == 2
        assert again(0, 2) == bytes([0, 1]) and len(opened) == 3
        assert again(1, 1) == b"" and len(opened) == 3  # too often: rather fail than take for ever
        assert again(2, 1) == bytes([2])
    assert all(stream.closed for stream in opened)


def test_an_open_file_is_read_elsewhere_without_moving_it(tmp_path, monkeypatch):
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda handle, size, at: pread(handle, min(size, 2), at))
    (tmp_path / "a").write_bytes(bytes(range(9)))
    with open(tmp_path / "a", "rb") as file:
        file.seek(4)
        again = reading._at(file.fileno())
        assert again(1, 5) == bytes(range(1, 6)) and again(7, 5) == bytes([7, 8])
        assert file.tell() == 4

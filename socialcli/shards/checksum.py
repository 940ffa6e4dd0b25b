"""CRC-32 of what a shard gives, of small files, and of what is uploaded."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable

from socialcli.shards import locations
from socialcli.shards.behind import CHUNK, Behind


def crc32(data: bytes, start: int = 0) -> int:
    """The CRC-32 of these bytes behind those whose CRC-32 is ``start``.

    Python's own takes longer than reading does, so ISA-L's is taken where that is installed: the
    same number, twenty times as fast.
    """
    return _fastest()(data, start)


@functools.cache
def _fastest() -> Callable[[bytes, int], int]:
    try:
        from isal import isal_zlib
    except ImportError:  # there are machines that nobody builds it for
        return zlib.crc32
    fastest: Callable[[bytes, int], int] = isal_zlib.crc32
    return fastest


def crc32_of(location: str) -> int | None:
    """The CRC-32 of a small file, on a disk or in a store; None where it is not there.

    Raises:
        OSError, SocialcliError: it cannot be read (`locations.read_bytes`).
    """
    content = locations.read_bytes(location)
    return None if content is None else crc32(content)


class Checksum:
    """CRC-32 and length of everything a shard gave: tells a changed input from the same one.

    CRC-32 because it runs at many GB/s, so that nobody is tempted to switch it off; it guards
    against accidents, not against an adversary.
    """

    def __init__(self) -> None:
        self.crc = 0
        self.bytes = 0
        self._held: list[bytes] = []
        self._size = 0
        self._behind: Behind | None = None

    def add(self, data: bytes) -> None:
        self.bytes += len(data)
        self._held.append(data)
        self._size += len(data)
        if self._size >= CHUNK:
            if self._behind is None:
                self._behind = Behind()
            self._behind.do(self._sum, self._held)
            self._held, self._size = [], 0

    def _sum(self, parts: list[bytes]) -> None:
        for part in parts:
            self.crc = crc32(part, self.crc)

    def __str__(self) -> str:
        if self._behind is not None:
            self._behind.wait()
            self._behind.close()
            self._behind = None
        self._sum(self._held)
        self._held, self._size = [], 0
        return f"crc32:{self.crc:08x}"

"""Where the processor was the limit, two fifths of its time went into zlib's CRC-32 of what a shard
holds: more than into reading it."""

from __future__ import annotations

import builtins
import random
import zlib

import pytest

from socialcli import shards
from socialcli.shards import checksum as checksums


def summed(parts: list[bytes]) -> str:
    checksum = shards.Checksum()
    for part in parts:
        checksum.add(part)
    return str(checksum)


@pytest.mark.parametrize("here", [True, False])
def test_the_number_is_crc32_with_isal_and_without(here, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("isal"):
            raise ImportError(name)
        return real(name, *rest)

    if not here:
        monkeypatch.setattr(builtins, "__import__", without)
    checksums._fastest.cache_clear()
    try:
        rng = random.Random(0)
        parts = [rng.randbytes(n) for n in (0, 1, 511, 512, 5_000_000, 17, 1 << 20)]
        assert summed(parts) == f"crc32:{zlib.crc32(b''.join(parts)):08x}"
        assert (checksums._fastest() is zlib.crc32) != here
    finally:
        checksums._fastest.cache_clear()

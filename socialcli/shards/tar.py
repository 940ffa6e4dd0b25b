"""Tar archives as a stream of members, read and written a member at a time.

Why not `tarfile`: a shard must pass through byte-identical, from a pipe, at the speed of the disk,
and a damaged archive must give up every member that is still whole. `tarfile` gives the parsed
header but not its bytes, and stops at the first bad block. Header layout: POSIX ustar and pax,
GNU long names. Writing uses `tarfile.TarInfo` for the header, which knows all of that already.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512
ZERO = bytes(BLOCK)
END_OF_ARCHIVE = bytes(2 * BLOCK)
MAX_MEMBER = 2**31  # bytes of one member; a sample is held in memory
MAX_EXTENSION = 2**20  # bytes of one pax or long-name header
_CHUNK = 2**24

CUT_OFF = "\0"  # hint of a member of which not even the header is whole

_REGULAR = b"0\x007"
_EXTENSIONS = b"xgXLK"
_WITHOUT_DATA = b"123456"  # links, devices, folders, pipes


@dataclass(slots=True)
class TarMember:
    """One file of an archive: its name, its header blocks as they were, and its bytes.

    ``problem`` says why the data is not usable (truncated, sparse, too large); ``data`` is then
    empty. ``name`` is empty when the damage left no name; ``hint`` is then what its place holds.
    """

    name: str
    header: bytes
    data: bytes
    problem: str | None = None
    hint: str = ""


@dataclass(slots=True)
class ArchiveEnd:
    """End of one archive; more may follow in the same stream (``cat a.tar b.tar``)."""


class _Source:
    """A stream that counts what it gave and turns decompression errors into an early end."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.offset = 0
        self.error: str | None = None

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; fewer only at the end. Large reads are built up in chunks, so
        that a header which lies about its size cannot make us reserve memory for it."""
        data = self._read_once(min(size, _CHUNK))
        if len(data) < size:
            parts = [data]
            have = len(data)
            while have < size:
                part = self._read_once(min(size - have, _CHUNK))
                if not part:
                    break
                parts.append(part)
                have += len(part)
            data = b"".join(parts)
        self.offset += len(data)
        return data

    def _read_once(self, size: int) -> bytes:
        try:
            return self.stream.read(size) or b""
        except (EOFError, tarfile.ReadError, OSError) as error:
            # A compressed shard cut short raises here; what came before is still good.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            self.error = str(error) or type(error).__name__
            return b""
        except Exception as error:  # zlib.error, lzma.LZMAError: their modules may not be loaded
            if type(error).__module__ not in ("zlib", "lzma", "_lzma"):
                raise
            self.error = str(error)
            return b""

    def skip(self, size: int) -> int:
        left = size
        while left > 0:
            part = self._read_once(min(left, _CHUNK))
            if not part:
                break
            left -= len(part)
        self.offset += size - left
        return size - left


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU base-256
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    text = field.rstrip(b" \0").lstrip(b" ")
    return int(text, 8) if text else 0


def _valid(block: bytes) -> bool:
    """Whether a block's checksum is right (as unsigned bytes, or as old tars summed them)."""
    try:
        stated = _number(block[148:156])
    except ValueError:
        return False
    blanked = block[:148] + b"        " + block[156:]
    if sum(blanked) == stated:
        return True
    return sum(b - 256 if b > 127 else b for b in blanked) == stated


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _pax(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position)
        if space < 0:
            break
        try:
            length = int(data[position:space])
        except ValueError:
            break
        if length <= space - position:
            break
        key, _, value = data[space + 1 : position + length - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        position += length
    return found


def members(stream: BinaryIO) -> Iterator[TarMember | ArchiveEnd]:
    """Every regular file of an archive in order; concatenated archives are read on.

    Damage never raises: a bad header is skipped to the next good one and reported as a member
    with a ``problem``; a truncated end likewise.
    """
    source = _Source(stream)
    header = b""  # extension headers collected for the next member
    long_name: str | None = None
    pax: dict[str, str] = {}
    global_pax: dict[str, str] = {}
    seen_member = False
    while True:
        start = source.offset
        block = source.read(BLOCK)
        if len(block) < BLOCK:
            if block or header or source.error:
                why = source.error or f"the archive ends inside a header at byte {start}"
                name = long_name or pax.get("path", "")
                yield TarMember(name, b"", b"", f"truncated: {why}", CUT_OFF)
            elif seen_member:
                why = f"the archive ends at byte {start} without an end mark; was it cut off?"
                yield TarMember("", b"", b"", f"truncated: {why}")
            if seen_member:
                yield ArchiveEnd()
            return
        if block == ZERO:
            if seen_member:
                yield ArchiveEnd()
                seen_member = False
                global_pax = {}
            continue
        if not _valid(block):
            skipped = _resynchronise(source)
            yield TarMember(
                "",
                b"",
                b"",
                f"damaged: {BLOCK + skipped[0]} bytes at byte {start} are not a tar header",
                long_name or pax.get("path") or _text(block[:100]),
            )
            header, long_name, pax = b"", None, {}
            if skipped[1] is None:
                if seen_member:
                    yield ArchiveEnd()
                return
            block = skipped[1]
        kind = block[156:157] or b"0"
        try:
            size = _number(block[124:136])
        except ValueError:
            size = -1
        if kind in _EXTENSIONS:
            if not 0 <= size <= MAX_EXTENSION:
                yield TarMember("", b"", b"", f"damaged: extension header of {size} bytes")
                header, long_name, pax = b"", None, {}
                continue
            padded = size + -size % BLOCK
            data = source.read(padded)
            header += block + data
            if kind == b"L":
                long_name = _text(data[:size])
            elif kind in b"xX":
                pax = _pax(data[:size])
            elif kind == b"g":
                global_pax.update(_pax(data[:size]))
            continue
        facts = {**global_pax, **pax}
        name = facts.get("path") or long_name or _name(block)
        if re.fullmatch("[0-9]{1,20}", facts.get("size", "")):
            size = int(facts["size"])
        whole_header = header + block
        header, long_name, pax = b"", None, {}
        if kind in _WITHOUT_DATA:
            continue
        seen_member = True
        if size < 0:
            yield TarMember(name, whole_header, b"", "damaged: its header states no valid size")
            continue
        padded = size + -size % BLOCK
        problem = None
        if kind == b"S" or any(k.startswith("GNU.sparse") for k in facts):
            problem = "sparse member: write the archive again without --sparse"
        elif kind not in _REGULAR:
            problem = f"unknown tar member type {kind!r}"
        elif size > MAX_MEMBER:
            problem = f"member of {size} bytes is over the limit of {MAX_MEMBER}"
        if problem:
            source.skip(padded)
            yield TarMember(name, whole_header, b"", problem)
            continue
        data = source.read(size)
        if len(data) < size:
            why = f" ({source.error})" if source.error else ""
            yield TarMember(
                name, whole_header, b"", f"truncated: {len(data)} of {size} bytes are there{why}"
            )
            yield ArchiveEnd()
            return
        padded_by = source.skip(padded - size)
        yield TarMember(name, whole_header, data)
        if padded_by < padded - size:
            why = source.error or f"the archive ends at byte {source.offset}"
            yield TarMember("", b"", b"", f"truncated: {why}", CUT_OFF)
            yield ArchiveEnd()
            return


def _name(block: bytes) -> str:
    name = _text(block[:100])
    if block[257:263] == b"ustar\0":
        prefix = _text(block[345:500])
        if prefix:
            name = f"{prefix}/{name}"
    return name


def _resynchronise(source: _Source) -> tuple[int, bytes | None]:
    """Skip to the next block that is a header (or the end); bytes skipped and that block."""
    skipped = 0
    while True:
        block = source.read(BLOCK)
        if len(block) < BLOCK:
            return skipped + len(block), None
        if block[257:262] == b"ustar" and _valid(block):
            return skipped, block
        skipped += BLOCK


# Header of a plain file around its name, size and checksum: mode 644, no owner, time 0.
_BEFORE_SIZE = b"0000644\0" + b"0000000\0" * 2
_AFTER_SIZE = b"00000000000\0"
_AFTER_SUM = b"0" + bytes(100) + b"ustar\00000" + bytes(64 + 16 + 167)
_FIXED_SUM = sum(_BEFORE_SIZE + _AFTER_SIZE + b" " * 8 + _AFTER_SUM)


def header(name: str, size: int) -> bytes:
    """Header blocks of a new member: plain file, mode 644, no owner, time 0, so that the same
    content always gives the same bytes."""
    if len(name) <= 100 and name.isascii() and size < 8**11:
        # What the line at the end gives for a plain name, at a tenth of its time.
        start, length = name.encode(), b"%011o\0" % size
        total = _FIXED_SUM + sum(start) + sum(length)
        name_field = start.ljust(100, b"\0")
        middle = length + _AFTER_SIZE + b"%06o\0 " % total
        return name_field + _BEFORE_SIZE + middle + _AFTER_SUM
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    return ZERO[: -size % BLOCK]

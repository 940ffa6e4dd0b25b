"""Tar archives as a stream of members, read and written a member at a time.

Why not `tarfile`: a shard must pass through byte-identical, from a pipe, at the speed of the disk,
and a damaged archive must give up every member that is still whole. `tarfile` gives the parsed
header but not its bytes, and stops at the first bad block. Header layout: POSIX ustar and pax,
GNU long names. Writing uses `tarfile.TarInfo` for the header, which knows all of that already.
"""

from __future__ import annotations

import re
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512
ZERO = bytes(BLOCK)
END_OF_ARCHIVE = bytes(2 * BLOCK)
MAX_MEMBER = 2**29  # bytes of one member; a sample is held in memory
MAX_EXTENSION = 2**20  # bytes of one pax or long-name header
MAX_EXTENSIONS = 16  # such headers before one member: tarfile calls itself for each
LINKED = 2**22  # bytes of earlier members kept for hard links, where a pipe cannot go back
MAX_PADDING = 2**20  # bytes of zeros that may be an archive without any file
MAX_LINKED = 2**32  # bytes that the hard links of one archive may stand for
_CHUNK = 2**24
_COMPRESSION = ("zlib", "lzma", "_lzma", "zstandard", "compression", "_zstd")  # packages

CUT_OFF = "\0"  # hint of a member of which not even the header is whole

_REGULAR = b"0\x007"
_EXTENSIONS = b"xgXLK"
_HARD_LINK, _FOLDER, _LABEL = b"1", b"5", b"V"
_WITHOUT_DATA = {
    _HARD_LINK: "hard link",
    b"2": "symbolic link",
    b"3": "character device",
    b"4": "block device",
    _FOLDER: "folder",
    b"6": "named pipe",
}


@dataclass(slots=True)
class TarMember:
    """One file of an archive: its name, its header blocks as they were, and its bytes.

    A hard link has the bytes of the member it names, and a header of its own as a file has.
    ``problem`` says why the data is not usable (truncated, sparse, too large); ``data`` is then
    empty. ``bare`` is a member that never had bytes of its own: a link, a device. ``name`` is
    empty when the damage left no name; ``hint`` is then what its place holds.
    """

    name: str
    header: bytes
    data: bytes
    problem: str | None = None
    hint: str = ""
    bare: bool = False


@dataclass(slots=True)
class ArchiveEnd:
    """End of one archive; more may follow in the same stream (``cat a.tar b.tar``).

    ``early`` says why the stream cannot be the whole of what was written, "" where it is.
    """

    early: str = ""


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
        except Exception as error:  # zlib.error and the like: their modules may not be loaded
            if type(error).__module__.partition(".")[0] not in _COMPRESSION:
                raise
            self.error = str(error)
            return b""

    def skip(self, size: int) -> int:
        if (pass_over := getattr(self.stream, "skip", None)) is not None:
            skipped: int = pass_over(size)
            self.offset += skipped
            return skipped
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
    headers: dict[str, str] = {}
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
        headers[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        position += length
    return headers


# Fields of a header that tarfile reads as numbers, besides the size and the checksum.
_FIELDS = {
    "mode": slice(100, 108), "uid": slice(108, 116), "gid": slice(116, 124),
    "mtime": slice(136, 148), "devmajor": slice(329, 337), "devminor": slice(337, 345),
}  # fmt: skip
_USUAL_FIELDS = re.compile(rb"(?:[0-7]{7}[ \0]){3}.{12}[0-7]{11}[ \0]", re.S)
_NO_DEVICE = (bytes(16), b"0000000\0" * 2)
_PAX_RECORD = re.compile(rb"(\d{1,10}) ([^=]+)=")
_PAX_NUMBERS = {
    b"size": rb"\d{1,18}", b"uid": rb"\d{1,18}", b"gid": rb"\d{1,18}",
    **dict.fromkeys((b"mtime", b"atime", b"ctime"), rb"-?\d{1,18}(\.\d{0,40})?"),
}  # fmt: skip


def _field_problem(block: bytes) -> str | None:
    """A number in a header that `tarfile`, and so every reader built on it, stops at."""
    if _USUAL_FIELDS.match(block, 100) and block[329:345] in _NO_DEVICE:
        return None
    for name, place in _FIELDS.items():
        field = block[place]
        text = field.partition(b"\0")[0].strip()
        if field[0] not in (0o200, 0o377) and not re.fullmatch(rb"[0-7]*", text):
            return f"damaged: its header's {name} is {text[:12]!r}, no octal number"
    return None


def _pax_problem(data: bytes) -> str | None:
    """What is wrong in the records of a pax header, None where `tarfile` reads them all."""
    position, end = 0, len(data.rstrip(b"\0"))
    while position < end:
        record = _PAX_RECORD.match(data, position)
        after = position + int(record[1]) if record else 0
        if record is None or not record.end() < after <= len(data) or data[after - 1] != 10:
            return f"damaged: byte {position} of its pax header begins no record"
        value, form = data[record.end() : after - 1], _PAX_NUMBERS.get(record[2])
        if form is not None and not re.fullmatch(form, value):
            shown = value[:20].decode("utf-8", "replace")
            return f"damaged: {record[2].decode()} in its pax header is {shown!r}, out of range"
        position = after
    return None


def members(stream: BinaryIO, data: bool = True) -> Iterator[TarMember | ArchiveEnd]:
    """Every regular file of an archive in order; concatenated archives are read on.

    Args:
        stream: an archive's bytes; where it has ``skip(size)``, that passes over what is not read.
        data: give the members' bytes. Without them they are passed over, and ``data`` is empty.

    Damage never raises: a bad header is skipped to the next good one and reported as a member
    with a ``problem``; a truncated end likewise.
    """
    source = _Source(stream)
    header = b""  # extension headers collected for the next member
    long_name: str | None = None
    long_link: str | None = None
    earlier = _Earlier(stream)
    pax: dict[str, str] = {}
    global_pax: dict[str, str] = {}
    extensions = 0  # headers before the next member
    wrong: str | None = None  # in one of them
    seen_member = ended = False  # in this archive; whether one has ended as it should
    while True:
        start = source.offset
        block = source.read(BLOCK)
        if len(block) < BLOCK:
            why = ""
            if block or header or source.error:
                why = source.error or f"the archive ends inside a header at byte {start}"
                if block.startswith(b"version https://git-lfs"):
                    why = "this is git-lfs's note of an archive; fetch it with: git lfs pull"
                name = long_name or pax.get("path", "")
                yield TarMember(name, b"", b"", f"truncated: {why}", CUT_OFF)
            elif seen_member:
                why = f"the archive ends at byte {start} without an end mark; was it cut off?"
                yield TarMember("", b"", b"", f"truncated: {why}")
            elif not ended and (start == 0 or start > MAX_PADDING):
                why = f"{start} bytes of zeros and no file" if start else "0 bytes, no archive"
                yield TarMember("", b"", b"", f"empty: {why}")
            if seen_member or why:
                yield ArchiveEnd(why)
            return
        if block == ZERO:
            if seen_member:
                yield ArchiveEnd()
                seen_member, ended = False, True
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
            header, long_name, long_link, pax = b"", None, None, {}
            extensions, wrong = 0, None
            if skipped[1] is None:
                cut = seen_member or not ended  # else it lies behind an archive that is whole
                yield ArchiveEnd("what follows its last whole file is no tar" if cut else "")
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
                header, long_name, long_link, pax = b"", None, None, {}
                continue
            padded = size + -size % BLOCK
            more = source.read(padded)
            extensions += 1
            if extensions > MAX_EXTENSIONS:
                wrong = f"damaged: more than {MAX_EXTENSIONS} headers before one member"
                continue
            header += block + more
            if kind in b"xXg":
                wrong = wrong or _pax_problem(more[:size])
            if kind == b"L":
                long_name = _text(more[:size])
            elif kind == b"K":
                long_link = _text(more[:size])
            elif kind in b"xX":
                pax = _pax(more[:size])
            elif kind == b"g":
                global_pax.update(_pax(more[:size]))
            continue
        facts = {**global_pax, **pax}
        name = facts.get("path") or long_name or _name(block)
        link = facts.get("linkpath") or long_link or _text(block[157:257])
        if re.fullmatch("[0-9]{1,20}", facts.get("size", "")):
            size = int(facts["size"])
        whole_header = header + block
        problem = wrong or _field_problem(block)
        header, long_name, long_link, pax = b"", None, None, {}
        extensions, wrong = 0, None
        if kind in (_FOLDER, _LABEL):  # what they say, no sample has
            continue
        seen_member = True
        if kind in _WITHOUT_DATA:
            if kind == _HARD_LINK:
                yield earlier.resolve(name, link, whole_header)
            else:
                yield _without_data(name, whole_header, kind, link)
            continue
        if size < 0:
            yield TarMember(name, whole_header, b"", "damaged: its header states no valid size")
            continue
        padded = size + -size % BLOCK
        if problem:
            pass
        elif kind == b"S" or any(k.startswith("GNU.sparse") for k in facts):
            problem = "sparse member: write the archive again without --sparse"
        elif kind not in _REGULAR:
            problem = f"unknown tar member type {kind!r}"
        elif size > MAX_MEMBER:
            problem = f"member of {size} bytes is over the limit of {MAX_MEMBER}"
        if problem:
            source.skip(padded)
            yield TarMember(name, whole_header, b"", problem)
            continue
        content = source.read(size) if data else b""
        there = len(content) if data else source.skip(size)
        if there < size:
            why = f" ({source.error})" if source.error else ""
            why = f"truncated: {there} of {size} bytes are there{why}"
            yield TarMember(name, whole_header, b"", why)
            yield ArchiveEnd(why)
            return
        if data:
            earlier.keep(name, source.offset - size, content)
        padded_by = source.skip(padded - size)
        yield TarMember(name, whole_header, content)
        if padded_by < padded - size:
            why = source.error or f"the archive ends at byte {source.offset}"
            yield TarMember("", b"", b"", f"truncated: {why}", CUT_OFF)
            yield ArchiveEnd(why)
            return


class _Earlier:
    """Members that a hard link may name: where they lie in a file, of a pipe the last `LINKED`
    bytes of them."""

    def __init__(self, stream: BinaryIO) -> None:
        self.again = getattr(stream, "again", None)  # (offset, size) -> bytes
        self.places: dict[str, tuple[int, int]] = {}
        self.held: OrderedDict[str, bytes] = OrderedDict()
        self.size = 0
        self.linked = 0  # bytes that links have stood for so far

    def keep(self, name: str, offset: int, data: bytes) -> None:
        name = name.removeprefix("./")
        if self.again is not None:
            self.places[name] = (offset, len(data))
            return
        self.size += len(data) - len(self.held.pop(name, b""))
        self.held[name] = data
        while self.size > LINKED:
            self.size -= len(self.held.popitem(last=False)[1])

    def resolve(self, name: str, target: str, link: bytes) -> TarMember:
        """The member ``name`` that is a hard link to ``target``."""
        target = target.removeprefix("./")
        why, data = "", b""
        if self.linked > MAX_LINKED:  # a few bytes must not stand for any number of them
            why = f"would be past the limit of {MAX_LINKED >> 30} GB that links may stand for"
        elif self.again is not None and target in self.places:
            offset, size = self.places[target]
            data = self.again(offset, size)
            why = "" if len(data) == size else "lies too far back"
        elif self.again is None and target in self.held:
            data = self.held[target]
        else:
            near = f" in the {LINKED >> 20} MB before it" if self.again is None else " before it"
            why = f"does not come{near}"
        if why:
            why = f"hard link to {target!r}, which {why}; write it again with --hard-dereference"
            return TarMember(name, link, b"", why, bare=True)
        self.linked += len(data)
        return TarMember(name, header(name, len(data)), data)


def _without_data(name: str, link: bytes, kind: bytes, target: str) -> TarMember:
    """A member that is no file, such as a device."""
    if kind == b"2":
        mend = f"to {target!r}: its bytes are not here; write the archive again with --dereference"
    else:
        mend = "and no file: leave it out of the archive"
    return TarMember(name, link, b"", f"{_WITHOUT_DATA[kind]} {mend}", bare=True)


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

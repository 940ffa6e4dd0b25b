"""One archive as a stream of bytes: a file, a URL or standard input, decompressed on the way."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any, BinaryIO, cast

from socialcli.errors import MissingPackage, SocialcliError
from socialcli.shards.urls import filesystem, is_url, is_web, public, reaching

READINGS = 8  # how often at most a compressed or remote archive is read again for its hard links
_BUFFER = 1 << 20
_HEADERS = 1 << 16  # bytes read at once of a file whose headers only are wanted


@contextlib.contextmanager
def open_read(location: str, skipping: bool = False) -> Iterator[BinaryIO]:
    """One archive for reading, decompressed as its first bytes ask (gzip, bzip2, xz, zstd).

    Args:
        skipping: only its headers are wanted: where it is no pipe and not compressed, the stream
            has ``skip(count)``, which passes over bytes without reading them and says how many
            there were. That a compressed archive is whole is not seen to.

    Raises:
        SocialcliError: it cannot be opened; while it is read, a store that cannot be reached.
    """
    with contextlib.ExitStack() as stack:
        raw: IO[bytes]
        if location == "-":
            raw = cast(IO[bytes], _standard_input())
        elif is_url(location):
            fs, path = filesystem(location)
            with reaching(location):
                raw = cast(IO[bytes], _Remote(_opened(fs, path, stack, skipping), location))
        else:
            try:
                buffer = _HEADERS if skipping else _BUFFER
                raw = stack.enter_context(open(location, "rb", buffering=buffer))
            except OSError as error:
                raise SocialcliError(f"{location}: {error.strerror}") from None
        stream = _decompressed(raw, location)
        skip = _skip(raw, stream) if skipping else None
        if location != "-":
            plain = isinstance(stream, _Replay) and not is_url(location)
            again = _at(raw.fileno()) if plain else stack.enter_context(_Again(location))
            packed = not isinstance(stream, _Replay)
            stream = _Stream(stream, again, packed and is_url(location), skip)
            if packed and not is_url(location) and not skipping:
                stream.damage = _damage(location)
        yield cast(BinaryIO, stream)


def _opened(fs: Any, path: str, stack: contextlib.ExitStack, skipping: bool) -> Any:
    """A remote file: in ranges where the store gives them, else as one stream."""
    from socialcli.shards.ranges import Ranges, S3Object, gives_ranges

    if "s3" in fs.protocol:
        try:
            return stack.enter_context(Ranges(S3Object(fs, path), skipping))
        except OSError as error:
            if error.errno != errno.EINVAL:  # there are no ranges: it is empty, for example
                raise
    file = stack.enter_context(fs.open(path, "rb", block_size=8 * _BUFFER))
    if not hasattr(file, "_fetch_range") or not getattr(file, "size", None):
        return file
    if is_web(path) and not gives_ranges(file):
        return stack.enter_context(fs.open(path, "rb", block_size=0))
    return stack.enter_context(Ranges(file, skipping))


def _standard_input() -> BinaryIO:
    """Standard input, if something can come from it.

    Raises:
        SocialcliError: it is closed, or somebody's keyboard.
    """
    try:
        mode = os.fstat(0).st_mode
        os.read(0, 0)
    except OSError:  # Python itself does not start with a folder as standard input
        raise SocialcliError("standard input is closed: pipe an archive in, or name one") from None
    if stat.S_ISCHR(mode) and os.isatty(0):
        raise SocialcliError(
            "standard input is the keyboard: pipe an archive in, as in `cat x.tar | socialcli ...`"
        )
    return open(0, "rb", buffering=_BUFFER, closefd=False)


class _Remote:
    """A remote file whose client's exceptions come as one line, and never as a short read."""

    def __init__(self, file: IO[bytes], url: str) -> None:
        self.file, self.url = file, url

    def read(self, count: int = -1) -> bytes:
        with reaching(self.url):
            return self.file.read(count)

    def skip(self, count: int) -> int:
        with reaching(self.url):
            skipped: int = self.file.skip(count)  # type: ignore[attr-defined]
            return skipped


class _Replay:
    """A stream whose first bytes were already read and are given again."""

    def __init__(self, start: bytes, stream: IO[bytes]) -> None:
        self.start, self.stream = start, stream

    def read(self, count: int = -1) -> bytes:
        if self.start:
            if count < 0:
                data, self.start = self.start, b""
                return data + self.stream.read()
            data, self.start = self.start[:count], self.start[count:]
            return data if len(data) == count else data + self.stream.read(count - len(data))
        return self.stream.read(count)


class _Stream:
    """An archive's bytes in order; ``again(offset, size)`` gives some that have gone by.

    ``damage`` says why a compressed archive cannot be trusted; ``unproven`` is one of which that
    is known at its end only. ``skip(count)`` passes over bytes without reading them, None where
    there is no way but to read them.
    """

    def __init__(
        self,
        stream: Any,
        again: Callable[[int, int], bytes],
        unproven: bool,
        skip: Callable[[int], int] | None,
    ) -> None:
        self.read, self.again, self.skip = stream.read, again, skip
        self.unproven = unproven
        self.damage = ""


def _damage(location: str) -> str:
    """Why the checksums of a compressed archive do not hold, "" where they do.

    It is read once for that before any of it is believed: what a changed bit makes of the bytes
    that follow is most often a whole tar with other pictures in it, and only the checksum at the
    end tells.
    """
    with open(location, "rb", buffering=_BUFFER) as raw:
        stream = _decompressed(raw, location)
        try:
            while stream.read(_BUFFER):
                pass
        except Exception as error:  # each compression has exceptions of its own
            if isinstance(error, OSError) and error.errno is not None:
                raise
            if "Not a gzipped file" in str(error):  # behind a stream that is whole
                return ""
            return str(error) or type(error).__name__
    return ""


class _Again:
    """Reads an archive that cannot seek a second time, as far as it is asked to."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.opened = contextlib.ExitStack()
        self.stream: BinaryIO | None = None
        self.position = self.starts = 0

    def __call__(self, offset: int, size: int) -> bytes:
        """The bytes, or fewer where it would have to begin anew too often."""
        if self.stream is None or offset < self.position:
            if self.starts == READINGS:
                return b""
            self.opened.close()
            self.stream = self.opened.enter_context(open_read(self.location))
            self.position, self.starts = 0, self.starts + 1
        while self.position < offset:
            part = self.stream.read(min(offset - self.position, _BUFFER))
            if not part:
                return b""
            self.position += len(part)
        data = b""
        while len(data) < size and (part := self.stream.read(size - len(data))):
            data += part
        self.position += len(data)
        return data

    def __enter__(self) -> _Again:
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()


def _skip(raw: Any, stream: Any) -> Callable[[int], int] | None:
    """How bytes of an open archive are passed over; see `_Stream`."""
    if not isinstance(stream, _Replay):
        return None
    passed_over: Callable[[int], int]
    if isinstance(raw, _Remote) and hasattr(raw.file, "skip"):
        passed_over = raw.skip
    elif not isinstance(raw, _Remote) and stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        passed_over = functools.partial(_seek, raw)
    else:
        return None

    def skip(count: int) -> int:
        begun = len(stream.read(min(count, len(stream.start))))
        return begun + (passed_over(count - begun) if count > begun else 0)

    return skip


def _seek(file: IO[bytes], count: int) -> int:
    """Pass over up to ``count`` bytes of a plain file, fewer at its end; says how many."""
    here = file.tell()
    return file.seek(min(here + count, max(here, os.fstat(file.fileno()).st_size))) - here


def _decompressed(raw: IO[bytes], location: str) -> Any:
    start = raw.read(6)
    stream: Any = _Replay(start, raw)
    if start.startswith(b"\x1f\x8b"):
        import gzip

        return gzip.GzipFile(fileobj=stream, mode="rb")
    if start.startswith(b"BZh"):
        import bz2

        return bz2.BZ2File(stream)
    if start.startswith(b"\xfd7zXZ\0"):
        import lzma

        return lzma.LZMAFile(stream)
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd(stream, location)
    return stream


def _at(handle: int) -> Callable[[int, int], bytes]:
    """(offset, size) -> bytes of an open file, without moving where it is read."""

    def again(offset: int, size: int) -> bytes:
        data = b""
        while len(data) < size and (part := os.pread(handle, size - len(data), offset + len(data))):
            data += part
        return data

    return again


def _zstd(stream: Any, location: str) -> Any:
    """The stream decompressed by Python's own zstd (3.14 on) or by the zstandard package."""
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdFile  # type: ignore[import-not-found]

        return ZstdFile(stream)
    try:
        import zstandard
    except ImportError:
        what = f"{public(location)} is compressed with zstd; unpack it (zstd -d), or zstandard"
        raise MissingPackage(what, "zstd") from None
    return zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)

"""Where shards are: paths, globs, brace ranges, ``-``, URLs through fsspec, and ``a+b`` joins."""

from __future__ import annotations

import atexit
import contextlib
import errno
import glob
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from socialcli.errors import MissingPackage, SocialcliError, UsageError
from socialcli.shards.behind import WriteBehind

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.I)
_ENDS = (*TAR_SUFFIXES, "/", "}", "*")
_BUFFER = 1 << 20


def is_url(location: str) -> bool:
    return bool(_URL.match(location))


def parts(location: str) -> list[str]:
    """The archives joined in one location: ``a.tar+b.tar`` -> two; a file whose own name has a
    plus sign is one."""
    pieces = location.split("+")
    found: list[str] = []
    while pieces:
        runs = ["+".join(pieces[:n]) for n in range(1, len(pieces) + 1)]
        there = [n for n, run in enumerate(runs, 1) if run == "-" or _exists_literally(run)]
        # What is not there (a URL, a pattern) ends where an archive's name or a folder ends.
        ended = [n for n, run in enumerate(runs, 1) if run.endswith(_ENDS)]
        taken = (there[-1:] or ended[:1] or [len(pieces)])[0]
        found.append(runs[taken - 1])
        pieces = pieces[taken:]
    return [piece for piece in found if piece]


def _exists_literally(location: str) -> bool:
    return bool(location) and not is_url(location) and Path(location).exists()


def expand(locations: list[str]) -> list[str]:
    """Every shard the arguments name, in order; each is readable by `read`.

    A folder stands for the tars in it, a glob for its matches (both sorted), a brace range for
    its members. In ``a+b`` both sides are joined one to one: where ``b`` is a folder, by the
    names of ``a``'s shards, else in order.

    Raises:
        UsageError: nothing there, or the sides of a join have different numbers of shards.
    """
    found: list[str] = []
    for location in locations:
        first, *others = parts(location)
        sides = [_expand_one(first)]
        for other in others:
            if other.endswith("/") or Path(other).is_dir():
                folder = other.rstrip("/")
                sides.append([f"{folder}/{PurePosixPath(shard).name}" for shard in sides[0]])
            else:
                sides.append(_expand_one(other))
        counts = [len(side) for side in sides]
        if len(set(counts)) > 1:
            raise UsageError(
                f"{location}: the joined sides have {' and '.join(map(str, counts))} shards; "
                "they are joined one to one, so the numbers must be equal"
            )
        found += ["+".join(joined) for joined in zip(*sides, strict=True)]
    if not found:
        raise UsageError("no input shards given")
    return found


def _expand_one(location: str) -> list[str]:
    if location == "-":
        return ["-"]
    if _exists_literally(location):
        if Path(location).is_dir():
            inside = [str(p) for p in Path(location).iterdir() if p.name.endswith(TAR_SUFFIXES)]
            if not inside:
                raise UsageError(f"{location}: no .tar files in this folder")
            return sorted(inside)
        return [location]
    braced = [location]
    if "{" in location:
        from braceexpand import braceexpand

        try:
            braced = list(braceexpand(location))
        except ValueError:
            raise UsageError(f"{location}: unbalanced braces") from None
    found = []
    for one in braced:
        if is_url(one) and one.endswith("/"):
            inside = [u for u in _glob_url(one + "*") if u.endswith(TAR_SUFFIXES)]
            if not inside:
                raise UsageError(f"{one}: no .tar files under this prefix")
            found += sorted(inside)
        elif is_url(one):
            found += sorted(_glob_url(one)) if glob.has_magic(one) else [one]
        elif Path(one).exists():
            found += _expand_one(one)
        else:
            matches = sorted(glob.glob(one))  # noqa: PTH207 - a pattern may be absolute
            if not matches:
                raise UsageError(f"{one}: no such shard")
            found += matches
    return found


def _glob_url(url: str) -> list[str]:
    fs, path = filesystem(url)
    scheme = url.partition("://")[0]
    return [m if is_url(m) else f"{scheme}://{m}" for m in fs.glob(path)]


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path within it.

    Raises:
        MissingPackage: the package for this scheme is not installed.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        if isinstance(error, ValueError) and "Protocol not known" in str(error):
            raise UsageError(f"{url}: {error}") from None
        raise MissingPackage(
            f"support for {url.partition('://')[0]}:// ({error})", "remote"
        ) from None


def size(location: str) -> int | None:
    """Bytes of one archive (not of a join), None where that cannot be known."""
    if location == "-":
        return None
    try:
        if is_url(location):
            fs, path = filesystem(location)
            return fs.info(path).get("size")
        path_ = Path(location)
        return path_.stat().st_size if path_.is_file() else None
    except OSError:
        return None


def modified(location: str) -> int | None:
    """When a local archive was last written, in nanoseconds; None where that is not known."""
    path = Path(location)
    return path.stat().st_mtime_ns if not is_url(location) and path.is_file() else None


@contextlib.contextmanager
def open_read(location: str) -> Iterator[BinaryIO]:
    """One archive for reading, decompressed as its first bytes ask (gzip, bzip2, xz)."""
    with contextlib.ExitStack() as stack:
        raw: IO[bytes]
        if location == "-":
            raw = open(sys.stdin.fileno(), "rb", buffering=_BUFFER, closefd=False)
        elif is_url(location):
            fs, path = filesystem(location)
            try:
                raw = stack.enter_context(fs.open(path, "rb", block_size=8 * _BUFFER))
            except OSError as error:
                raise SocialcliError(f"{location}: {error or 'cannot be opened'}") from None
        else:
            try:
                raw = stack.enter_context(open(location, "rb", buffering=_BUFFER))
            except OSError as error:
                raise SocialcliError(f"{location}: {error.strerror}") from None
        yield cast(BinaryIO, _decompressed(raw, location))


class _Replay:
    """A non-seekable stream whose first bytes were already read and are given again."""

    def __init__(self, start: bytes, stream: IO[bytes]) -> None:
        self.start, self.stream = start, stream

    def read(self, count: int) -> bytes:
        if self.start:
            data, self.start = self.start[:count], self.start[count:]
            return data if len(data) == count else data + self.stream.read(count - len(data))
        return self.stream.read(count)


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
        raise SocialcliError(f"{location}: zstd shards are not read; run: zstd -d {location}")
    return stream


_unfinished: set[Path] = set()


@atexit.register
def discard_unfinished() -> None:
    """Remove this process's unfinished files: a signal may come where no ``finally`` is yet."""
    for path in list(_unfinished):
        path.unlink(missing_ok=True)


class Publication:
    """A file being written beside its final name; `commit` publishes it whole or not at all."""

    def __init__(self, location: str) -> None:
        self.location = location
        if is_url(location):
            handle, name = tempfile.mkstemp(prefix="socialcli-", suffix=".tmp")
            os.close(handle)
            self.temporary = Path(name)
        else:
            target = Path(location)
            target.parent.mkdir(parents=True, exist_ok=True)
            _sweep(target)
            mark = f"{socket.gethostname().partition('.')[0]}-{os.getpid()}"
            self.temporary = target.parent / f".{target.name}.tmp-{mark}"
        _unfinished.add(self.temporary)
        file = open(self.temporary, "wb", buffering=0)
        _lock(file)
        self.file = WriteBehind(cast(BinaryIO, file))

    def commit(self, synced: bool = True, after_others: bool = False) -> None:
        """Flush to disk and give the file its final name (or upload it and check its size).

        ``synced``: its content is on disk before it has its name. ``after_others``: what was
        published in the same folder before is on disk first, so that this file's presence
        vouches for it even after a power cut.
        """
        with explain_full_disk(self.location):
            self.file.finish(synced)
        if not is_url(self.location):
            if after_others:
                _sync_folder(Path(self.location).parent)
            self.temporary.replace(self.location)
            _unfinished.discard(self.temporary)
            return
        fs, path = filesystem(self.location)
        length = self.temporary.stat().st_size
        parent = path.rpartition("/")[0]
        if parent:
            fs.makedirs(parent, exist_ok=True)
        fs.put_file(str(self.temporary), path)
        fs.invalidate_cache()
        arrived = fs.info(path).get("size")
        if arrived != length:
            raise SocialcliError(f"{self.location}: uploaded {length} bytes but {arrived} arrived")
        self.temporary.unlink()
        _unfinished.discard(self.temporary)

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self.file.close()
        self.temporary.unlink(missing_ok=True)
        _unfinished.discard(self.temporary)


def _lock(file: BinaryIO) -> bool:
    """Take a file for this process, until it ends in whatever way; False when another has it."""
    try:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # not every system and file system has these locks
        return False
    return True


def _sweep(target: Path) -> None:
    """Remove what killed runs left of a target: unfinished files that nobody holds.

    A lock and not the process number in the name tells: the number of a dead process may belong
    to another by now, or to nobody's zombie.
    """
    for old in target.parent.glob(glob.escape(f".{target.name}.tmp-") + "*"):
        with contextlib.suppress(OSError), open(old, "r+b") as file:
            if _lock(file):
                old.unlink()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse to sync a folder; the rename still holds
        pass
    finally:
        os.close(handle)


@contextlib.contextmanager
def explain_full_disk(location: str) -> Iterator[None]:
    """Turn 'no space left' into the one line that helps; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SocialcliError(
                f"{location}: the disk is full; free some space and run the same command again "
                "(finished shards are kept)"
            ) from None
        raise


@contextlib.contextmanager
def publish(location: str, synced: bool = True, after_others: bool = False) -> Iterator[BinaryIO]:
    """Write a file that appears under its name whole, or not at all (see `Publication.commit`)."""
    publication = Publication(location)
    try:
        with explain_full_disk(location):
            yield cast(BinaryIO, publication.file)
        publication.commit(synced, after_others)
    except BaseException:
        publication.discard()
        raise


def write_bytes(
    location: str, data: bytes, synced: bool = True, after_others: bool = False
) -> None:
    with publish(location, synced, after_others) as file:
        file.write(data)


def read_bytes(location: str) -> bytes | None:
    """A small file's content, None if it is not there."""
    try:
        if is_url(location):
            fs, path = filesystem(location)
            return cast(bytes, fs.cat_file(path))
        return Path(location).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def remove(location: str) -> None:
    """Delete a file if it is there."""
    with contextlib.suppress(FileNotFoundError):
        if is_url(location):
            fs, path = filesystem(location)
            fs.rm(path)
        else:
            Path(location).unlink()


def list_files(folder: str, suffix: str) -> list[str]:
    """Files in a folder or under a remote prefix whose names end with ``suffix``, sorted."""
    if is_url(folder):
        return sorted(_glob_url(folder.rstrip("/") + "/*" + suffix))
    if not Path(folder).is_dir():
        return []
    names = (p for p in Path(folder).iterdir() if p.name.endswith(suffix) and p.name[0] != ".")
    return sorted(str(p) for p in names)

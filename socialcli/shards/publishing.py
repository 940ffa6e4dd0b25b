"""Files that appear under their names whole or not at all, on a disk or in a store."""

from __future__ import annotations

import atexit
import contextlib
import errno
import itertools
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO, cast

from socialcli.errors import SocialcliError
from socialcli.shards import uploads
from socialcli.shards.behind import WriteBehind
from socialcli.shards.keys import shortened
from socialcli.shards.urls import is_url, reaching

unfinished: set[Path] = set()


@atexit.register
def discard_unfinished() -> None:
    """Remove what this process left unfinished: a signal may come where no ``finally`` is yet."""
    for path in list(unfinished):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # what cannot be written to has nothing of ours
                path.unlink()


class Publication:
    """A file being written beside its final name; `commit` publishes it whole or not at all."""

    def __init__(self, location: str, swept: bool = False) -> None:
        self.location = location
        self._lock: int | None = None
        self._new: list[Path] = []  # folders made for it
        if is_url(location):
            self.temporary, file = _to_upload()
            self._lock = os.dup(file.fileno())  # held until it is uploaded, after it is closed
        else:
            target = Path(location)
            self._new = make_folder(target.parent)
            if not swept:
                _sweep(target)
            self.temporary = target.parent / hidden(target.name)
            unfinished.add(self.temporary)
            try:
                check_name(target)
                file = _opened(self.temporary)
            except OSError as error:  # nobody knows the hidden name
                unfinished.discard(self.temporary)
                remove_empty(self._new)
                raise OSError(error.errno, error.strerror, location) from None
            lock(file.fileno())
        # What is uploaded is deleted then: that the local disk has it is of no use to anybody.
        self.file = WriteBehind(cast(BinaryIO, file), syncs=self._lock is None)

    def commit(self, synced: bool = True, after_others: bool = False) -> None:
        """Flush to disk and give the file its final name (or upload it and check its size).

        ``synced``: its content is on disk before it has its name. ``after_others``: what was
        published in the same folder before is on disk first, so that this file's presence
        vouches for it even after a power cut.
        """
        with explain_full_disk(self.location):
            self.file.finish(synced and not is_url(self.location))
        if not is_url(self.location):
            if after_others:
                sync_folder(Path(self.location).parent)
            self.temporary.replace(self.location)
            unfinished.discard(self.temporary)
            return
        with reaching(self.location, "written"):
            uploads.upload(self.temporary, self.location)
        self._forget()

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self.file.close()
        self._forget()
        remove_empty(self._new)

    def _forget(self) -> None:
        """Remove the temporary file, if it is there, and let go of it."""
        self.temporary.unlink(missing_ok=True)
        unfinished.discard(self.temporary)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _opened(path: Path) -> FileIO:
    try:
        return open(path, "wb", buffering=0)
    except FileNotFoundError:  # another process has taken away the folder, which it had made
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "wb", buffering=0)


def check_name(target: Path) -> None:
    """Refuse a name that no file can have before anything is written under its hidden name.

    Raises:
        OSError: it is too long.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        target.lstat()


def make_folder(folder: Path) -> list[Path]:
    """Make a folder where it is missing; returns those that are new, the innermost first."""
    new = list(itertools.takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    return new


def remove_empty(folders: list[Path]) -> None:
    """Take away folders that were made for what then could not be written, the innermost first."""
    for folder in folders:
        with contextlib.suppress(OSError):  # another file has been put there
            folder.rmdir()


_counter = itertools.count()
_KEPT = 100  # bytes of a name in its hidden name, which has some ninety more


def host() -> str:
    """This machine's name as hidden names carry it."""
    return socket.gethostname().partition(".")[0]


def mark() -> str:
    """What tells the hidden names of this machine's processes and threads apart."""
    return f"{host()}-{os.getpid()}-{next(_counter)}"


def hidden(name: str, why: str = "tmp") -> str:
    """The hidden name of what gets a name (``tmp``) or loses it (``gone``): short enough for every
    file system, however long that name is."""
    return f".{shortened(name, _KEPT)}.{why}-{mark()}"


def lock(handle: int) -> bool:
    """Take an open file or folder for this process, until it ends in whatever way; False when
    another has it."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # not every system and file system has these locks
        return False
    return True


@dataclass
class _Unfinished:
    """The unfinished files that a folder held when it was looked through last.

    Attributes:
        names: final name, shortened as in hidden names -> hidden names.
        until: when that is too old, seconds of the clock.
    """

    names: dict[str, list[str]]
    until: float


_LOOKS = 50  # looking through folders takes at most one part in so many of the time
_TEMPORARY = re.compile(r"\.(.+)\.tmp-[^/]+")
_folders: dict[Path, _Unfinished] = {}


def _sweep(target: Path) -> None:
    """Remove what killed runs left of a target: unfinished files that nobody holds.

    A lock and not the process number in the name tells: the number of a dead process may belong
    to another by now, or to nobody's zombie. A folder of many shards takes long to look through,
    which must not happen for each of them: what was seen there counts for a while.
    """
    known = _folders.get(target.parent)
    if known is None or time.monotonic() > known.until:
        known = _folders[target.parent] = _look_through(target.parent)
    for name in known.names.pop(shortened(target.name, _KEPT), ()):
        old = target.with_name(name)
        with contextlib.suppress(OSError), open(old, "r+b") as file:
            if lock(file.fileno()):
                uploads.abort_noted(old)
                old.unlink()


def _look_through(folder: Path) -> _Unfinished:
    names: dict[str, list[str]] = {}
    begun = time.monotonic()
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _TEMPORARY.fullmatch(entry.name) if entry.name[0] == "." else None
            if match is not None:
                names.setdefault(match[1], []).append(entry.name)
    ended = time.monotonic()
    return _Unfinished(names, ended + _LOOKS * (ended - begun))


def _to_upload() -> tuple[Path, FileIO]:
    """A file of this process on the local disk, open and locked, to be uploaded when it is whole.

    What killed runs left there is removed first: a shard may take gigabytes.
    """
    folder = Path(tempfile.gettempdir())
    _sweep(folder / "socialcli-upload")
    while True:
        handle, name = tempfile.mkstemp(prefix=f".socialcli-upload.tmp-{mark()}-")
        file, path = FileIO(handle, "wb"), Path(name)
        lock(handle)
        if path.exists():  # else another process swept it away before it was locked
            unfinished.add(path)
            return path, file
        file.close()


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse to sync a folder; the rename still holds
        pass
    finally:
        os.close(handle)


@contextlib.contextmanager
def explain_full_disk(location: str) -> Iterator[None]:
    """Turn 'no space left', whoever says it, into the one line that helps; other errors pass."""
    try:
        yield
    except SocialcliError:
        raise
    except Exception as error:
        if _says_full(error, location):
            raise SocialcliError(
                f"{location}: the disk is full; free some space and run the same command again "
                "(finished shards are kept)"
            ) from None
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            raise SocialcliError(
                f"{location}: no file may grow that large here (ulimit -f, or the file system); "
                "raise the limit, write elsewhere, or make smaller shards"
            ) from None
        raise


def _says_full(error: Exception, location: str) -> bool:
    """Whether an error of Python, or of what writes files in C++ or Rust, is that of a full disk.

    Safetensors wraps the system's words; PyTorch's writer only says how far it came.
    """
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    text = str(error)
    if "inline_container" not in text:
        return "No space left on device" in text or "Disk quota exceeded" in text
    place = next(p for p in (Path(location), *Path(location).absolute().parents) if p.exists())
    return shutil.disk_usage(place).free < 1 << 16


@contextlib.contextmanager
def publish(
    location: str, synced: bool = True, after_others: bool = False, swept: bool = False
) -> Iterator[BinaryIO]:
    """Write a file that appears under its name whole, or not at all (see `Publication.commit`).

    ``swept``: what killed runs left in its folder is gone already.
    """
    publication = Publication(location, swept)
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

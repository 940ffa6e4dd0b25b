"""What reference pictures and their shards hold, in a word of a run's fingerprint."""

from __future__ import annotations

import contextlib
import errno
import functools
import zlib
from collections.abc import Iterable
from pathlib import Path

from socialcli import shards
from socialcli.errors import UsageError

_PROBES, _PROBE = 64, 1 << 14


def held(place: str) -> str:
    """A word for what local shards of references hold.

    Of each file its size and some pieces spread over it; other places are told by their names
    (`of_patterns` looks into some of them).
    """
    root = Path(place).expanduser() if place else None
    if root is None or not root.exists():
        return place
    files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
    crc = 0
    for file in files:
        status = file.stat()
        name = str(file.relative_to(root)) if root.is_dir() else ""
        crc = zlib.crc32(
            f"{name} {_pieces(file, status.st_size, status.st_mtime_ns)}".encode(), crc
        )
    return f"crc32 {crc:08x}"


def of_patterns(places: Iterable[str]) -> str:
    """A word for what the local shards hold that globs, ranges and joins name; "" where there are
    none. `held` is of single files and folders."""
    crc = 0
    for place in places:
        if shards.is_url(place) or Path(place).expanduser().exists():
            continue
        with contextlib.suppress(UsageError):  # who opens them says it
            for shard in shards.expand([place], check=False):
                files = (Path(part) for part in shards.parts(shard))
                for file in (file for file in files if file.is_file()):
                    named = f"{file.name} {held(str(file))}"
                    crc = zlib.crc32(named.encode("utf-8", "surrogateescape"), crc)
    return f"crc32 {crc:08x}" if crc else ""


def file_called(name: str, folders: Iterable[str] = ("",)) -> Path | None:
    """The first file of this name in some folders; None where there is none. A name may be a key
    or a subject as well, that no file can have."""
    for folder in folders:
        try:
            file = Path(folder, name).expanduser()
            if file.is_file():
                return file
        except RuntimeError:  # "~somebody" who has no home here
            continue
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
    return None


def of_files(names: Iterable[str], folders: Iterable[str] = ("",)) -> str:
    """A word for what the files among some names hold; "" where none is one.

    Args:
        folders: where each is looked for, in this order.
    """
    crc, places = 0, tuple(folders)
    for name in sorted(set(names)):
        file = file_called(name, places)
        if file is not None:
            crc = zlib.crc32(f"{name} {held(str(file))}".encode("utf-8", "surrogatepass"), crc)
    return f"crc32 {crc:08x}" if crc else ""


@functools.cache
def _pieces(file: Path, size: int, modified: int) -> str:
    crc = 0
    with file.open("rb") as opened:
        step = max(_PROBE, size // _PROBES)
        for offset in range(0, size, step):
            opened.seek(offset)
            crc = zlib.crc32(opened.read(_PROBE), crc)
    return f"{size} {crc:08x}"

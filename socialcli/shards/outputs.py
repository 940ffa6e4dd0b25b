"""Whether an output can be written, asked before hours of work depend on it."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from socialcli.errors import SampleFailed, UsageError
from socialcli.shards.urls import is_url, public

_NAMES = (
    errno.ENAMETOOLONG, errno.EILSEQ, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY,
)  # fmt: skip


def check_output_file(location: str, flag: str = "") -> None:
    """Refuse the place of a file that could not be written. What is there already stays as it is,
    and no folder is made; a place in a store is not asked.

    Args:
        flag: the option that names it ("--grid"), for the message.

    Raises:
        UsageError: it is a folder, its folder cannot be made, or nothing can be written in it.
    """
    if location == "-" or is_url(location):
        return
    named = f"{flag} {location}".strip()
    if Path(location).is_dir():
        raise UsageError(f"{named}: a folder is there; give the name of a file")
    _check(Path(location).parent, named)


def check_output_files(locations: Iterable[str]) -> None:
    """`check_output_file` of files of which many are in one folder: of one in each."""
    for one in {location.rpartition("/")[0]: location for location in locations}.values():
        check_output_file(one)


def check_output_folder(location: str, flag: str = "") -> None:
    """The same of a folder in which files are to be written, which is one of this machine.

    Raises:
        UsageError: it is a URL, cannot be made, or nothing can be written in it.
    """
    if is_url(location):
        named = f"{flag} {public(location)}".strip()
        raise UsageError(f"{named}: this is written into a folder of this machine, not to a URL")
    if location != "-":
        _check(Path(location), f"{flag} {location}".strip())


@contextlib.contextmanager
def refuse_names(name: str) -> Iterator[None]:
    """Turn what the system says of a sample's file whose name it cannot have (a key may be longer
    than any file's name, or a folder is in its place) into that sample's failure.

    Raises:
        SampleFailed: instead of such an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NAMES:
            raise
        shorter = "; give the sample a shorter key" if error.errno == errno.ENAMETOOLONG else ""
        why = f"{name[:200]} cannot be written ({error.strerror})"
        raise SampleFailed(f"{why}{shorter}") from None


def _check(folder: Path, named: str) -> None:
    there = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
    try:
        # The one sure way to know: rights say nothing of a disk that was mounted for reading only,
        # nor of an administrator. A temporary file has no name, or loses it at once.
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        why = f"nothing can be written in {there} ({error.strerror})"
        raise UsageError(f"{named}: {why}; give another place") from None

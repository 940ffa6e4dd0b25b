"""Folders that appear whole or not at all, and many files of one folder.

The same steps as for a file (`publishing.Publication`): written beside its place under a hidden
name, synced, renamed. What a killed run leaves is swept away by the next one that writes there.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from socialcli.errors import UsageError
from socialcli.shards import publishing
from socialcli.shards.urls import is_url

# Ends of names that are files' to everybody: a folder called so is a slip of the pen.
_FILES = (
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".html", ".htm", ".md", ".pdf", ".xml", ".yaml",
    ".yml", ".toml", ".zip", ".gz", ".zst", ".tar", ".tgz", ".png", ".jpg", ".jpeg", ".webp",
    ".gif", ".npy", ".npz", ".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".parquet",
)  # fmt: skip
_HIDDEN = re.compile(r"\..+\.(?:tmp|gone)-(.+)-\d+-\d+")


def refuse_file_name(given: str, what: str) -> None:
    """Refuse an output that is to be a folder, and is a file or called as one.

    Args:
        what: what is written there, for the message.

    Raises:
        UsageError: it is, and neither ends in a slash nor is a folder already.
    """
    place = Path(given)
    if place.is_file():
        raise UsageError(f"{given} is a file; {what} go into a folder")
    if place.suffix.lower() in _FILES and not given.endswith("/") and not place.is_dir():
        raise UsageError(
            f"{given}: {what} go into a folder, and this is the name of a file; give a folder, or "
            f"'{given}/' if it shall be called so"
        )


class FolderPublication:
    """A folder being filled beside its final name; `commit` publishes it whole or not at all.

    Attributes:
        path: where to write.
    """

    def __init__(self, parent: Path, name: str, swept: bool = False) -> None:
        """``parent`` is made where it is missing, and swept unless it is ``swept`` already;
        ``name`` tells what is being made."""
        self._new = publishing.make_folder(parent)
        if not swept:
            sweep(parent)
        self.parent = parent
        self.path = parent / publishing.hidden(name)
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        publishing.unfinished.add(self.path)
        self._handle: int | None = os.open(self.path, os.O_RDONLY)
        publishing.lock(self._handle)

    def sync(self) -> None:
        """All that is in it onto the disk, readable by whom the umask lets read.

        Safetensors gives its files to their owner alone.
        """
        readable = self.path.stat().st_mode & 0o666  # as `mkdir` made it
        for file in self.path.rglob("*"):
            if file.is_file():
                file.chmod(file.stat().st_mode | readable)
        sync(self.path)

    def spread(self, last: str) -> None:
        """Sync all that is in it, and give each file its place in the parent, the file ``last`` as
        the last one. What else is there stays."""
        with publishing.explain_full_disk(str(self.parent)):
            self.sync()
        for part in sorted(self.path.iterdir(), key=lambda part: (part.name == last, part.name)):
            if part.name == last:
                publishing.sync_folder(self.parent)
            _move(part, self.parent / part.name)
        publishing.sync_folder(self.parent)
        self._close()
        shutil.rmtree(self.path, ignore_errors=True)

    def commit(self, name: str) -> Path:
        """Sync all that is in it and give it its name; what had that name before goes."""
        with publishing.explain_full_disk(str(self.parent / name)):
            self.sync()
        target = self.parent / name
        old = _retire(target)
        self.path.replace(target)
        publishing.sync_folder(self.parent)
        self._close()
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def discard(self) -> None:
        """Remove it, unless it was published."""
        if self._handle is not None:
            self._close()
            shutil.rmtree(self.path, ignore_errors=True)
            publishing.remove_empty(self._new)

    def _close(self) -> None:
        publishing.unfinished.discard(self.path)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


@contextlib.contextmanager
def publish_folder(target: Path) -> Iterator[Path]:
    """A folder to write in, which has the name of ``target`` once all of it is on the disk."""
    publication = FolderPublication(target.parent, target.name)
    try:
        publishing.check_name(target)
        with publishing.explain_full_disk(str(target)):
            yield publication.path
            publication.commit(target.name)
    finally:
        publication.discard()


def _move(part: Path, target: Path) -> None:
    """Give a file or folder its place; files of a folder that is there already go into that."""
    if part.is_dir() and target.is_dir():
        for inside in part.iterdir():
            _move(inside, target / inside.name)
        publishing.sync_folder(target)
    else:
        part.replace(target)


@contextlib.contextmanager
def publish_files(folder: Path, last: str, swept: bool = False) -> Iterator[Path]:
    """A folder to write in, whose files and folders have their places in ``folder`` once all of
    them are on the disk (see `FolderPublication.spread`). Until then ``folder`` is as it was.

    ``swept``: what killed runs left in ``folder`` is gone already.
    """
    publication = FolderPublication(folder, "files", swept)
    try:
        with publishing.explain_full_disk(str(folder)):
            yield publication.path
        publication.spread(last)
    finally:
        publication.discard()


def settle(part: Path, target: Path) -> None:
    """Give a finished file or folder, which is on the same disk, its name; what had it goes."""
    sync(part)
    old = _retire(target) if target.is_dir() else None
    part.replace(target)
    publishing.sync_folder(target.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder; while that goes on it has no name that anybody would read."""
    old = _retire(folder)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _retire(target: Path) -> Path | None:
    if not target.exists():
        return None
    old = target.with_name(publishing.hidden(target.name, "gone"))
    target.replace(old)
    return old


def sweep(folder: Path) -> None:
    """Remove what killed runs on this machine left half written or half removed in a folder.

    Whatever a living process holds stays; so does what another machine may be writing.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(".")]
        for name in names:
            match = _HIDDEN.fullmatch(name)
            if match is not None and match[1] == publishing.host():
                _remove_free(folder / name)


def _remove_free(path: Path) -> None:
    """Remove a file or folder that no process has locked."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            if not publishing.lock(handle):
                return
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        finally:
            os.close(handle)


def sync(place: Path) -> None:
    """A file, or a folder with all that is in it, onto the disk."""
    for inside in [*(place.rglob("*") if place.is_dir() else ()), place]:
        if inside.is_dir():
            publishing.sync_folder(inside)
            continue
        handle = os.open(inside, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class ManyFiles:
    """Files published one by one, or a few together, into folders each of which is swept once."""

    def __init__(self) -> None:
        self._swept: set[Path] = set()

    def write(self, location: str, data: bytes, synced: bool = True) -> None:
        """As `publishing.write_bytes`."""
        if not is_url(location):
            self._sweep(Path(location).parent)
        with publishing.publish(location, synced, swept=True) as stream:
            stream.write(data)

    def together(self, folder: Path, last: str) -> contextlib.AbstractContextManager[Path]:
        """As `publish_files`."""
        self._sweep(folder)
        return publish_files(folder, last, swept=True)

    def _sweep(self, folder: Path) -> None:
        if folder not in self._swept:
            sweep(folder)
            self._swept.add(folder)

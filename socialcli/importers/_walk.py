"""The files of a folder and of those below it, as importers of folders take them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from socialcli.errors import UsageError
from socialcli.importers import _picture

# What the options of those importers say.
HIDDEN = "Also take files and folders whose names start with a dot."
FOLLOW_LINKS = "Follow symbolic links."


def files(root: Path, hidden: bool, follow_links: bool) -> Iterator[str]:
    """Paths of all files below the root, ``/``-separated and relative to it, in no set order.

    A folder is entered once, however many links lead to it, so that links in a circle end and
    links into each other do not multiply; its own place wins over a link to it.

    Raises:
        UsageError: a folder cannot be listed.
    """
    seen: set[tuple[int, int]] = set()
    folders, links = [""], list[str]()
    while folders or links:
        if not folders:
            links.sort(key=_picture.natural, reverse=True)
            folders.append(links.pop())
        folder = folders.pop()
        here = root / folder
        try:
            status = here.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            items = list(os.scandir(here))
        except OSError as error:
            raise UsageError(
                f"{_picture.printable(str(here))}: cannot be listed ({error.strerror}); make it "
                "readable or move it out of the folder"
            ) from None
        for item in items:
            path = f"{folder}/{item.name}" if folder else item.name
            if item.name.startswith(".") and not hidden:
                continue
            if item.is_symlink() and not follow_links:
                continue
            if item.is_dir():
                (links if item.is_symlink() else folders).append(path)
            else:
                yield path

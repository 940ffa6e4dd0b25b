"""Remote folders that are listed once, instead of one question for each of their files."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from socialcli.errors import SocialcliError
from socialcli.shards.urls import filesystem, is_url, is_web, reaching

FEW = 4  # files of one folder that are asked for one by one
_listings: dict[str, dict[str, Any]] = {}  # folder -> name -> what the store says of the file


@contextlib.contextmanager
def listed(locations: Iterable[str]) -> Iterator[None]:
    """While it lasts, what these locations' folders hold is known from one listing.

    A store lists a thousand files a request. Folders with few of the locations, web addresses
    (which have no listing) and folders whose listing is forbidden are left out: there each file
    is asked for. What is written meanwhile is not seen: for looking only.
    """
    folders = Counter(_split(place)[0] for place in locations if _may_be_listed(place))
    fresh = [f for f, count in folders.items() if count > FEW and f not in _listings]
    try:
        for folder in fresh:
            with contextlib.suppress(OSError, SocialcliError):
                _listings[folder] = _list(folder)
        yield
    finally:
        for folder in fresh:
            _listings.pop(folder, None)


def known(location: str) -> tuple[bool, dict[str, Any] | None]:
    """(whether the folder is listed now, what its listing says of the file or None)."""
    folder, name = _split(location)
    listing = _listings.get(folder)
    return (False, None) if listing is None else (True, listing.get(name))


def _may_be_listed(location: str) -> bool:
    return is_url(location) and not is_web(location)


def _split(location: str) -> tuple[str, str]:
    folder, _, name = location.rpartition("/")
    return folder, name


def _list(folder: str) -> dict[str, Any]:
    fs, path = filesystem(folder)
    fs.invalidate_cache(path)
    with reaching(folder):
        try:
            files = fs.ls(path, detail=True)
        except FileNotFoundError:  # nothing is in it yet
            files = []
    fs.invalidate_cache(path)  # or the client would go on believing it
    return {info["name"].rpartition("/")[2]: info for info in files if info["type"] == "file"}

"""What a run noted beside its shard of the samples it failed on: ``NAME.errors.jsonl``.

Files of other programs may have this name too, so nothing here trusts their form.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from socialcli import records
from socialcli.errors import SocialcliError
from socialcli.shards import locations, urls

FIELDS = ("key", "status", "stage", "reason")


def stem(archive: str) -> str:
    """An archive's location without its suffix, nor that of a compression (it may have been packed
    since it was written): what the files beside it begin with. A list of pictures is one too."""
    if urls.is_url(archive):  # what is signed is the shard alone
        archive = archive.partition("?")[0]
    name = locations.without_suffix(archive)
    return archive.removesuffix(".jsonl") if name == archive else name


def errors_location(archive: str) -> str:
    """Where the run that wrote an archive notes the samples that did not end well."""
    return stem(archive) + ".errors.jsonl"


def read_errors(archive: str) -> Iterator[dict[str, str]]:
    """Every sample of one archive (not of a join) that did not end well: `FIELDS` as text."""
    if archive == "-":
        return
    try:
        data = locations.read_bytes(errors_location(archive)) or b""
    except (OSError, SocialcliError):
        return
    for line in data.decode("utf-8", "replace").split("\n"):  # a key may have other line ends
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield {name: str(entry.get(name) or "") for name in FIELDS}


def of_sample(archive: str, key: str) -> list[dict[str, str]]:
    """What is noted beside an archive of one sample that failed; `FIELDS` as text."""
    if archive == "-":
        return []
    place = errors_location(archive)
    written = None if urls.is_url(place) else locations.modified(place)
    return _failed(archive, written).get(key, [])


def why_missing(
    archives: Iterable[str], key: str, suffix: str, notes: Iterable[Mapping[str, Any]] = ()
) -> str:
    """Why the command that writes a member has failed on a sample, and the mend; "" where nothing
    is noted. A later command that failed for want of the member has noted the same.

    Args:
        archives: those that the sample was read from. suffix: of the member ("boxes.json").
        notes: what sidecars say of the sample besides (`Sample.notes`).
    """
    failed: list[Mapping[str, Any]] = [note for a in archives for note in of_sample(a, key)]
    failed += [note for note in notes if note.get("status") == "failed"]
    command = records.WRITERS[suffix]
    for note in failed:
        if note.get("stage") == command.split()[0]:
            return (
                f"`socialcli {command}` failed on this sample ({note['reason']}); mend that and "
                "run it again with --retry-failed"
            )
    begin = f"no {suffix}: `socialcli {command}` failed "
    reasons = (str(note["reason"]) for note in failed)
    return next((r.partition(": ")[2] for r in reasons if r.startswith(begin)), "")


@functools.lru_cache(maxsize=8)
def _failed(archive: str, written: int | str | None) -> dict[str, list[dict[str, str]]]:
    """The failures of an archive by key; ``written`` is when they were noted, so that a file that
    was written anew is read anew."""
    failed: dict[str, list[dict[str, str]]] = {}
    for entry in read_errors(archive):
        if entry["status"] == "failed":
            failed.setdefault(entry["key"], []).append(entry)
    return failed

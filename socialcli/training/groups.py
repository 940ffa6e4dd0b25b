"""Which samples belong together: by ``--by``, by a pattern of keys; and a word for each group."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from socialcli.errors import SampleFailed, UsageError

if TYPE_CHECKING:
    from socialcli.shards import Sample
    from socialcli.shards.index import Index

FIELDS = ("subject", "concept")  # what importers of subjects call it in meta.extra


def extra(sample: Sample) -> dict[str, Any]:
    """``extra`` of a sample's meta.json; empty where there is none that can be read."""
    from socialcli import records

    if not sample.has("meta.json"):
        return {}
    try:
        return sample.record(records.Meta).extra
    except SampleFailed:
        return {}


def stated(index: Index, number: int) -> dict[str, Any]:
    """The same of sample ``number``, which is read only where it has a meta.json."""
    return extra(index.read(number)) if index.entries[number].has("meta.json") else {}


def matching(index: Index, pattern: str) -> list[int]:
    """Numbers of the samples whose keys match a pattern, as ``dogs/rex*``."""
    keys = (entry.key for entry in index.entries)
    return [n for n, key in enumerate(keys) if fnmatch.fnmatchcase(key, pattern)]


def grouped(index: Index, by: str, alone: str) -> dict[str, list[int]]:
    """Name -> numbers of its samples, by name. Samples without a name are left out, and said to be
    so in ``index.unusable``.

    Args:
        by: a field of meta.json's extra, ``folder`` (of the key), ``none``, or ``auto``: the first
            of `FIELDS` that there is, else folders, else none.
        alone: what all samples are called together with ``none``.

    Raises:
        UsageError: no sample has the field.
    """
    extras = [stated(index, n) for n in range(len(index))] if by != "folder" else []
    folders = [entry.key.rpartition("/")[0] for entry in index.entries]
    if by == "auto":
        known = [name for name in FIELDS if any(isinstance(e.get(name), str) for e in extras)]
        by = known[0] if known else "folder" if any(folders) else "none"
    if by == "none":
        names = [alone] * len(index)
    elif by == "folder":
        names = folders
    else:
        names = [e[by] if isinstance(e.get(by), str) else "" for e in extras]
        if not any(names):
            raise UsageError(f"--by {by}: no sample's meta.json has a word there")
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        if name:
            groups.setdefault(name, []).append(number)
        else:
            lacking = "its key has no folder" if by == "folder" else f"its meta.json has no {by}"
            index.unusable.setdefault(index.entries[number].key, f"{lacking} (--by)")
    return dict(sorted(groups.items()))


def words(
    flag: str, given: Sequence[str], names: Sequence[str], what: str, form: str
) -> dict[str, str]:
    """Name -> word of ``WORD`` and ``NAME=WORD``; "" for all others.

    Args:
        what: the groups, in messages ("subjects"). form: a word of one group ("NAME=WORD").

    Raises:
        UsageError: a name that nobody has, or no word.
    """
    read = {}
    for one in given:
        name, equals, word = one.partition("=")
        if not equals:
            name, word = "", one
        elif name not in names:
            raise UsageError(f"{flag} {one}: the {what} are {', '.join(names)}")
        if not word.strip():
            raise UsageError(f"{flag} '{one}': expected WORD or {form}")
        read[name] = word.strip()
    return read

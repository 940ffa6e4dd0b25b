"""An importer seen as a stage: its entries come as samples that are still to be made."""

from __future__ import annotations

import contextlib
import functools
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from socialcli import shards
from socialcli.errors import SampleFailed, SocialcliError
from socialcli.importers import Entry, Importer, _picture
from socialcli.pipeline.stage import Stage
from socialcli.shards import Damage, Sample


class _Standing:
    """An importer's entries, standing at the next one that was not given yet."""

    def __init__(self, importer: Importer, config: Any) -> None:
        self.entries = iter(importer.entries(config))
        self.number = 0

    def up_to(self, last: int) -> Iterator[Entry]:
        """The entries from here to number ``last`` (not included)."""
        while self.number < last:
            entry = next(self.entries, None)
            if entry is None:
                return
            self.number += 1
            yield entry


FEW = 4  # files that are named one by one
AT_ONCE = 16  # files that are read at a time: many small ones are waited for, not computed on


def _held(files: Sequence[Path]) -> str:
    """Which files, and what they hold, in a few words."""
    from concurrent.futures import ThreadPoolExecutor

    from socialcli.pipeline import plan

    if not files:
        return "none"
    if len(files) <= FEW:
        return _picture.printable(plan.held([str(file) for file in files]))
    together = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for file, content in zip(files, pool.map(_content, files), strict=True):
            together = zlib.crc32(f"{_picture.printable(file.name)} {content}\n".encode(), together)
    return f"{len(files)} files (crc32 {together:08x})"


def _content(file: Path) -> str:
    """What a file holds in a word, "" of one that cannot be read: its sample says why."""
    with contextlib.suppress(OSError, SocialcliError):
        crc = shards.crc32_of(str(file))
        return "" if crc is None else f"{crc:08x}"
    return ""


# A process makes its shards in rising order, so each goes on where the one before ended: reading
# the annotations of a large data set again for every shard would cost more than the pictures.
_LAST: dict[str, _Standing] = {}


def _standing(importer: Importer, config: Any, number: int) -> _Standing:
    """The importer's entries from ``number`` on."""
    name = f"{importer.name} {config!r}"
    standing = _LAST.get(name)
    if standing is None or standing.number > number:
        _LAST.clear()
        standing = _LAST[name] = _Standing(importer, config)
    for _ in standing.up_to(number):
        pass
    return standing


class ImportStage(Stage, base=True):
    """Gives an importer the shape of a stage."""

    DOMAIN = False

    def __init__(self, importer: Importer) -> None:
        self.importer = importer
        self.config_type = importer.config_type
        self.VERSION = importer.VERSION
        self.name = importer.name

    @property
    def command(self) -> str:
        return f"import {self.name}"

    @property
    def remarks(self) -> Sequence[str]:
        """What was found out when the entries were counted."""
        return self.importer.remarks

    def numbered(self, config: dict[str, Any]) -> bool:
        return True

    def models(self, config: Any) -> list[Any]:
        return []

    def load(self, config: Any) -> Any:
        return None

    def count(self, config: Any) -> int:
        return self.importer.count(config)

    def noted(self, config: Any) -> dict[str, Any]:
        """What the files of annotations hold, those that the importer finds by itself too."""
        from socialcli.pipeline import plan

        files = self.importer.files(config)
        return {} if files is None else {plan.ANNOTATION_FILES: _held(files)}

    def samples(
        self, config: Any, source: str, checksums: list[Any] | None = None
    ) -> Iterator[Sample | Damage]:
        """Samples number ``first:last`` of the import, not made yet."""
        first, last = (int(n) for n in source.split(":"))
        for entry in _standing(self.importer, config, first).up_to(last):
            yield Sample(entry.key, work=entry)

    def prepare(self, config: Any, sample: Sample) -> Any:
        members = self.importer.build(config, sample.work)
        if not members:
            raise SampleFailed("nothing to import")
        return members

    def process(self, config: Any, loaded: Any, items: list[Any]) -> list[Any]:
        return [item.work for item in items]


@functools.cache
def of(importer: Importer) -> ImportStage:
    """The one stage of an importer."""
    return ImportStage(importer)

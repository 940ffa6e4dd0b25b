"""An importer seen as a stage: its entries come as samples that are still to be made."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from socialcli.errors import SampleFailed
from socialcli.shards import Sample


class ImportStage:
    """Gives an importer module the shape of a stage (see `socialcli.stages`)."""

    READS: tuple[str, ...] = ()
    WRITES: tuple[str, ...] = ()

    def __init__(self, importer: Any) -> None:
        self.importer = importer
        self.Config = importer.Config
        self.VERSION = getattr(importer, "VERSION", 1)
        self.__name__ = importer.__name__

    def models(self, config: Any) -> list[Any]:
        return []

    def load(self, config: Any) -> Any:
        return None

    def samples(self, config: Any, source: str) -> Iterator[Sample]:
        """Samples number ``first:last`` of the import, not made yet."""
        first, last = (int(n) for n in source.split(":"))
        for entry in itertools.islice(self.importer.entries(config), first, last):
            yield Sample(entry.key, work=entry)

    def prepare(self, config: Any, sample: Sample) -> Any:
        members = self.importer.build(config, sample.work)
        if not members:
            raise SampleFailed("nothing to import")
        return members

    def process(self, config: Any, loaded: Any, items: list[Any]) -> list[Any]:
        return [item.work for item in items]

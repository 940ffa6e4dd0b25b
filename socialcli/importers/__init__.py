"""Importers: one file per source of pictures; each turns it into samples with ground truth."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.registry import Part

if TYPE_CHECKING:
    from pathlib import Path

    from socialcli.pipeline.stage import Stage


@dataclass(frozen=True)
class Entry:
    """One sample to be imported: its key, and whatever `Importer.build` needs to make it."""

    key: str
    work: Any


class Importer(Part, base=True):
    """One file ``socialcli/importers/NAME.py`` is ``socialcli import NAME``; the first line of its
    docstring is the help text.

    Keys come from `socialcli.shards.safe_key` and are the same on every run. Picture bytes are
    copied, never re-encoded. Ground truth is written in the members the stages write
    (`socialcli.records`).

    Attributes:
        config_type: a dataclass of options (`socialcli.config`); ``source`` is the positional
            argument.
        VERSION: raised whenever the same options give other results; a new option's default
            gives those of before.
        remarks: what `entries` found out that a user should hear, one line each.
    """

    config_type: type
    VERSION: int = 1
    remarks: Sequence[str] = ()

    @abc.abstractmethod
    def entries(self, config: Any) -> Iterator[Entry]:
        """Every sample to come, in a fixed order; cheap, reads no pixels.

        Raises:
            UsageError: the layout is not what it should be.
        """

    @abc.abstractmethod
    def build(self, config: Any, entry: Entry) -> dict[str, bytes]:
        """The members of one sample, ``{suffix: bytes}``.

        Raises:
            SampleFailed: that one cannot be made.
        """

    def files(self, config: Any) -> Sequence[Path] | None:
        """The files beside the pictures that it reads, annotations and texts, in a fixed order:
        over corrected ones a finished import is not kept. None where it never reads any.

        Raises:
            UsageError: one that has to be there is missing.
        """
        return None

    def count(self, config: Any) -> int:
        """How many entries there are, where that can be told without listing them."""
        return sum(1 for _ in self.entries(config))

    def as_stage(self) -> Stage:
        """Itself behind the interface that the runner knows."""
        from socialcli.importers import _stage

        return _stage.of(self)

"""Importers: one file per source of pictures; each turns it into samples with ground truth.

An importer is a module with

    ``__doc__``               first line is the help text of `socialcli import NAME`
    ``Config``                a dataclass of options; ``source`` is the positional argument
    ``entries(config)``       every sample to come as `Entry`, in a fixed order; cheap, reads no
                              pixels, raises UsageError when the layout is not what it should be
    ``build(config, entry)``  the members of one sample, ``{suffix: bytes}``; SampleFailed when
                              that one cannot be made

Keys come from `socialcli.shards.safe_key` and are the same on every run. Picture bytes are copied,
never re-encoded. Ground truth is written in the members the stages write (`socialcli.records`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One sample to be imported: its key, and whatever `build` needs to make it."""

    key: str
    work: Any

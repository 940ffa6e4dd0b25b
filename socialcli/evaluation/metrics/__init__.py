"""Metrics: one file each, found by its name (``clip_t.py`` is ``--metrics clip-t``).

A metric works on *rows*: a few numpy arrays that say what was seen in each picture, computed once.
Every figure is then a function of the rows and of how often each picture counts, so that the
score, its bootstrap interval and the paired comparison of two methods are one and the same code. A
module has

    ``__doc__``                 first line is the help text, the rest the definition
    ``SOURCE``                  where the definition is from
    ``COLUMNS``                 the figures it yields, see `Column`
    ``needs(config)``           `Needs`: features, members and text it looks at
    ``rows(cases, context)``    rows: arrays whose first axis is the cases, unless named otherwise
    ``estimate(rows, counts)``  {column: (R,) float64} for R resamples; ``counts`` is (R, N), how
                                often each of the N cases counts (all ones: the score itself);
                                NaN where a resample leaves nothing to judge
    ``pictures(rows)``          {column: (N,)}, each picture's own figure, NaN where it has none

and may have ``RESAMPLES`` (at most so many, where one costs seconds), ``INTERVAL`` ("percentile",
or "centred" for a statistic that resampling biases), ``OPTIONS`` (fields of the configuration that
change what it measures), ``count(rows)`` (pictures it is of, where `pictures` does not tell) and
``notes(rows)``: lines worth knowing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from socialcli.errors import UnknownName


@dataclass(frozen=True)
class Column:
    """One figure: its name in files, its heading, which way is better and what it can be."""

    name: str  # clip_t
    title: str  # CLIP-T
    better: str  # higher, lower, or "" for a figure that only describes
    low: float  # the range; infinities where it has no end
    high: float
    unit: str  # cosine, %, score, distance
    about: str  # one line: what exactly this number is
    digits: int = 4


@dataclass(frozen=True)
class Needs:
    """What a metric looks at; features are named in `socialcli.evaluation.features.models`."""

    generated: tuple[str, ...] = ()  # features of the generated picture
    references: tuple[str, ...] = ()  # features of its reference pictures
    everything: tuple[str, ...] = ()  # features of every reference picture, joined or not
    members: tuple[str, ...] = ()  # what source samples must have to be judged
    text: tuple[str, ...] = ()  # features of the prompt
    paired: bool = False  # generated pictures must have a source or references
    # Whether a source picture's records have anything to compare with, and what is said if none do.
    speaks: Callable[[Picture], bool] | None = None
    lacks: str = ""


@dataclass
class Picture:
    """One picture as metrics see it. ``records`` maps a member's suffix to its record."""

    key: str
    features: dict[str, dict[str, Any]] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)

    def get(self, feature: str, value: str = "vector") -> Any:
        """One value of a feature, None where it could not be computed."""
        return self.features.get(feature, {}).get(value)


@dataclass
class Case:
    """A generated picture and what it is compared with.

    ``subjects`` holds the reference pictures subject by subject; where the whole source picture is
    the reference, it is the only picture of the only subject.
    """

    key: str
    unit: str  # resampled together and paired between methods: source, else prompt, else key
    prompt: str
    generated: Picture
    text: dict[str, dict[str, Any]] = field(default_factory=dict)  # features of the prompt
    source: Picture | None = None
    subjects: list[list[Picture]] = field(default_factory=list)

    def has(self, *members: str) -> bool:
        """Whether there is a source picture with these records."""
        return self.source is not None and all(m in self.source.records for m in members)


@dataclass
class Context:
    """What is the same for all cases: the configuration, and every reference picture."""

    config: Any
    references: list[Picture] = field(default_factory=list)
    classes: Any = None  # `socialcli.evaluation.metrics.hoi.Classes`, where interactions are scored


def available() -> dict[str, Path]:
    """Metric name -> its file."""
    files = sorted(Path(__file__).parent.glob("[a-z]*.py"))
    return {file.stem.replace("_", "-"): file for file in files}


def load(name: str) -> Any:
    """The module of a metric.

    Raises:
        UsageError: there is no such metric; the message lists those there are.
    """
    files = available()
    if name not in files:
        raise UnknownName("no metric", name, files)
    return importlib.import_module(f"socialcli.evaluation.metrics.{files[name].stem}")

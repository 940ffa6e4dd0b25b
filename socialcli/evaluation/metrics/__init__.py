"""Metrics: one file each, found by its name (``clip_t.py`` is ``--metrics clip-t``).

A metric works on *rows*: a few numpy arrays that say what was seen in each picture, computed once.
Every figure is then a function of the rows and of how often each picture counts, so that the
score, its bootstrap interval and the paired comparison of two methods are one and the same code.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli import registry
from socialcli.evaluation.cases import Case, Context, Picture
from socialcli.evaluation.settings import NoOptions
from socialcli.registry import Part

if TYPE_CHECKING:
    import numpy

    Rows = dict[str, numpy.ndarray]


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
    """What a metric looks at; features are the files of `socialcli.evaluation.features`."""

    generated: tuple[str, ...] = ()  # features of the generated picture
    references: tuple[str, ...] = ()  # features of its reference pictures
    everything: tuple[str, ...] = ()  # features of every reference picture, joined or not
    training: tuple[str, ...] = ()  # features of the pictures that were trained on
    members: tuple[str, ...] = ()  # what source samples must have to be judged
    text: tuple[str, ...] = ()  # features of the prompt
    paired: bool = False  # generated pictures must have a source or references
    # Whether a source picture's records have anything to compare with, and what is said if none do.
    speaks: Callable[[Picture], bool] | None = None
    lacks: str = ""


class Metric(Part, base=True):
    """One file ``socialcli/evaluation/metrics/NAME.py``; the first line of its docstring says what
    the metric is, the rest defines it. Nothing heavy is imported at its top.

    Every ``config`` is that of `socialcli.evaluation.settings`: it holds the common options, the
    metric's own and those of all features.

    Attributes:
        SOURCE: where the definition is from.
        COLUMNS: the figures it yields; the page shows best and worst pictures by the first.
        RESAMPLES: bootstrap resamples at most, where one costs seconds; None for no limit.
        INTERVAL: "percentile", or "centred" for a statistic that resampling biases.
        OPTIONS: fields of the configuration that change what it measures: scores that differ in
            one do not compare.
        config_type: a dataclass of options (`socialcli.config`), flags and profile keys of
            `score`.
    """

    SOURCE: str
    COLUMNS: tuple[Column, ...]
    RESAMPLES: ClassVar[int | None] = None
    INTERVAL: str = "percentile"
    OPTIONS: ClassVar[tuple[str, ...]] = ()
    config_type: type = NoOptions

    @abc.abstractmethod
    def needs(self, config: Any) -> Needs:
        """Features, members and text it looks at."""

    @abc.abstractmethod
    def rows(self, cases: list[Case], context: Context) -> Rows:
        """Arrays whose first axis is the cases, unless named otherwise."""

    @abc.abstractmethod
    def estimate(self, rows: Rows, counts: numpy.ndarray) -> Rows:
        """Every column's figure.

        Args:
            counts: (R, N), how often each of the N cases counts in each of R resamples; all ones
                give the score itself.

        Returns:
            {column: (R,) float64}; NaN where a resample leaves nothing to judge.
        """

    # --- what a metric may have ---

    def joined(self, first: Rows, second: Rows) -> Rows:
        """The rows of two methods as those of one, the first method's cases in front. To be
        overridden where an array's first axis is not the cases."""
        import numpy

        return {
            name: numpy.concatenate([values, second[name]]) if values.ndim else values
            for name, values in first.items()
        }

    def apart(self, first: Rows, second: Rows) -> str:
        """Why two scores' figures do not compare, whatever the methods are; "" where they do."""
        return ""

    def pictures(self, rows: Rows) -> Rows:
        """{column: (N,)}, each picture's own figure, NaN where it has none; no entry for a column
        that one picture has no figure of."""
        return {}

    def count(self, rows: Rows) -> int | None:
        """How many pictures its figures are of; None: those with a figure of their own."""
        return None

    def notes(self, rows: Rows) -> list[str]:
        """Lines worth knowing beside the figures."""
        return []

    def classes(self, config: Any, sources: list[Picture]) -> Any:
        """What `rows` finds in ``context.classes``: what is scored, from all source pictures."""
        return None

    def check_options(self, config: Any) -> None:
        """Refuse options that make no sense, before anything is read (UsageError)."""


def load(name: str) -> Metric:
    """The metric of this name.

    Raises:
        UnknownName: there is none; the message lists those there are.
    """
    metric: Metric = registry.load("metrics", name)
    return metric

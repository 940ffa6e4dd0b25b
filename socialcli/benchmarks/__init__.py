"""Benchmarks against named peers, on this machine, in the same run: ``python -m
socialcli.benchmarks [io] [startup] [model-bound]`` prints Markdown tables.

Everything compared is measured in turns (A B C, A B C, ...), because a machine's speed drifts;
the ratio of each turn is taken, and the median of those is what counts.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """A number that has a goal.

    Attributes:
        name: what it is of what. value, goal: both of one unit, ratios as a rule.
        lower: whether the goal is reached by what is at most it, and not at least.
    """

    name: str
    value: float
    goal: float
    lower: bool = False

    @property
    def reached(self) -> bool:
        return self.value <= self.goal if self.lower else self.value >= self.goal


@dataclass
class Section:
    """What a benchmark says: Markdown that begins with a heading, and the figures with a goal."""

    text: str
    figures: list[Figure] = field(default_factory=list)


def in_turns(
    runs: Mapping[str, Callable[[], None]], turns: int, before: Callable[[], None] = os.sync,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:  # fmt: skip
    """Seconds of each run in each turn; ``before`` is called, untimed, ahead of every run.

    ``time.process_time`` as the clock leaves out what else the machine does: for work that stays
    in this process and waits for nothing.

    The order is reversed in every second turn, so that none always profits from what ran before.
    One turn that warms caches is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):
        names = list(runs) if turn % 2 == 0 else list(runs)[::-1]
        for name in names:
            before()
            started = clock()
            runs[name]()
            if turn > 0:
                seconds[name].append(clock() - started)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str, peer: str) -> float:
    """How many times faster ``name`` is than ``peer``: the median over the turns."""
    pairs = zip(seconds[name], seconds[peer], strict=True)
    return statistics.median(peer_seconds / own_seconds for own_seconds, peer_seconds in pairs)


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

"""Effects that `pipelines/table-004-mini.mk` names before it runs, tested layout by layout.

The unit is a layout: the mean of its pictures is one value, and a difference of two rows is that of
their values of the same layout. P values come from exchanging the two rows' values of each layout
at random, or, where layouts of many subjects are compared with layouts of one, from dealing the
layouts out anew; they are corrected together (Holm).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from socialcli.benchmarks.effects import verdict
from socialcli.evaluation import bootstrap

if TYPE_CHECKING:
    import numpy

TIMES = 10_000  # exchanges, and resamples of an interval
MANY = ("3", ">3")  # groups of layouts with many subjects
ONE = ("1",)
Layouts = Mapping[tuple[str, str], float]  # (layout, group) -> mean over its pictures


@dataclass(frozen=True)
class Named:
    """An effect: ``number`` as the Makefile counts.

    Attributes:
        second: a row; first: the one it is compared with, layout by layout; "": with none.
        groups: layouts of so many subjects; () all.
        against: "": the mean itself is expected on the side of ``sign``; else groups of layouts:
            what is expected is the mean less theirs.
        least: the side is that of the difference less this. With it the effect is that the
            interval lies above ``least``, and no p value is formed.
    """

    number: int
    figure: str
    second: str
    sign: int
    first: str = ""
    groups: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    least: float | None = None


EFFECTS = (
    Named(1, "subjects_missing", "words", 1, groups=MANY, against=ONE),
    Named(1, "subjects_missing", "free-gd", -1, first="words", groups=MANY),
    Named(2, "subject_clip_i", "words", -1, groups=MANY, against=ONE),
    Named(2, "subject_clip_i", "free-gd", 1, first="words", groups=MANY, against=ONE),
    Named(3, "clip_t_score", "free-gd", 1, first="free"),
    Named(3, "subject_clip_i", "free-gd", 1, first="free", least=-0.02),
    Named(4, "subjects_missing", "control-gd", -1, first="free-gd"),
    Named(5, "sas", "free-gd-sal", 1, first="free-gd"),
    Named(5, "subject_clip_i", "free-gd-sal", 1, first="free-gd"),
)


def table(rows: Mapping[str, Mapping[str, Layouts]]) -> list[str]:
    """Markdown: a line for each effect whose rows are there.

    Args:
        rows: row -> figure -> `Layouts`.
    """
    tested = [(one, result) for one in EFFECTS if (result := tried(one, rows)) is not None]
    corrected = iter(bootstrap.holm([p for _, (_, _, p, _) in tested]))
    lines = ["| effect | layouts | difference | 95 % interval | p corrected | |", "|---" * 6 + "|"]
    for one, (value, (low, high), _, count) in tested:
        p = next(corrected)
        said = verdict(value * one.sign, p)
        if one.least is not None:
            said = "holds" if low > one.least else "not told from noise"
        shown = "" if p is None else f"{p:.4f}"
        lines.append(
            f"| {title(one)} | {count} | {value:+.3f} | [{low:+.3f}, {high:+.3f}] | {shown} | "
            f"{said} |"
        )
    return lines


def title(one: Named) -> str:
    """An effect in words."""
    of = f", {' and '.join(one.groups)} subjects" if one.groups else ""
    less = f" less {', '.join(one.against)}" if one.against else ""
    side = "above" if one.sign > 0 else "below"
    than = f"{one.least}" if one.least is not None else "0"
    rows = f"{one.second} less {one.first}" if one.first else one.second
    return f"{one.number}. {one.figure}{of}{less}: {rows} {side} {than}"


def tried(
    one: Named, rows: Mapping[str, Mapping[str, Layouts]]
) -> tuple[float, tuple[float, float], float | None, int] | None:
    """(difference, interval, p, layouts) of an effect; None where its rows are not there."""
    import numpy

    there = [rows.get(name, {}).get(one.figure) for name in (one.second, one.first) if name]
    if any(not values for values in there):
        return None
    both = sorted(set.intersection(*(set(values) for values in there if values)))

    def values(groups: tuple[str, ...]) -> numpy.ndarray:
        some = [at for at in both if not groups or at[1] in groups]
        first = [[one_row[at] for at in some] for one_row in there if one_row]
        return numpy.array(first[0]) - (numpy.array(first[1]) if one.first else 0.0)

    here, other = values(one.groups), values(one.against) if one.against else numpy.zeros(0)
    if len(here) < 2 or (one.against and len(other) < 2):
        return None
    value = float(here.mean() - (other.mean() if one.against else 0.0))
    rng = numpy.random.default_rng(0)
    means = _again(here, rng) - (_again(other, rng) if one.against else 0.0)
    low, high = numpy.percentile(means, (2.5, 97.5))
    p = None
    if one.least is None:
        chance = _dealt(here, other, rng) if one.against else _exchanged(here, rng)
        p = (1 + int((numpy.abs(chance) >= abs(value) * (1 - 1e-9)).sum())) / (1 + TIMES)
    return value, (float(low), float(high)), p, len(here) + len(other)


def _again(values: numpy.ndarray, rng: numpy.random.Generator) -> numpy.ndarray:
    """(`TIMES`,) means of as many values, drawn again."""
    return values[rng.integers(0, len(values), (TIMES, len(values)))].mean(1)


def _exchanged(values: numpy.ndarray, rng: numpy.random.Generator) -> numpy.ndarray:
    """(`TIMES`,) means of the differences, each with its sign or the other."""
    import numpy

    return numpy.where(rng.random((TIMES, len(values))) < 0.5, values, -values).mean(1)


def _dealt(here: numpy.ndarray, other: numpy.ndarray, rng: numpy.random.Generator) -> numpy.ndarray:
    """(`TIMES`,) differences of the two means once all values are dealt out anew."""
    import numpy

    deck = numpy.tile(numpy.concatenate([here, other]), (TIMES, 1))
    rng.permuted(deck, axis=1, out=deck)
    return deck[:, : len(here)].mean(1) - deck[:, len(here) :].mean(1)

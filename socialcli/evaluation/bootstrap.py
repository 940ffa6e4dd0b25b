"""How sure a figure is: resampling pictures, and comparing two methods on the same pictures.

Intervals come from the bootstrap. P values come from exchanging the two methods' pictures at
random (Fisher's permutation test for pairs): if the methods are equal, each source's pictures could
as well be the other's. A bootstrap's own p value is too small where few pictures decide a figure,
as they do in the average precision of rare classes.

Pictures made from one source (several seeds, several prompts) are drawn together, as one unit:
they share what makes their source hard, and counting them one by one would feign certainty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

    Estimate = Callable[[numpy.ndarray], dict[str, numpy.ndarray]]

CHUNK = 200  # resamples at once: bounds memory at CHUNK * pictures numbers
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval; None where too few resamples had a value."""

    low: float | None
    high: float | None
    resamples: int  # that had a value

    def within(self, least: float, most: float) -> Interval:
        """The part that a figure can have: a centred interval may reach below zero."""
        if self.low is None or self.high is None:
            return self
        low, high = (min(max(v, least), most) for v in (self.low, self.high))
        return Interval(low, high, self.resamples)


@dataclass(frozen=True)
class Difference:
    """Second minus first method; ``p`` is two-sided, the share of exchanges that set the methods at
    least as far apart as they are."""

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    resamples: int


def draws(units: int, resamples: int, seed: int) -> Iterator[numpy.ndarray]:
    """How often each unit was drawn, (at most `CHUNK`, units) at a time.

    The draws are those of ``scipy.stats.bootstrap`` with ``rng=default_rng(seed)``.
    """
    import numpy

    rng = numpy.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        drawn = rng.integers(0, units, (min(CHUNK, resamples - start), units))
        rows = numpy.arange(len(drawn))[:, None] * units
        flat = numpy.bincount((drawn + rows).ravel(), minlength=drawn.size)
        yield flat.reshape(drawn.shape).astype(numpy.float64)


def resampled(
    estimate: Estimate, members: numpy.ndarray, units: int, resamples: int, seed: int
) -> dict[str, numpy.ndarray]:
    """Every column's value in each resample.

    Args:
        estimate: counts (R, N) -> {column: (R,)}.
        members: (N,) the unit of each picture, from 0; -1 for pictures that take no part.

    Returns:
        {column: (resamples,)}; NaN where a resample had nothing to judge.
    """
    import numpy

    by_column: dict[str, list[numpy.ndarray]] = {}
    for counts in draws(units, resamples, seed):
        for name, values in estimate(spread(counts, members)).items():
            by_column.setdefault(name, []).append(values)
    return {name: numpy.concatenate(parts) for name, parts in by_column.items()}


def exchanged(
    estimate: Estimate,
    members: tuple[numpy.ndarray, numpy.ndarray],
    units: int,
    times: int,
    seed: int,
) -> dict[str, numpy.ndarray]:
    """Every column's difference, second less first, once each unit's pictures of the two methods
    have been exchanged or not, at random.

    Args:
        estimate: counts (R, N + M) of the first method's N pictures and then the second's M ->
            {column: (R,)}.
        members: (N,) and (M,), the unit of each picture, from 0; -1 for those that take no part.

    Returns:
        {column: (times,)}; NaN where an exchange left nothing to judge.
    """
    import numpy

    rng = numpy.random.default_rng(seed)
    both = numpy.concatenate(members)
    of_second = numpy.repeat([False, True], [len(one) for one in members])
    by_column: dict[str, list[numpy.ndarray]] = {}
    for start in range(0, times, CHUNK):
        swapped = rng.random((min(CHUNK, times - start), units)) < 0.5
        to_second = (swapped[:, both] != of_second) & (both >= 0)
        to_first = ~to_second & (both >= 0)
        first, second = (estimate(part.astype(numpy.float64)) for part in (to_first, to_second))
        for name, values in second.items():
            by_column.setdefault(name, []).append(values - first[name])
    return {name: numpy.concatenate(parts) for name, parts in by_column.items()}


def spread(counts: numpy.ndarray, members: numpy.ndarray) -> numpy.ndarray:
    """Counts of units (R, U) as counts of pictures (R, N)."""
    import numpy

    return numpy.where(members >= 0, counts[:, members], 0.0)


def interval(values: numpy.ndarray, estimate: float, kind: str = "percentile") -> Interval:
    """The interval in which 95 % of resamples lie.

    Args:
        values: (R,) resampled figures; NaN are left out.
        estimate: the figure itself.
        kind: "percentile", or "centred" for a figure that resampling biases: the resamples are
            moved so that their mean is the estimate, and only their spread speaks.
    """
    import numpy

    there = values[numpy.isfinite(values)]
    if len(there) < max(2, len(values) / 2) or not numpy.isfinite(estimate):
        return Interval(None, None, len(there))
    if kind == "centred":
        there = there - there.mean() + estimate
    low, high = numpy.percentile(there, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(float(low), float(high), len(there))


def difference(
    first: numpy.ndarray,
    second: numpy.ndarray,
    value: float,
    by_chance: numpy.ndarray,
    kind: str = "percentile",
) -> Difference:
    """Second minus first, from resamples that drew the same units for both.

    Args:
        first, second: (R,) figures of the two methods, resample by resample.
        value: the difference over all pictures.
        by_chance: (T,) differences of `exchanged`; NaN are left out.
    """
    import numpy

    apart = second - first
    apart = apart[numpy.isfinite(apart)]
    if len(apart) < max(2, len(first) / 2) or not numpy.isfinite(value):
        return Difference(None, None, None, None, len(apart))
    if kind == "centred":
        apart = apart - apart.mean() + value
    low, high = numpy.percentile(apart, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Difference(float(value), float(low), float(high), _p(value, by_chance), len(apart))


def _p(value: float, by_chance: numpy.ndarray) -> float | None:
    """How often chance alone sets two equal methods so far apart; None where it can hardly be
    said. The figures as they are count as one exchange more, so that no p is 0."""
    import numpy

    there = by_chance[numpy.isfinite(by_chance)]
    if len(there) < max(2, len(by_chance) / 2):
        return None
    nearly = abs(value) * (1 - 1e-9)  # sums in another order differ in their last digits
    return (1 + int((numpy.abs(there) >= nearly).sum())) / (1 + len(there))


def holm(values: list[float | None]) -> list[float | None]:
    """P values corrected for being several (Holm 1979); None stays None."""
    there = sorted((p, index) for index, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, index) in enumerate(there):
        highest = max(highest, min(1.0, p * (len(there) - rank)))
        corrected[index] = highest
    return corrected

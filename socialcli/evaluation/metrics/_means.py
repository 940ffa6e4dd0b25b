"""Means over pictures that count more than once, which is what a resample is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy


def ratio(total: numpy.ndarray, weight: numpy.ndarray, counts: numpy.ndarray) -> numpy.ndarray:
    """Sum of ``total`` over sum of ``weight``, with every picture counted ``counts`` times.

    Args:
        total, weight: (N,). counts: (R, N).

    Returns:
        (R,) float64; NaN where no weight is left.
    """
    import numpy

    above = counts @ numpy.asarray(total, numpy.float64)
    below = counts @ numpy.asarray(weight, numpy.float64)
    return numpy.divide(above, below, out=numpy.full(len(counts), numpy.nan), where=below > 0)


def mean(values: numpy.ndarray, counts: numpy.ndarray) -> numpy.ndarray:
    """Mean of the values that are numbers: (N,) and (R, N) -> (R,)."""
    import numpy

    there = numpy.isfinite(values)
    return ratio(numpy.where(there, values, 0.0), there, counts)


def each(total: numpy.ndarray, weight: numpy.ndarray) -> numpy.ndarray:
    """``total / weight`` picture by picture: (N,), NaN without weight."""
    import numpy

    total = numpy.asarray(total, numpy.float64)
    return numpy.divide(total, weight, out=numpy.full(len(total), numpy.nan), where=weight > 0)


def cosine(a: numpy.ndarray, b: numpy.ndarray) -> numpy.ndarray:
    """Cosines of every row of (N, D) with every row of (M, D): (N, M) float64.

    A row of zeros has a cosine of 0 with everything.
    """
    import numpy

    def unit(rows: numpy.ndarray) -> numpy.ndarray:
        rows = numpy.atleast_2d(numpy.asarray(rows, numpy.float64))
        return rows / numpy.maximum(numpy.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

    return unit(a) @ unit(b).T

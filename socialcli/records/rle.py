"""COCO's compressed run-length code, looked at without a picture being made of it."""

from __future__ import annotations

from socialcli.records import limits


def check(counts: str | bytes, pixels: int) -> None:
    """Whether the runs of a compressed code fill a mask of so many pixels.

    pycocotools trusts the runs: too many of them write past the end of its array.

    Raises:
        ValueError: they do not, or it is no such code.
    """
    if _length(counts) != pixels:
        raise ValueError("its runs do not add up to its size")


def _length(counts: str | bytes) -> int:
    """Sum of the runs of a compressed code: base 32, 6 bits a character, each run from the
    fourth on stored as the difference to the run two before it.

    Raises:
        ValueError: a character or a run that the code cannot have.
    """
    import numpy

    text = counts.encode("ascii") if isinstance(counts, str) else counts
    digits = numpy.frombuffer(text, numpy.uint8).astype(numpy.int64) - 48
    if not len(digits):
        return 0
    if digits.min() < 0 or digits.max() > 63:
        raise ValueError("a character that the code does not use")
    ends = numpy.flatnonzero(digits & 32 == 0)
    if not len(ends) or ends[-1] != len(digits) - 1:
        raise ValueError("it ends in the middle of a run")
    starts = numpy.concatenate([[0], ends[:-1] + 1])
    place = numpy.arange(len(digits)) - numpy.repeat(starts, ends - starts + 1)
    if place.max() > 9:
        raise ValueError("a run longer than any picture")
    runs = numpy.add.reduceat((digits & 31) << (5 * place), starts)
    runs -= numpy.where(digits[ends] & 16, 1 << (5 * (place[ends] + 1)), 0)
    if numpy.abs(runs).max() > limits.MAX_PIXELS:
        raise ValueError("a run longer than any picture")
    for chain in (runs[1::2], runs[2::2]):
        numpy.cumsum(chain, out=chain)
    if runs.min() < 0:
        raise ValueError("a negative run")
    if runs.max() > limits.MAX_PIXELS:
        raise ValueError("a run longer than any picture")
    return int(runs.sum())

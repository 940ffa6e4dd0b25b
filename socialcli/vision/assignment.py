"""Which of several subjects are in a picture: one optimal assignment, with a price for each fault.

Detected things are assigned to the subjects that a picture should show so that the sum of all
prices is smallest: a pair costs how unlike the two are, a subject without a thing the price of a
missing one, a thing without a subject the price of a surplus one. Where pictures of the subjects
are known, what looks like two of them at once is a *hybrid*, and a subject that stands at another's
place is *swapped*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from socialcli.vision import boxes as geometry

if TYPE_CHECKING:
    import numpy

HYBRID = 0.75  # share of the best of two subjects up to which a thing is both
SAME_THING = 0.7  # IoU from which boxes of different words are of one thing
UNLIKE = 1e6  # of a pair that cannot be: another kind of thing


@dataclass(frozen=True)
class Prices:
    """What each fault costs; a pair of the same subject's pictures costs about nothing."""

    missing: float = 1.0
    surplus: float = 0.5
    hybrid: float = 0.75
    swapped: float = 0.75


@dataclass
class Verdict:
    """What a picture has of the subjects it should show.

    Attributes:
        pairs: (thing, subject) that belong together.
        missing: subjects without a thing. surplus: things without a subject.
        hybrid: things that look like two subjects at once. swapped: subjects at another's place.
        unasked: words of subjects that were left out, since the detector knows no such thing.
        price: the sum of all.
    """

    pairs: list[tuple[int, int]] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    surplus: list[int] = field(default_factory=list)
    hybrid: list[int] = field(default_factory=list)
    swapped: list[int] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)
    price: float = 0.0

    @property
    def faultless(self) -> bool:
        return not (self.missing or self.surplus or self.hybrid or self.swapped)


def things(
    boxes: numpy.ndarray, words: Sequence[str], scores: Sequence[float]
) -> list[tuple[int, frozenset[str]]]:
    """The things that detections of several words are of: a person found as "man" and as "woman" is
    one thing that may be either.

    Args:
        boxes: (K, 4) xyxy. words, scores: of each.

    Returns:
        (the best scored detection, the words that were found at its place) of each, best first.
    """
    import numpy

    if not len(boxes):
        return []
    common = geometry.iou(boxes, boxes)
    places: list[tuple[int, set[str]]] = []
    for one in numpy.argsort(-numpy.asarray(scores, float), kind="stable").tolist():
        same = next((words_ for at, words_ in places if common[one, at] >= SAME_THING), None)
        if same is None:
            places.append((one, {words[one]}))
        else:
            same.add(words[one])
    return [(at, frozenset(its_words)) for at, its_words in places]


def compared(
    boxes: numpy.ndarray,
    labels: Sequence[str],
    scores: Sequence[float],
    words: Sequence[str],
    places: Sequence[Sequence[float]],
) -> tuple[list[int], numpy.ndarray, numpy.ndarray]:
    """The things of a picture, held against the subjects of a layout.

    Args:
        boxes: (K, 4) xyxy of detections. labels, scores: the word each was found by, and how sure.
        words, places: of the S subjects: what it is called, its box.

    Returns:
        the best detection of each thing, best first; (D, S) bool, whether it was found by the
        subject's word; (D, S) overlap of their boxes.
    """
    import numpy

    there = things(boxes, labels, scores)
    chosen = [at for at, _ in there]
    kinds = numpy.array([[word in names for word in words] for _, names in there], bool)
    overlap = geometry.iou(boxes[chosen], numpy.array(places))
    return chosen, kinds.reshape(len(there), len(words)), overlap


def judge(
    kinds: numpy.ndarray,
    places: numpy.ndarray,
    likeness: numpy.ndarray | None = None,
    known: numpy.ndarray | None = None,
    prices: Prices | None = None,
) -> Verdict:
    """The verdict on one picture.

    Args:
        kinds: (D, S) bool, whether a detected thing is of a subject's kind.
        places: (D, S) in [0, 1], how much a thing stands at a subject's place: the overlap of their
            boxes.
        likeness: (D, S) cosines of things with subjects; None where nobody knows what they look
            like. Then place alone tells subjects of one kind apart.
        known: (S, S) cosines of the subjects with each other.
        prices: of the faults.
    """
    import numpy
    from scipy.optimize import linear_sum_assignment

    prices = prices or Prices()
    count, wanted = kinds.shape
    unlike = 1 - places if likeness is None else _unlike(likeness, known)
    # A pair costs less than a missing subject and a surplus thing, or they would stay apart.
    most = prices.missing + prices.surplus
    cost = numpy.where(kinds, numpy.clip(unlike, 0, 1) * 0.9 * most, UNLIKE)
    # A place breaks ties: of two that look alike the one at the right place.
    cost = cost - 1e-3 * places * kinds
    matrix = numpy.full((count + wanted, wanted + count), 0.0)
    matrix[:count, :wanted] = cost
    matrix[:count, wanted:] = numpy.where(numpy.eye(count, dtype=bool), prices.surplus, UNLIKE)
    matrix[count:, :wanted] = numpy.where(numpy.eye(wanted, dtype=bool), prices.missing, UNLIKE)
    rows, columns = linear_sum_assignment(matrix)
    verdict = Verdict()
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if row < count and column < wanted:
            verdict.pairs.append((row, column))
        elif row < count:
            verdict.surplus.append(row)
        elif column < wanted:
            verdict.missing.append(column)
    if likeness is not None and known is not None:
        verdict.hybrid = [
            thing for thing in range(count) if is_hybrid(likeness[thing], known, kinds[thing])
        ]
    verdict.swapped = _swapped(verdict.pairs, kinds, places)
    pair_costs = sum(float(numpy.clip(unlike, 0, 1)[pair]) for pair in verdict.pairs)
    verdict.price = (
        pair_costs
        + prices.missing * len(verdict.missing)
        + prices.surplus * len(verdict.surplus)
        + prices.hybrid * len(verdict.hybrid)
        + prices.swapped * len(verdict.swapped)
    )
    return verdict


def _unlike(likeness: numpy.ndarray, known: numpy.ndarray | None) -> numpy.ndarray:
    """(D, S) in [0, 1]: 0 as like a subject as can be, 1 as like it as the others are.

    Embeddings of one kind of thing have cosines in a narrow band: what counts is where in it a
    cosine lies, from the subjects' likeness to each other up to 1.
    """
    import numpy

    if known is None or len(known) < 2:
        return numpy.clip(1 - likeness, 0, 1)
    others = known[~numpy.eye(len(known), dtype=bool)]
    floor = min(float(others.mean()), 0.98)
    return numpy.clip((1 - likeness) / (1 - floor), 0, 1)


def is_hybrid(
    likeness: numpy.ndarray, known: numpy.ndarray, kinds: numpy.ndarray | None = None
) -> bool:
    """Whether a thing looks like two subjects at once.

    With a and b its two best subjects and c their cosine, a unit vector between them, x a + (1 - x)
    b, has x = 1/2 + (cos(a) - cos(b)) / (2 (1 - c)) up to its length. The thing is a hybrid where
    its x is at most `HYBRID` and the mean of its two cosines is above c: what looks like neither
    is a stranger, and no hybrid.

    Args:
        likeness: (S,) cosines of the thing with each subject. known: (S, S) of the subjects.
        kinds: (S,) bool, those that it could be at all; None: any.
    """
    import numpy

    order = [int(s) for s in numpy.argsort(-likeness) if kinds is None or kinds[s]]
    if len(order) < 2:
        return False
    a, b = order[:2]
    c = min(float(known[a, b]), 1 - 1e-6)
    share = 0.5 + float(likeness[a] - likeness[b]) / (2 * (1 - c))
    return bool(share <= HYBRID and float(likeness[a] + likeness[b]) / 2 > c)


def _swapped(
    pairs: list[tuple[int, int]], kinds: numpy.ndarray, places: numpy.ndarray
) -> list[int]:
    """Subjects whose thing stands at the place of another subject, and not at their own."""
    subjects = []
    for thing, subject in pairs:
        there = int((places[thing] * kinds[thing]).argmax())
        if there != subject and places[thing, there] > max(2 * places[thing, subject], 0.1):
            subjects.append(subject)
    return subjects

"""Average precision of interaction classes, for any way of counting the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from socialcli.evaluation.metrics import Column

if TYPE_CHECKING:
    import numpy

    from socialcli.evaluation.hoi_classes import Classes

# How precision is interpolated, by the word of --hoi-ap.
INTERPOLATIONS = ("11", "11-float", "all")
PARTS = {
    "": ("", "all classes"),
    "_rare": (" rare", "rare classes"),
    "_nonrare": (" non-rare", "classes that are not rare"),
    "_people": (" people", "what people do to people"),
}


# Columns of predicted pairs; the last two where boxes are judged.
_FOUND = {"picture": "int64", "class": "int64", "score": "float64", "right": "bool",
          "known": "bool"}  # fmt: skip


class Ranking(NamedTuple):
    """Predictions (P,) and truths (T,) of all pictures; ``right`` says which predictions are."""

    picture: numpy.ndarray
    klass: numpy.ndarray
    score: numpy.ndarray
    right: numpy.ndarray
    true_picture: numpy.ndarray
    true_class: numpy.ndarray


def columns(name: str, title: str, about: str) -> tuple[Column, ...]:
    """The columns of one reading: over all classes, and over each part of them."""
    return tuple(
        Column(f"{name}{part}", f"{title}{word}", "higher", 0, 100, "%", f"{about}; {classes}", 2)
        for part, (word, classes) in PARTS.items()
    )


def settings(table: Classes, interpolation: str) -> dict[str, numpy.ndarray]:
    """What the rows hold of classes and options: ``names`` (C,) str, ``rare``, ``people`` (C,)
    bool, ``has_rare``, ``points`` and ``floats``, see `average_precision`."""
    import numpy

    rare = numpy.zeros(len(table.names), bool)
    rare[sorted(table.rare)] = True
    return {
        "names": numpy.array([f"{verb}, {thing}" for verb, thing in table.names], numpy.str_),
        "rare": rare,
        "people": numpy.array([thing == "person" for _, thing in table.names], bool),
        "has_rare": numpy.array(table.has_rare),
        "points": numpy.array(0 if interpolation == "all" else 11),
        "floats": numpy.array(interpolation == "11-float"),
    }


def gathered(
    table: Classes,
    interpolation: str,
    predicted: Sequence[tuple[float, ...]],
    true: Sequence[tuple[int, int]],
    judged: numpy.ndarray,
    unknown: int,
    boxes: bool = False,
) -> dict[str, numpy.ndarray]:
    """The rows of a metric: `settings`, and what was predicted and is true as one array a column.

    Args:
        predicted: of each pair its picture, class and score; with ``boxes`` all of `_FOUND`.
        true: of each annotated pair its picture and class. judged: (N,) bool, pictures that take
            part. unknown: how many annotated pairs have no class.
    """
    import numpy

    named = list(_FOUND.items())[: None if boxes else 3]
    rows = {
        f"found_{name}": numpy.array([one[at] for one in predicted], kind)
        for at, (name, kind) in enumerate(named)
    }
    for at, name in enumerate(("picture", "class")):
        rows[f"true_{name}"] = numpy.array([one[at] for one in true], numpy.int64)
    rows |= {"judged": judged, "unknown": numpy.array(unknown), "limits": numpy.array(table.limits)}
    return rows | settings(table, interpolation)


def joined(
    first: dict[str, numpy.ndarray], second: dict[str, numpy.ndarray]
) -> dict[str, numpy.ndarray]:
    """See `Metric.joined`. A class is the same where its name is; each has its number in the
    first's rows, or one after them."""
    import numpy

    names, others = (rows.get("names", numpy.arange(len(rows["rare"]))) for rows in (first, second))
    new = ~numpy.isin(others, names)
    number = {name: n for n, name in enumerate([*names.tolist(), *others[new].tolist()])}
    renumbered = numpy.array([number[name] for name in others.tolist()], numpy.int64)
    both = {**first, "names": names}
    for name in ("names", "rare", "people"):
        both[name] = numpy.concatenate([both[name], {**second, "names": others}[name][new]])
    for name, values in first.items():
        if name == "judged" or name.startswith(("found_", "true_")):
            more = second[name]
            if name.endswith("_picture"):
                more = more + len(first["judged"])
            elif name.endswith("_class"):
                more = renumbered[more]
            both[name] = numpy.concatenate([values, more])
    return both


def average_precision(
    scores: numpy.ndarray,
    right: numpy.ndarray,
    weights: numpy.ndarray,
    positives: numpy.ndarray,
    points: int = 11,
    floats: bool = False,
) -> numpy.ndarray:
    """Interpolated average precision of one class, for R ways of counting the pictures.

    Args:
        scores: (P,). right: (P,) bool, whether each prediction is right.
        weights: (R, P), how often each prediction counts.
        positives: (R,), how much there is to be found.
        points: recalls at which precision is taken (11: 0, 0.1, ... 1); 0 for every recall.
        floats: compare recalls as UPT's and CMMP's code does, in whose floats 3 of 10 is less
            than the fourth of eleven recalls.

    Returns:
        (R,) in [0, 1]; NaN where there is nothing to be found.
    """
    import numpy

    positives = numpy.asarray(positives, numpy.float64)
    result = numpy.where(positives > 0, 0.0, numpy.nan)
    if not len(scores):
        return result
    order = numpy.argsort(-scores, kind="stable")
    last = numpy.append(numpy.diff(scores[order]) != 0, True)  # of each run of equal scores
    counted = numpy.asarray(weights).take(order, axis=1)
    safe = numpy.maximum(positives, 1e-12)[:, None]
    if points:
        hits, asked = _where_right(counted, right[order], last)
    else:
        counted = counted.astype(numpy.float64)
        hits = (counted * right[order]).cumsum(1)[:, last]
        asked = counted.cumsum(1)[:, last]
    precision = numpy.divide(hits, asked, out=numpy.zeros_like(hits), where=asked > 0)
    best = numpy.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]  # at this recall or more
    if points:
        total = numpy.zeros(len(result))
        # Compared as whole numbers: 3 of 10 found is a recall of 0.3, whatever floats say.
        reached = hits / safe if floats else hits * (points - 1)
        for step in range(points):
            first = (reached < (_recall(step, points) if floats else step * safe)).sum(1)
            there = first < best.shape[1]
            if best.shape[1]:
                at = numpy.minimum(first, best.shape[1] - 1)
                total += numpy.where(there, best[numpy.arange(len(best)), at], 0.0)
        area = total / points
    else:
        gained = numpy.diff(hits / safe, axis=1, prepend=0.0)
        area = (gained * best).sum(1)
    return numpy.where(positives > 0, area, numpy.nan)


def _where_right(
    counted: numpy.ndarray, right: numpy.ndarray, last: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """How much was found, and how much asked, (R, K) each, at those K scores that a right
    prediction has: a recall is reached at one of them, and precision falls until the next.

    Args:
        counted: (R, P), by falling score. right, last: (P,) bool; ``last`` of its score.
    """
    import numpy

    run = numpy.append(0, last.cumsum()[:-1])  # which score a prediction has, from 0
    ends = last.nonzero()[0][numpy.unique(run[right])]  # the last prediction of each of the K
    if not len(ends):
        return numpy.zeros((len(counted), 0)), numpy.zeros((len(counted), 0))
    # Sums between two ends: small arrays from here on, however many predictions there are.
    asked = numpy.add.reduceat(counted[:, : ends[-1] + 1], numpy.append(0, ends[:-1] + 1), axis=1)
    hits = counted[:, right]
    starts = numpy.searchsorted(right.nonzero()[0], numpy.append(0, ends[:-1] + 1))
    found = numpy.add.reduceat(hits, starts, axis=1)
    return found.cumsum(1).astype(numpy.float64), asked.cumsum(1).astype(numpy.float64)


def _recall(step: int, points: int) -> float:
    """One of so many recalls from 0 to 1, rounded as torch.linspace rounds it: the lower half
    counted from 0 up, the upper half from 1 down."""
    width = 1.0 / (points - 1)
    return step * width if step < points / 2 else 1.0 - (points - 1 - step) * width


def per_class(
    ranking: Ranking, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
) -> numpy.ndarray:
    """Average precision of every class, in [0, 1].

    Args:
        rows: what `settings` gave. counts: (R, N), how often each picture counts.

    Returns:
        (R, C); NaN for classes that no counted picture shows.
    """
    import numpy

    picture, klass, score, right, true_picture, true_class = ranking
    width = len(rows["rare"])
    result = numpy.full((len(counts), width), numpy.nan)
    by_class = numpy.argsort(klass, kind="stable")
    edges = numpy.searchsorted(klass[by_class], numpy.arange(width + 1))
    points, floats = int(rows["points"]), bool(rows["floats"])
    for c in numpy.unique(true_class):
        at = by_class[edges[c] : edges[c + 1]]
        positives = counts[:, true_picture[true_class == c]].sum(1)
        result[:, c] = average_precision(
            score[at], right[at], counts.take(picture[at], axis=1), positives, points, floats
        )
    return result


def means(name: str, table: numpy.ndarray, rows: dict[str, numpy.ndarray]) -> dict[str, Any]:
    """The columns that `columns` named, in per cent, of a table (R, C) of classes.

    A part without classes has no figure, nor have the rare ones where nobody said which are.
    """
    import numpy

    rare = rows["rare"]
    known = numpy.full(len(rare), bool(rows["has_rare"]))
    chosen = {
        "": numpy.ones(len(rare), bool), "_rare": rare & known, "_nonrare": ~rare & known,
        "_people": rows["people"],
    }  # fmt: skip
    figures = {}
    for part in PARTS:
        values = table[:, chosen[part]]
        there = numpy.isfinite(values).sum(1)
        total = numpy.nansum(values, axis=1)
        figures[name + part] = 100 * numpy.divide(
            total, there, out=numpy.full(len(total), numpy.nan), where=there > 0
        )
    return figures


def about(name: str, rows: dict[str, numpy.ndarray]) -> list[str]:
    """The lines that both metrics of interactions say beside their figures."""
    import numpy

    shown = numpy.unique(rows["true_class"])
    judged, unknown = int(rows["judged"].sum()), int(rows["unknown"])
    summary = (
        f"{name}: {judged:,} pictures, {len(rows['true_class']):,} annotated "
        f"and {len(rows['found_class']):,} predicted pairs; {len(shown):,} of "
        f"{len(rows['rare']):,} classes occur, {int(rows['rare'][shown].sum()):,} of them "
        "rare; " + ("11-point" if rows["points"] else "all-point") + " interpolation"
    )
    more = [f"{name}: {unknown:,} annotated pairs belong to no class and are left out"]
    limits = str(rows["limits"])
    return [summary, *(more if unknown else []), *([f"{name}: {limits}"] if limits else [])]

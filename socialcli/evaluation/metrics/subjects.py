"""Subjects: which of a layout's subjects a picture lacks, has too often, blends or swaps.

A layout says who or what a picture should show and where. A detector looks for each of them by its
word; what it finds is assigned to the subjects so that the sum of all prices is smallest (one
matrix, `socialcli.vision.assignment`): a pair costs how unlike the crop is to the subject's own
pictures, a missing subject and a surplus thing have their prices. A subject's pictures are those of
the reference shards that are called by its name (`meta.json`'s subject, `people.json`'s identity),
else its own part of the source picture (``--against layout``).

A person found as "man" and as "woman" is one thing that may be either. Subjects that are none of
the things that a detector with a fixed list of them knows are left out, and a note counts them.

* missing: subjects that nothing was assigned to; surplus: things left over;
* hybrid: things that look like two of the subjects at once, told by DINO, in which blends lie
  between those that were blended (in CLIP they do not);
* swapped: subjects whose thing stands at another's place;
* subject_clip_i: the cosine of each subject's crop with its own pictures, 0 where it is missing.

Shares are of the subjects that the pictures should show. Multi-Subject Personalization (arXiv
2405.12742) shows these faults in Figure 3 and does not count them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.errors import UsageError
from socialcli.evaluation.cases import Case, Context
from socialcli.evaluation.metrics import Column, Metric, Needs, _means
from socialcli.vision import assignment, layouts

if TYPE_CHECKING:
    import numpy

SHOWN = 5  # words that a note names
_USUAL = assignment.Prices()


@dataclass
class Options:
    price_missing: float = option(
        _USUAL.missing, "What a missing subject costs (subjects).", above=0
    )
    price_surplus: float = option(
        _USUAL.surplus, "What a thing too many costs (subjects).", above=0
    )
    price_hybrid: float = option(
        _USUAL.hybrid, "What a blend of two subjects costs (subjects).", at_least=0
    )
    price_swapped: float = option(
        _USUAL.swapped, "What a subject at another's place costs (subjects).", at_least=0
    )


class Subjects(Metric):
    """See `Metric`."""

    SOURCE = "Multi-Subject Personalization (arXiv 2405.12742), section 1 and Figure 3"
    OPTIONS = ("against", "price_missing", "price_surplus", "price_hybrid", "price_swapped")
    config_type = Options
    COLUMNS = (
        Column("subjects", "Price", "lower", 0, float("inf"), "price",
               "price of the best assignment of what is there to what should be, a subject"),
        Column("subjects_missing", "missing", "lower", 0, 1, "share",
               "subjects that nothing was assigned to"),
        Column("subjects_surplus", "surplus", "lower", 0, float("inf"), "share",
               "things left over, a subject"),
        Column("subjects_hybrid", "hybrid", "lower", 0, float("inf"), "share",
               "things that look like two subjects, a subject"),
        Column("subjects_swapped", "swapped", "lower", 0, 1, "share",
               "subjects at another's place"),
        Column("subject_clip_i", "CLIP-I (subjects)", "higher", -1, 1, "cosine",
               "cosine of each subject's crop with its own pictures, 0 where it is missing"),
    )  # fmt: skip

    def needs(self, config: Any) -> Needs:
        return Needs(
            generated=("subject-objects", "clip-found", "dino-found"),
            references=("clip-subjects", "dino-subjects"), members=("layout.json",), paired=True,
        )  # fmt: skip

    def check_options(self, config: Any) -> None:
        if config.against != "layout":
            raise UsageError("--metrics subjects judges layouts: give --against layout")

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """(N,) each, NaN where a picture could not be judged: ``wanted`` subjects, and sums over
        them of the price, of each fault, and of the cosines. Besides, single ones, the number of
        subjects that were ``left_out`` and their words (``unknown``)."""
        import numpy

        names = ("wanted", "price", "missing", "surplus", "hybrid", "swapped", "cosine")
        rows = {name: numpy.full(len(cases), numpy.nan) for name in names}
        config = context.config
        prices = assignment.Prices(
            config.price_missing, config.price_surplus, config.price_hybrid, config.price_swapped
        )
        for number, case in enumerate(cases):
            row = of_case(case, prices)
            if row is not None:
                for name, value in row.items():
                    rows[name][number] = value
        left_out = [word for case in cases for word in unknown(case)]
        rows["left_out"] = numpy.array(len(left_out))
        rows["unknown"] = numpy.array(", ".join(f"'{w}'" for w in sorted(set(left_out))[:SHOWN]))
        return rows

    def estimate(
        self, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
    ) -> dict[str, numpy.ndarray]:
        return {name: _means.ratio(*parts, counts) for name, parts in _parts(rows).items()}

    def pictures(self, rows: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
        return {name: _means.each(*parts) for name, parts in _parts(rows).items()}

    def notes(self, rows: dict[str, numpy.ndarray]) -> list[str]:
        import numpy

        count = int(rows.get("left_out", 0))
        every = count + int(numpy.nansum(rows["wanted"]))
        return [] if not count else [
            f"subjects: {count:,} of {every:,} subjects are left out, since the detector knows no "
            f"such thing ({rows['unknown']}); --ground-backend names another"
        ]  # fmt: skip


def _parts(rows: dict[str, numpy.ndarray]) -> dict[str, tuple[numpy.ndarray, numpy.ndarray]]:
    import numpy

    r = {name: numpy.nan_to_num(values) for name, values in rows.items() if values.ndim}
    parts = {f"subjects_{n}": r[n] for n in ("missing", "surplus", "hybrid", "swapped")}
    parts = {"subjects": r["price"], **parts, "subject_clip_i": r["cosine"]}
    return {name: (total, r["wanted"]) for name, total in parts.items()}


def _segments(case: Case) -> list[Any]:
    """The segments of a picture's layout that show subjects."""
    if case.source is None or "layout.json" not in case.source.records:
        return []
    return [s for s in case.source.records["layout.json"].segments if not s.background]


def unknown(case: Case) -> list[str]:
    """The words of a picture's subjects for which the detector has no kind."""
    names = case.generated.get("subject-objects", "unknown") or ()
    return [word for word in map(layouts.word, _segments(case)) if word in names]


def of_case(case: Case, prices: assignment.Prices) -> dict[str, float] | None:
    """One picture's row; None where it could not be seen, or has no layout with subjects that the
    detector knows."""
    import numpy

    every, names = _segments(case), unknown(case)
    chosen = [n for n, segment in enumerate(every) if layouts.word(segment) not in names]
    segments = [every[n] for n in chosen]
    detected = case.generated.get("subject-objects", "boxes")
    seen = [case.generated.get(f"{name}-found") for name in ("clip", "dino")]
    if detected is None or any(v is None for v in seen) or not segments:
        return None
    # Of a picture in which nothing was found there is the whole picture's.
    clip, dino = (numpy.atleast_2d(vectors)[: len(detected)] for vectors in seen)
    if len(case.subjects) != len(every):
        return None
    subjects = [case.subjects[n] for n in chosen]
    galleries = [gallery(pictures, "dino") for pictures in subjects]
    words = [layouts.word(segment) for segment in segments]
    boxes = numpy.array([box for _, box in detected], float).reshape(-1, 4)
    labels = [label for label, _ in detected]
    things, kinds, places = assignment.compared(
        boxes, labels, case.generated.get("subject-objects", "scores"), words,
        [layouts.box(dict(s.rle)) for s in segments],
    )  # fmt: skip
    clip, dino = clip[things], dino[things]
    likeness = known = None
    cosine = 0.0
    if all(rows is not None for rows in galleries):
        means = numpy.stack([rows.mean(axis=0) for rows in galleries])  # type: ignore[union-attr]
        known = _means.cosine(means, means)
        likeness = _means.cosine(dino, means) if things else numpy.zeros((0, len(means)))
    verdict = assignment.judge(kinds, places, likeness, known, prices)
    for thing, subject in verdict.pairs:
        own = gallery(subjects[subject], "clip")
        if own is not None:
            cosine += float(_means.cosine(clip[thing], own).mean())
    counts = {n: float(len(getattr(verdict, n))) for n in ("missing", "surplus", "hybrid")}
    return {
        "wanted": float(len(segments)), "price": verdict.price, "cosine": cosine,
        "swapped": float(len(verdict.swapped)), **counts,
    }  # fmt: skip


def gallery(pictures: list[Any], feature: str) -> numpy.ndarray | None:
    """(K, D) unit embeddings of a subject in its own pictures; None where there is none."""
    import numpy

    seen = [p.get(f"{feature}-subjects") for p in pictures]
    rows = [numpy.atleast_2d(vector) for vector in seen if vector is not None]
    if not rows:
        return None
    whole = numpy.concatenate(rows).astype(numpy.float64)
    unit: numpy.ndarray = whole / numpy.maximum(numpy.linalg.norm(whole, axis=1), 1e-12)[:, None]
    return unit

"""HOI detection mAP: HICO-DET's own evaluation, in which the boxes must lie right as well.

For pictures whose layout is given: the data set's own (``score shards/test --real``, which judges
the recogniser), or generated ones that keep their source's layout. As in the public code of UPT and
CMMP (that of PPDM and QPIC counts a box's last pixel in, and takes an IoU of just 0.5):

* a predicted pair belongs to the annotated pair of its class and picture that it overlaps most, by
  the smaller of the IoUs of the two people and the two objects, if that is above 0.5;
* an annotated pair is found once, by the best-scored pair that belongs to it; all other predicted
  pairs are mistakes;
* precision is interpolated at 11 recalls (``--hoi-ap``), and the average precisions of the classes
  are averaged.

    ``hoi_det``    the default setting: a class is looked for in all pictures
    ``hoi_known``  the known-object setting: in those that show the class's object, which are the
                   pictures with an annotated interaction with it

each over all classes, over rare ones (fewer than 10 annotated training pairs), over the rest, and
over what people do to people: of the 9,546 test pictures 165 show somebody who does something to
somebody, so that the mean over all classes says little of that. Equal scores are one step of the
ranking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.evaluation.cases import Case, Context, Picture
from socialcli.evaluation.metrics import Needs, _average_precision
from socialcli.evaluation.metrics._average_precision import Ranking, columns
from socialcli.evaluation.metrics.hoi import Hoi

if TYPE_CHECKING:
    import numpy

    from socialcli.evaluation.hoi_classes import Classes
    from socialcli.records import XYXY

OVERLAP = 0.5  # a predicted pair overlaps an annotated one by more than this
Pair = tuple["XYXY", "XYXY"]  # the person's box and the object's


class HoiDet(Hoi):
    """See `Metric`."""

    SOURCE = "HICO-DET (arXiv 1702.05448), section 5; its evaluation as in UPT and CMMP"
    COLUMNS = (
        *columns("hoi_det", "HOI mAP (boxes)", "mean average precision over classes, boxes right"),
        *columns(
            "hoi_known", "HOI mAP (boxes, known object)",
            "the same, each class in the pictures that show its object",
        ),
    )  # fmt: skip

    def needs(self, config: Any) -> Needs:
        return Needs(
            generated=("interactions",), members=("interactions.json", "boxes.json"), paired=True,
            speaks=lambda source: bool(source.records["interactions.json"].interactions),
            lacks="there is no annotated interaction in them (--interaction-source any: or "
            "estimated)",
        )  # fmt: skip

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """As `Hoi.rows`, and of each predicted pair whether it is right (``found_right``) and
        whether its picture shows its object (``found_known``)."""
        import numpy

        table: Classes = context.classes
        entries: list[tuple[int, int, float, bool, bool]] = []
        true: list[tuple[int, int]] = []
        judged = numpy.zeros(len(cases), bool)
        unknown = 0
        for number, case in enumerate(cases):
            predicted = _predicted(case, table)
            if predicted is None or case.source is None or not case.has("boxes.json"):
                continue
            annotated, without = _annotated(case.source, table)
            unknown += without
            judged[number] = bool(annotated)
            if not annotated:
                continue
            true += [(number, c) for c, pairs in annotated.items() for _ in pairs]
            shown = {table.names[c][1] for c in annotated}
            for c, pairs in predicted.items():
                scores = numpy.array([score for _, score in pairs])
                right = matched([pair for pair, _ in pairs], scores, annotated.get(c, []))
                known = table.names[c][1] in shown
                entries += [
                    (number, c, score, bool(ok), known)
                    for score, ok in zip(scores, right, strict=True)
                ]
        return _average_precision.gathered(
            table, context.config.hoi_ap, entries, true, judged, unknown, boxes=True
        )

    def estimate(
        self, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
    ) -> dict[str, numpy.ndarray]:
        import numpy

        everywhere = numpy.ones(len(rows["found_known"]), bool)
        figures: dict[str, numpy.ndarray] = {}
        for name, looked_at in (("hoi_det", everywhere), ("hoi_known", rows["found_known"])):
            table = _average_precision.per_class(_ranking(rows, looked_at), rows, counts)
            figures |= _average_precision.means(name, table, rows)
        return figures

    def pictures(self, rows: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
        """A picture has no average precision of its own; what it shows is the share of its
        annotated pairs that were found, in per cent."""
        import numpy

        pictures = len(rows["judged"])
        hits = numpy.bincount(rows["found_picture"][rows["found_right"]], minlength=pictures)
        there = numpy.bincount(rows["true_picture"], minlength=pictures)
        share = numpy.full(pictures, numpy.nan)
        return {"hoi_det": numpy.divide(100 * hits, there, out=share, where=there > 0)}

    def notes(self, rows: dict[str, numpy.ndarray]) -> list[str]:
        lines = _average_precision.about("hoi-det", rows)
        return [line.replace("belong to no class", "belong to no class or box") for line in lines]


def matched(
    predicted: list[Pair], scores: numpy.ndarray, annotated: list[Pair], least: float = OVERLAP
) -> numpy.ndarray:
    """Which predicted pairs of one class in one picture are right.

    Args:
        predicted: P pairs of boxes. scores: (P,). annotated: T pairs.
        least: the overlap that a pair must exceed.

    Returns:
        (P,) bool, at most T of them true.
    """
    import numpy

    from socialcli.vision import boxes

    right = numpy.zeros(len(predicted), bool)
    if not len(predicted) or not annotated:
        return right
    sides = [
        boxes.iou(numpy.array([p[i] for p in predicted]), numpy.array([a[i] for a in annotated]))
        for i in (0, 1)
    ]
    overlap = numpy.minimum(*sides)
    nearest = overlap.argmax(1)
    near = overlap.max(1) > least
    for one in numpy.unique(nearest[near]):
        candidates = numpy.flatnonzero(near & (nearest == one))
        right[candidates[scores[candidates].argmax()]] = True
    return right


def _ranking(rows: dict[str, numpy.ndarray], chosen: numpy.ndarray) -> Ranking:
    picture, klass, score, right = (
        rows[f"found_{name}"][chosen] for name in ("picture", "class", "score", "right")
    )
    return Ranking(picture, klass, score, right, rows["true_picture"], rows["true_class"])


def _predicted(case: Case, table: Classes) -> dict[int, list[tuple[Pair, float]]] | None:
    """Class -> the pairs that were predicted with their scores; None where nobody looked. A pair
    whose boxes are not known lies nowhere and is a mistake."""
    pairs, places = (case.generated.get("interactions", name) for name in ("pairs", "places"))
    if pairs is None or places is None or not case.has("interactions.json"):
        return None
    by_class: dict[int, list[tuple[Pair, float]]] = {}
    nowhere = (0.0, 0.0, 0.0, 0.0)
    for (verb, thing, hoi, score), place in zip(pairs, places, strict=True):
        c = table.of(verb, thing, hoi)
        if c is not None:
            human, other = place or (nowhere, nowhere)
            by_class.setdefault(c, []).append(((tuple(human), tuple(other)), float(score)))  # type: ignore[arg-type]
    return by_class


def _annotated(source: Picture, table: Classes) -> tuple[dict[int, list[Pair]], int]:
    """Class -> the annotated pairs, and how many interactions have no class or no two boxes."""
    places = {box.id: box.xyxy for box in source.records["boxes.json"].boxes}
    by_class: dict[int, list[Pair]] = {}
    without = 0
    for one in source.records["interactions.json"].interactions:
        c = table.of(one.verb, one.object_label, one.hoi)
        human, thing = places.get(one.subject_box or 0), places.get(one.object or 0)
        if c is None or human is None or thing is None:
            without += 1
        else:
            by_class.setdefault(c, []).append((human, thing))
    return by_class, without

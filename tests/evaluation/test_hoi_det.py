"""HICO-DET's own evaluation: boxes must lie right, a class is looked for everywhere or where its
object is, and what people do to people has a figure of its own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy
import pytest
from parts import part

from socialcli import records, registry
from socialcli.evaluation import hoi_classes
from socialcli.evaluation.cases import Case, Context, Picture
from socialcli.evaluation.features.interactions import _places
from socialcli.evaluation.metrics import _average_precision
from socialcli.records import hico

hoi_det, hoi = part("metrics", "hoi-det"), part("metrics", "hoi")
METRIC = registry.load("metrics", "hoi-det")
LEFT, RIGHT, FAR = (0.0, 0.0, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9), (0.6, 0.0, 0.9, 0.3)


def moved(box, by: float):
    return (box[0] + by, box[1], box[2] + by, box[3])


def case(name: str, true, predicted) -> Case:
    """``true``: (verb, object, human, thing); ``predicted``: the same with a score."""
    boxes, acts = [], []
    for n, (verb, thing, human, place) in enumerate(true):
        boxes += [records.Box(2 * n + 1, human, "person"), records.Box(2 * n + 2, place, thing)]
        acts.append(
            records.Interaction(
                n + 1, verb, subject_box=2 * n + 1, object=2 * n + 2, object_label=thing
            )
        )
    members = {
        "interactions.json": records.Interactions(acts),
        "boxes.json": records.Boxes(100, 100, boxes),
    }
    seen = {
        "pairs": [[verb, thing, None, score] for verb, thing, _, _, score in predicted],
        "places": [None if h is None else [list(h), list(t)] for _, _, h, t, _ in predicted],
    }
    return Case(
        name, name, "", Picture(name, {"interactions": seen}), source=Picture(name, {}, members)
    )


def figures(cases, table, interpolation="11", counts=None):
    context = Context(SimpleNamespace(hoi_ap=interpolation), classes=table)
    rows = METRIC.rows(cases, context)
    one = numpy.ones((1, len(cases))) if counts is None else counts
    return rows, {name: values[0] for name, values in METRIC.estimate(rows, one).items()}


TABLE = hoi_classes.Classes([("ride", "horse"), ("feed", "horse"), ("hug", "person")], {1}, "file")


def test_boxes_must_overlap_by_more_than_half() -> None:
    # Two boxes of side 0.4, moved by d: (0.4 - d) / (0.4 + d) of them is common.
    near, half, wide = moved(LEFT, 0.13), moved(LEFT, 0.4 / 3), moved(LEFT, 0.14)
    pairs = [(near, RIGHT), (wide, RIGHT), (LEFT, moved(RIGHT, 0.14)), (LEFT, RIGHT)]
    scores = numpy.array([0.1, 0.9, 0.8, 0.05])
    assert hoi_det.matched(pairs, scores, [(LEFT, RIGHT)]).tolist() == [True, False, False, False]
    assert hoi_det.matched([(LEFT, RIGHT)], scores[:1], []).tolist() == [False]
    assert hoi_det.matched([], scores[:0], [(LEFT, RIGHT)]).tolist() == []
    assert hoi_det.matched([(half, RIGHT)], scores[:1], [(LEFT, RIGHT)], 0.49).tolist() == [True]


def test_an_annotated_pair_is_found_once_by_the_best_pair_nearest_to_it() -> None:
    annotated = [(LEFT, RIGHT), (LEFT, moved(RIGHT, 0.1))]
    predicted = [(LEFT, moved(RIGHT, 0.01)), (LEFT, moved(RIGHT, 0.02)), (LEFT, moved(RIGHT, 0.08))]
    matches = hoi_det.matched(predicted, numpy.array([0.3, 0.6, 0.1]), annotated)
    assert matches.tolist() == [False, True, True]
    # The second also overlaps the other annotated pair, but it belongs to the nearer one.
    matches = hoi_det.matched(predicted[:2], numpy.array([0.3, 0.6]), annotated)
    assert matches.tolist() == [False, True]


def test_both_settings_by_hand() -> None:
    cases = [
        # ride: a false one of .9, then right; hug: nowhere
        case("a", [("ride", "horse", LEFT, RIGHT)],
             [("ride", "horse", FAR, RIGHT, 0.9), ("ride", "horse", LEFT, RIGHT, 0.8),
              ("hug", "person", LEFT, FAR, 0.95)]),
        # feed: found; ride: a false one where a horse is
        case("b", [("feed", "horse", LEFT, RIGHT)],
             [("feed", "horse", LEFT, RIGHT, 0.7), ("ride", "horse", LEFT, RIGHT, 0.95)]),
        # hug: found, after the false one of picture "a", which shows no second person
        case("c", [("hug", "person", LEFT, RIGHT)],
             [("hug", "person", LEFT, RIGHT, 0.5), ("feed", "horse", LEFT, RIGHT, 0.9)]),
        case("d", [], [("hug", "person", LEFT, RIGHT, 0.99)]),  # nothing annotated: left out
    ]  # fmt: skip
    rows, values = figures(cases, TABLE)
    assert rows["judged"].tolist() == [True, True, True, False]
    ride, feed, hug = 100 / 3, 100 / 2, 100 / 2
    assert values["hoi_det"] == pytest.approx((ride + feed + hug) / 3)
    assert values["hoi_det_rare"] == pytest.approx(feed)
    assert values["hoi_det_nonrare"] == pytest.approx((ride + hug) / 2)
    assert values["hoi_det_people"] == pytest.approx(hug)
    # Where only pictures with a horse count for horses: picture "c" has none, "a" no hugged one.
    assert values["hoi_known"] == pytest.approx((ride + 100 + 100) / 3)
    assert values["hoi_known_people"] == pytest.approx(100)
    assert METRIC.pictures(rows)["hoi_det"][:3].tolist() == [100, 100, 100]
    assert numpy.isnan(METRIC.pictures(rows)["hoi_det"][3])
    twice = numpy.array([[2.0, 1, 1, 0]])
    _, more = figures(cases, TABLE, counts=twice)
    _, copied = figures([cases[0], *cases], TABLE)
    assert more["hoi_det"] == pytest.approx(copied["hoi_det"])
    _, nothing = figures(cases, TABLE, counts=numpy.zeros((1, 4)))
    assert all(numpy.isnan(value) for value in nothing.values())


def test_pairs_without_a_box_are_mistakes_and_annotations_without_one_are_told() -> None:
    one = case("a", [("ride", "horse", LEFT, RIGHT)], [("ride", "horse", None, None, 0.9)])
    one.source.records["interactions.json"].interactions.append(
        records.Interaction(2, "ride", subject_box=1, object=9, object_label="horse")
    )
    rows, values = figures([one], TABLE)
    assert values["hoi_det"] == 0 and rows["unknown"] == 1 and len(rows["true_class"]) == 1
    assert "1 annotated pairs belong to no class or box" in METRIC.notes(rows)[1]
    one.generated.features["interactions"] = {"pairs": []}  # what an older version kept
    assert not METRIC.rows([one], Context(SimpleNamespace(hoi_ap="11"), classes=TABLE))[
        "judged"
    ].any()


def test_what_the_public_code_computes_over_all_600_classes() -> None:
    """Expected values: UPT's and CMMP's evaluation (pocket's box-pair association and 11-point
    meter), run once on these pairs. Every class is annotated, and half of the boxes are moved."""
    classes = hico.classes()
    table = hoi_classes.classes("hico-det", [])
    boxes = [tuple(numpy.round([x, y, x + 0.3, y + 0.3], 3)) for x in (0, 0.35, 0.7)
             for y in (0, 0.35, 0.7)]  # fmt: skip
    cases = []
    for n in range(300):
        true, predicted = [], []
        for k in range(6):
            one = classes[(7 * n + 101 * k) % 600]
            human, thing = boxes[(n + k) % 9], boxes[(n + 4 * k + 5) % 9]
            true.append((one.verb, one.object, human, thing))
            score = ((n * 37 + k * 101) % 1009) / 1009
            shift = 0.15 if (n + k) % 3 == 0 else 0.02 * k / 6
            other = classes[(7 * n + 101 * k + (n % 5 == 0)) % 600]
            predicted.append((other.verb, other.object, moved(human, shift), thing, score))
        cases.append(case(str(n), true, predicted))
    rows, values = figures(cases, table)
    assert len(set(rows["true_class"])) == 600
    wanted = {
        "hoi_det": 44.356313, "hoi_det_rare": 42.481335, "hoi_det_nonrare": 44.916372,
        "hoi_det_people": 48.030303, "hoi_known": 44.991162, "hoi_known_rare": 42.890865,
        "hoi_known_nonrare": 45.618523, "hoi_known_people": 48.030303,
    }  # fmt: skip
    assert values == pytest.approx(wanted, abs=1e-5)
    assert figures(cases, table, "11-float")[1] == pytest.approx(wanted, abs=1e-5)


def test_recalls_as_the_public_code_compares_them() -> None:
    """In floats 3 of 10 is less than the fourth of eleven recalls, and only there."""
    ones = numpy.ones
    for hits, short in ((3, 1), (1, 0), (6, 0), (7, 0), (9, 0)):
        args = (numpy.arange(hits, 0, -1.0), ones(hits, bool), ones((1, hits)), numpy.array([10.0]))
        exact = _average_precision.average_precision(*args)
        floats = _average_precision.average_precision(*args, floats=True)
        assert exact[0] == pytest.approx((hits + 1) / 11)
        assert floats[0] == pytest.approx((hits + 1 - short) / 11)


def test_places_are_those_of_the_boxes_and_people_that_an_interaction_names() -> None:
    boxes = records.Boxes(
        9, 9, [records.Box(n, box, "x") for n, box in enumerate((LEFT, RIGHT, FAR), 1)]
    )
    people = records.People(
        9, 9, [records.Person(7, box=1), records.Person(8, box=3), records.Person(9)]
    )
    acts = [
        records.Interaction(1, "ride", subject=7, subject_box=1, object=2),
        records.Interaction(2, "hug", subject=7, object_person=8),
        records.Interaction(3, "hug", subject=9, object_person=8),
    ]
    assert _places(acts, people, boxes) == [
        [list(LEFT), list(RIGHT)], [list(LEFT), list(FAR)], None
    ]  # fmt: skip

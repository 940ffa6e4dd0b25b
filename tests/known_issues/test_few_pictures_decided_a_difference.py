"""One of two methods was called better in HOI mAP because of a few pictures of sixteen.

P values were the share of bootstrap resamples beyond zero. Where sixteen pictures show a dozen
classes, a class is one picture; resamples repeat the pictures there are, and so make little of how
few they are: of equal methods 13 in 100 pairs were called different, of which it should be 5.
Methods' pictures are now exchanged at random instead.
"""

from __future__ import annotations

import functools

import numpy
import pytest

from socialcli.evaluation import bootstrap, metrics

SOURCES, CLASSES, SETS = 16, 10, 60


def seen(rng: numpy.random.Generator, true: numpy.ndarray, skill: float) -> dict:
    """The rows of a method: every class gets a score in every picture, its true one a better."""
    scores = rng.random((SOURCES, CLASSES))
    scores[numpy.arange(SOURCES), true] += skill
    picture, klass = numpy.divmod(numpy.arange(SOURCES * CLASSES), CLASSES)
    return {
        "found_picture": picture, "found_class": klass, "found_score": scores.ravel(),
        "true_picture": numpy.arange(SOURCES), "true_class": true,
        "judged": numpy.ones(SOURCES, bool), "unknown": numpy.array(0), "limits": numpy.array(""),
        "names": numpy.array([f"act {n}" for n in range(CLASSES)]),
        "rare": numpy.zeros(CLASSES, bool), "people": numpy.zeros(CLASSES, bool),
        "has_rare": numpy.array(False), "points": numpy.array(11), "floats": numpy.array(False),
    }  # fmt: skip


def p_value(first: dict, second: dict, seed: int, times: int = 200) -> float:
    metric, places = metrics.load("hoi"), numpy.arange(SOURCES)
    both = functools.partial(metric.estimate, metric.joined(first, second))
    by_chance = bootstrap.exchanged(both, (places, places), SOURCES, times, seed)["hoi"]
    ones = numpy.ones((1, SOURCES))
    apart = [metric.estimate(rows, ones)["hoi"][0] for rows in (first, second)]
    drawn = numpy.zeros(2)
    p = bootstrap.difference(drawn, drawn, apart[1] - apart[0], by_chance).p
    assert p is not None
    return p


def test_four_pictures_can_be_chance() -> None:
    """Equal but for four pictures, all for the second: of the 16 ways in which these could have
    fallen two are as far apart. The bootstrap said p = 2 * (12 / 16)^16 = 0.02."""
    rng = numpy.random.default_rng(2)
    true = numpy.arange(SOURCES) % CLASSES
    first = seen(rng, true, 0.0)
    second = {**first, "found_score": first["found_score"].copy()}
    for rows, score in ((first, -1.0), (second, 2.0)):
        rows["found_score"][numpy.arange(4) * CLASSES + true[:4]] = score
    assert p_value(first, second, 0, times=2000) == pytest.approx(0.125, abs=0.03)


def test_equal_methods_seldom_differ_and_better_ones_do() -> None:
    rng = numpy.random.default_rng(0)
    equal, better = 0, 0
    for seed in range(SETS):
        true = rng.integers(0, CLASSES, SOURCES)
        equal += p_value(seen(rng, true, 0.3), seen(rng, true, 0.3), seed) < 0.05
        if seed < 20:
            better += p_value(seen(rng, true, 0.1), seen(rng, true, 0.8), seed) < 0.05
    assert equal <= 9  # 3 expected; more than 9 has a chance of 0.1 %
    assert better >= 15


def test_joined_rows_are_those_of_both() -> None:
    """Each half alone gives what its own rows give, also where the second has other classes."""
    rng, metric = numpy.random.default_rng(1), metrics.load("hoi")
    first, second = (seen(rng, rng.integers(0, CLASSES, SOURCES), 0.3) for _ in range(2))
    second["names"] = numpy.array([f"act {n}" for n in range(CLASSES + 3, 3, -1)])
    both = metric.joined(first, second)
    assert len(both["names"]) == len(both["rare"]) == len(both["people"]) == CLASSES + 4
    counts = numpy.repeat([[1.0, 0.0], [0.0, 1.0]], SOURCES, axis=1)
    ones = numpy.ones((1, SOURCES))
    want = [metric.estimate(rows, ones)["hoi"][0] for rows in (first, second)]
    assert metric.estimate(both, counts)["hoi"] == pytest.approx(want, abs=1e-12)


def test_classes_are_told_apart_by_their_names() -> None:
    """The same second method with its classes in another order."""
    rng, metric = numpy.random.default_rng(3), metrics.load("hoi")
    first, second = (seen(rng, rng.integers(0, CLASSES, SOURCES), 0.3) for _ in range(2))
    order = rng.permutation(CLASSES)  # class n of the second is number order[n] of the other
    other = {**second, "names": second["names"][numpy.argsort(order)]}
    for name in ("found_class", "true_class"):
        other[name] = order[second[name]]
    counts = rng.integers(0, 3, (5, 2 * SOURCES)).astype(float)
    want, got = (metric.estimate(metric.joined(first, r), counts)["hoi"] for r in (second, other))
    assert got == pytest.approx(want, abs=1e-12)

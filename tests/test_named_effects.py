"""Effects of the table of several subjects: each test against SciPy's, and the page of them."""

from __future__ import annotations

import numpy
import pytest
from scipy import stats

from socialcli.benchmarks import _named_effects
from socialcli.benchmarks._named_effects import Named

ROOM = 0.02  # of 10,000 exchanges a p value strays by less


def layouts(seed: int, shifts: dict[str, float]) -> dict[tuple[str, str], float]:
    """Twelve layouts a group, which every row finds as hard; each moved by its group's shift."""
    hard = numpy.random.default_rng(9).normal(0, 0.3, (4, 12))
    own = numpy.random.default_rng(seed).normal(0, 0.1, (4, 12))
    groups = ("1", "2", "3", ">3")
    return {
        (f"{group}-subjects-{n}", group): float(hard[g, n] + own[g, n] + shifts.get(group, 0.0))
        for g, group in enumerate(groups)
        for n in range(12)
    }


def values(row, *groups):
    return numpy.array([v for at, v in row.items() if at[1] in groups])


FIRST, SECOND = layouts(1, {}), layouts(2, {"3": 0.05, ">3": 0.05})
ROWS = {"a": {"f": FIRST}, "b": {"f": SECOND}}


def mean_apart(x, y):
    return x.mean() - y.mean()


def test_two_rows_are_compared_layout_by_layout():
    one = Named(1, "f", "b", 1, first="a", groups=("3", ">3"))
    value, (low, high), p, count = _named_effects.tried(one, ROWS)
    pairs = values(SECOND, "3", ">3"), values(FIRST, "3", ">3")
    known = stats.permutation_test(
        pairs, mean_apart, permutation_type="samples", n_resamples=9999, rng=0
    )
    assert count == 24 and value == pytest.approx(known.statistic)
    assert p == pytest.approx(known.pvalue, abs=ROOM) and low < value < high
    # Unpaired, what makes a layout hard hides it.
    apart = stats.permutation_test(pairs, mean_apart, n_resamples=999, rng=0)
    assert p < 0.2 < apart.pvalue


def test_layouts_of_many_subjects_are_compared_with_those_of_one():
    one = Named(1, "f", "b", 1, groups=("3", ">3"), against=("1",))
    value, _, p, count = _named_effects.tried(one, ROWS)
    groups = values(SECOND, "3", ">3"), values(SECOND, "1")
    known = stats.permutation_test(groups, mean_apart, n_resamples=9999, rng=0)
    assert count == 36 and value == pytest.approx(known.statistic)
    assert p == pytest.approx(known.pvalue, abs=ROOM)
    # With a row to compare with, it is the differences that are compared.
    value, *_ = _named_effects.tried(
        Named(2, "f", "b", 1, first="a", groups=("3", ">3"), against=("1",)), ROWS
    )
    apart = values(SECOND, "1", "3", ">3") - values(FIRST, "1", "3", ">3")
    assert value == pytest.approx(apart[12:].mean() - apart[:12].mean())


def test_layouts_that_only_one_row_has_do_not_count():
    lacking = {at: value for at, value in FIRST.items() if at[1] != "2"}
    one = Named(1, "f", "b", 1, first="a")
    *_, count = _named_effects.tried(one, {"a": {"f": lacking}, "b": {"f": SECOND}})
    assert count == 36
    assert _named_effects.tried(one, {"b": {"f": SECOND}}) is None


def test_the_page_judges_by_side_interval_and_corrected_p(monkeypatch):
    far = {at: value + 1 for at, value in FIRST.items()}
    rows = {"a": {"f": FIRST}, "b": {"f": SECOND}, "far": {"f": far}}
    monkeypatch.setattr(
        _named_effects, "EFFECTS",
        (
            Named(1, "f", "far", 1, first="a"), Named(2, "f", "far", -1, first="a"),
            Named(3, "f", "b", 1, first="a", least=-0.3), Named(3, "f", "a", 1, first="far",
                                                                least=-0.3),
            Named(4, "f", "nobody", 1, first="a"),
        ),
    )  # fmt: skip
    page = _named_effects.table(rows)[2:]
    assert [line.rsplit("|")[-2].strip() for line in page] == [
        "holds", "the contrary holds", "holds", "not told from noise"
    ]  # fmt: skip
    assert page[0].startswith(
        "| 1. f: far less a above 0 | 48 | +1.000 | [+1.000, +1.000] | 0.0002"
    )
    assert page[2].split("|")[5].strip() == ""  # by its interval alone

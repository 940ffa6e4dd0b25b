"""Scores held against each other, from folders that hold a few numbers written by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy
import pytest

from socialcli.errors import UsageError
from socialcli.evaluation import compare, run
from socialcli.evaluation.metrics import Column, Metric, Needs, _means


class Toy:
    """Three figures of numbers in rows: one that should be high, one low, one that describes."""

    COLUMNS = (
        Column("up", "Up", "higher", 0, 1, "share", "the mean of x"),
        Column("down", "Down", "lower", 0, math.inf, "distance", "the mean of y"),
        Column("plain", "Plain", "", -math.inf, math.inf, "score", "the mean of x and y"),
    )
    OPTIONS = ("how_much",)
    RESAMPLES: int | None = None
    INTERVAL = "percentile"
    joined, apart = Metric.joined, Metric.apart

    def needs(self, config):
        return Needs()

    def estimate(self, rows, counts):
        x, y = rows["x"], rows["y"]
        means = {"up": x, "down": y, "plain": x + y}
        return {name: _means.mean(values, counts) for name, values in means.items()}


@pytest.fixture(autouse=True)
def toy(monkeypatch) -> Toy:
    metric = Toy()
    monkeypatch.setattr(compare.metrics, "load", lambda name: metric)
    return metric


UNITS = [f"u{n:02}" for n in range(24)]
BASE = numpy.random.default_rng(4).uniform(0.3, 0.5, len(UNITS))


def folder(tmp_path: Path, name: str, x, y, units=UNITS, **body: Any) -> str:
    place = tmp_path / name
    (place / "rows").mkdir(parents=True)
    written = {"title": name, "metrics": {"toy": ""}, "models": {}, "config": {}} | body
    (place / "score.json").write_text(json.dumps(written))
    for metric in written["metrics"]:
        numpy.savez(place / "rows" / f"{metric}.npz", unit=numpy.array(units), x=x, y=y)
    return str(place)


def marks(result, column) -> dict[str, tuple[str, bool]]:
    return {name: (c[column]["verdict"], c[column]["bold"]) for name, c in result["cells"].items()}


def test_better_is_higher_or_lower_as_the_figure_says(tmp_path):
    """The second is 0.1 higher in both figures, the third 0.1 lower: of each one is better."""
    three = [
        folder(tmp_path, n, BASE + d, BASE + d) for n, d in zip("abc", (0, 0.1, -0.1), strict=True)
    ]
    result = compare.compare(three, resamples=200)
    assert (result["baseline"], result["units"], result["tests"]) == ("a", 24, 4)
    assert marks(result, "up") == {"a": ("", False), "b": ("better", True), "c": ("worse", False)}
    assert marks(result, "down") == {"a": ("", False), "b": ("worse", False), "c": ("better", True)}
    # What only describes is neither, however far apart; its p is said and not corrected.
    assert {mark for mark, _ in marks(result, "plain").values()} == {""}
    assert [result["cells"][n]["plain"]["bold"] for n in "bc"] == [False, False]
    assert result["cells"]["b"]["plain"]["p_corrected"] is None
    for name, by in (("b", 0.1), ("c", -0.1)):
        cell = result["cells"][name]["up"]
        assert cell["value"] == pytest.approx(BASE.mean() + by)
        assert cell["difference"] == pytest.approx(by)
        assert cell["difference_low"] == pytest.approx(by) == cell["difference_high"]
        assert cell["p"] == pytest.approx(1 / 201) and cell["p_corrected"] == 4 * cell["p"]
    own = result["cells"]["a"]["up"]
    assert own["value"] == pytest.approx(BASE.mean()) and own["low"] < own["value"] < own["high"]
    assert [own[k] for k in ("difference", "difference_low", "difference_high", "p")] == [None] * 4


def test_what_chance_may_well_have_done_is_no_difference(tmp_path):
    """All n sources are better by as much: two of 2**n exchanges say so, and two figures are
    tested."""
    for count, verdict in ((6, ""), (7, "better")):
        up, same = BASE[:count], numpy.zeros(count)
        two = [folder(tmp_path, f"{n}{count}", up + d, same, UNITS[:count])
               for n, d in (("a", 0), ("b", 0.1))]  # fmt: skip
        cell = compare.compare(two, resamples=2000)["cells"][f"b{count}"]["up"]
        assert cell["p_corrected"] == pytest.approx(2 * 2 / 2**count, rel=0.25)
        assert (cell["verdict"], cell["bold"]) == (verdict, bool(verdict))
    assert compare.ALPHA == 0.05


def test_the_first_is_bold_where_all_others_are_worse(tmp_path):
    three = [
        folder(tmp_path, n, BASE + d, BASE - d)
        for n, d in zip("abc", (0, -0.1, -0.05), strict=True)
    ]
    result = compare.compare(three, resamples=200)
    assert marks(result, "up") == {"a": ("", True), "b": ("worse", False), "c": ("worse", False)}
    noise = numpy.random.default_rng(9).normal(0, 0.1, len(UNITS))
    less = folder(tmp_path, "d", BASE + noise - noise.mean(), BASE)
    result = compare.compare([three[0], three[1], less], resamples=200)
    assert marks(result, "up") == {"a": ("", False), "b": ("worse", False), "d": ("", False)}


def test_only_sources_that_all_have_count_wherever_they_stand(tmp_path):
    """The others turn and lack some: pairs go by the source's name, not by the place."""
    first = folder(tmp_path, "a", BASE, BASE)
    turned = folder(tmp_path, "b", BASE[::-1] + 0.1, BASE[::-1], [*UNITS[::-1]])
    assert compare.compare([first, turned], resamples=100)["cells"]["b"]["up"][
        "difference_low"
    ] == pytest.approx(0.1)
    far = numpy.append(BASE[4:] + 0.1, 0.9)
    few = folder(tmp_path, "c", far, far, [*UNITS[4:], "nobody"])
    result = compare.compare([first, turned, few], resamples=100)
    assert result["units"] == 20
    for name, by in (("a", 0), ("b", 0.1), ("c", 0.1)):
        assert result["cells"][name]["up"]["value"] == pytest.approx(BASE[4:].mean() + by)
    assert result["cells"]["c"]["up"]["difference_high"] == pytest.approx(0.1)


def test_sources_change_sides_with_their_own_pair(tmp_path):
    """Sources differ a hundred times as much as the methods: of wrong pairs nothing is told."""
    x = 10 * BASE
    turned = x[::-1] + 0.1
    two = [
        folder(tmp_path, "a", x, x),
        folder(tmp_path, "b", numpy.append(turned, 0.9), numpy.zeros(25), [*UNITS[::-1], "nobody"]),
    ]  # fmt: skip
    cell = compare.compare(two, resamples=100)["cells"]["b"]["up"]
    assert cell["p"] == pytest.approx(1 / 101) and cell["verdict"] == "better"


def test_one_common_source_says_nothing_about_others(tmp_path):
    one = [folder(tmp_path, n, numpy.array([d]), numpy.array([d]), ["u"])
           for n, d in (("a", 0.1), ("b", 0.9))]  # fmt: skip
    result = compare.compare(one, resamples=100)
    cell = result["cells"]["b"]["up"]
    assert (cell["value"], cell["low"], cell["p"], cell["verdict"]) == (0.9, None, None, "")
    assert result["units"] == 1 and result["tests"] == 0


def test_a_metrics_own_limit_of_resamples_is_kept(tmp_path, toy):
    two = [folder(tmp_path, n, BASE + d, BASE) for n, d in (("a", 0), ("b", 0.1))]
    toy.RESAMPLES = 20
    assert compare.compare(two, resamples=200)["cells"]["b"]["up"]["p"] == pytest.approx(1 / 21)
    assert compare.compare(two, resamples=10)["cells"]["b"]["up"]["p"] == pytest.approx(1 / 11)
    assert compare.compare(two, resamples=0)["cells"]["b"]["up"]["p"] is None


def test_intervals_stay_in_the_range_of_the_figure(tmp_path, toy):
    toy.INTERVAL = "centred"
    x = numpy.array([0.0] * 23 + [1.0])
    two = [folder(tmp_path, n, x, x) for n in "ab"]
    cell = compare.compare(two, resamples=200)["cells"]["b"]["up"]
    assert cell["low"] == 0.0 < cell["high"]


def test_scores_of_other_models_or_options_do_not_compare(tmp_path):
    """Any of several, not the second alone; a feature that one of them did not use is no other."""
    given = {"models": {"clip": ["A"]}, "config": {"how_much": 1, "free": 1}}
    first = folder(tmp_path, "a", BASE, BASE, **given)
    same = folder(tmp_path, "b", BASE, BASE, models={"dino": ["D"]},
                  config={"how_much": 1, "free": 2})  # fmt: skip
    assert compare.compare([first, same], resamples=0)["units"] == 24
    other = folder(tmp_path, "c", BASE, BASE, models={"clip": ["B"]}, config={"how_much": 1})
    with pytest.raises(UsageError, match=r"/a and .*/c were scored with different models \(clip\)"):
        compare.compare([first, same, other], resamples=0)
    more = folder(tmp_path, "d", BASE, BASE, **{**given, "config": {"how_much": 2}})
    with pytest.raises(UsageError, match=r"/a and .*/d were scored with different --how-much"):
        compare.compare([first, same, more], resamples=0)
    without = folder(tmp_path, "e", BASE, BASE, metrics={"another": ""})
    with pytest.raises(UsageError, match="have no metric in common"):
        compare.compare([first, same, without], resamples=0)


def test_methods_are_called_by_titles_that_differ_else_by_folders(tmp_path):
    two = [folder(tmp_path, n, BASE, BASE, title="ours") for n in "ab"]
    assert list(compare.compare(two, resamples=0)["cells"]) == two
    assert list(compare.compare(two, ["x", "y"], resamples=0)["cells"]) == ["x", "y"]
    for names in (["x"], ["x", "x"], ["x", "y", "z"]):
        with pytest.raises(UsageError, match=r"--names: expected 2 different names"):
            compare.compare(two, names, resamples=0)
    with pytest.raises(UsageError, match="two or more score folders"):
        compare.compare(two[:1])


def test_a_score_is_in_the_folder_or_in_its_folder_score(tmp_path):
    place = folder(tmp_path, "a/score", BASE, BASE, title="ours")
    for given in (place, str(tmp_path / "a")):
        where, body = run.load(given)
        assert where == Path(place) and body["title"] == "ours"
    with pytest.raises(UsageError, match=r"no score.json here: run `socialcli score"):
        run.load(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("score.json", b"{", "not valid JSON"),
        ("score.json", b"[" * 100_000, "not valid JSON"),
        ("score.json", b"[1]", "not a score of `socialcli score`"),
        ("score.json", b'{"title": "a", "metrics": ["toy"]}', "not a score of `socialcli score`"),
        ("rows/toy.npz", b"PK", "cannot be read"),
        ("rows/toy.npz", b"", "cannot be read"),
        ("rows/toy.npz", None, "cannot be read"),
    ],
)
def test_what_is_no_score_is_told_in_a_line(tmp_path, file, content, said):
    folders = [folder(tmp_path, name, BASE, BASE) for name in "ab"]
    place = Path(folders[1]) / file
    data = place.read_bytes()
    place.write_bytes(data[:-300] if content is None else content)  # a copy that was cut
    with pytest.raises(UsageError, match=said) as error:
        compare.compare(folders)
    assert file in str(error.value) and "\n" not in str(error.value)

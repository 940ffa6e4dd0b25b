"""Parts of a score: what is counted, what is said, when it fails."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest

from socialcli.backends import ModelSpec
from socialcli.errors import SocialcliError
from socialcli.evaluation import run
from socialcli.evaluation.joining import Joined
from socialcli.evaluation.metrics import Column, Needs, _means
from socialcli.evaluation.samples import Known, Lost
from socialcli.pipeline import dry_run
from socialcli.records import Meta


class Said:
    """A report that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, line: str) -> None:
        self.lines.append(line)

    warn = info


def say(lost: list[Lost], total: int, rate: float) -> list[str]:
    score = SimpleNamespace(notes=["a note"], lost=lost, options=run.Options(max_error_rate=rate))
    report = Said()
    run._say(score, report, {"a.tar", "b.tar"}, (total, 3))
    return report.lines


def gone(number: int, reason: str = "why") -> Lost:
    return Lost(f"k{number}", "a.tar", reason)


def test_a_score_fails_where_more_pictures_failed_than_may():
    assert say([gone(1)], 20, 0.05)[-1] == "1 of 20 pictures could not be used whole"
    with pytest.raises(SocialcliError, match=r"1 of 19 pictures failed, more than .* 0.05; what"):
        say([gone(1)], 19, 0.05)
    # Two reasons of one picture are one picture; one key in two shards is two.
    assert say([gone(1), gone(1, "and")], 20, 0.05)[-1].startswith("1 of 20")
    with pytest.raises(SocialcliError, match="2 of 20 pictures"):
        say([gone(1), Lost("k1", "b.tar", "why")], 20, 0.05)
    with pytest.raises(SocialcliError, match="1 of 0 pictures"):
        say([gone(1)], 0, 0.9)
    with pytest.raises(SocialcliError, match="1 of 3 reference pictures failed"):
        say([Lost("k1", "of-the-references.tar", "why")], 20, 0.05)
    assert say([gone(1)], 0, 1.0)[0] == "a note" and say([], 0, 0.0) == ["a note"]


def test_five_reasons_are_told_and_the_file_has_all():
    five = say([gone(n) for n in range(5)], 100, 1.0)
    assert five[1:] == [f"a.tar: k{n}: why" for n in range(5)] + [
        "5 of 100 pictures could not be used whole"
    ]
    six = say([gone(n) for n in range(6)], 100, 1.0)
    assert six[5] == "a.tar: k4: why" and len(six) == 7
    assert six[6] == "6 of 100 pictures could not be used whole; all 6 in errors.jsonl"


def test_each_complaint_is_told_once():
    twice = [gone(1), gone(2), gone(1), gone(1, "and"), Lost("k1", "b.tar", "why")]
    assert run._distinct(twice) == [twice[0], twice[1], twice[3], twice[4]]


def test_resamples_are_those_asked_for_or_what_the_metric_can_afford():
    for asked, most, expected in ((9, None, 9), (9, 5, 5), (3, 5, 3), (0, None, 0)):
        assert run.at_most(asked, SimpleNamespace(RESAMPLES=most)) == expected


def test_where_pictures_are_from():
    """Of the source; else a miniature's are of its world, and of others nobody knows."""

    def one(info, source=None):
        records = {} if source is None else {"meta.json": Meta(8, 8, source=source)}
        real = None if source is None else Known("s", "r.tar", "", records=records)
        return Joined(Known("k", "a.tar", "", info), real)

    mini = {"model": {"model": "mini/diffusion"}}
    assert run._kind(one(mini, "photos")) == "photos"
    assert run._kind(one(mini)) == "world-0-train-0"
    assert run._kind(Joined(Known("k", "a", "", mini), Known("s", "r", ""))) == "world-0-train-0"
    for info in ({}, {"model": "mini/diffusion"}, {"model": {"model": "sd/mini"}}, {"model": {}}):
        assert run._kind(one(info)) == ""


def test_the_number_of_pictures_is_the_metrics_or_those_with_a_figure():
    own = numpy.array([1.0, numpy.nan, 0.0])
    silent, sure = (SimpleNamespace(count=lambda rows, n=n: n) for n in (None, 7))
    assert run._count(silent, {}, own) == 2 and run._count(silent, {}, None) == 0
    assert run._count(sure, {}, own) == 7
    assert run._count(SimpleNamespace(count=lambda rows: 0), {}, own) == 0


def test_an_open_end_of_a_range_is_none():
    from socialcli.evaluation.metrics import Column

    for low, high, ends in ((0, float("inf"), (0, None)), (float("-inf"), 1, (None, 1))):
        facts = run._plain(Column("a", "A", "higher", low, high, "score", "about"))
        assert (facts["range_low"], facts["range_high"]) == ends
        assert "low" not in facts and facts["title"] == "A"


def test_the_text_that_is_seen_is_the_prompt_byte_for_byte():
    texts = ["a dog", "a dog ", "a \ud800 dog"]
    digests = [run._text_digest(Known("k", "a", "", {"prompt": text})) for text in texts]
    assert len(set(digests)) == 3
    plain = {"prompt": "a <rex>", "plain_prompt": "a dog"}
    assert run._text_digest(Known("x", "b", "", plain)) == digests[0]


def test_a_score_is_as_sure_as_its_sources_not_its_pictures():
    """Eight pictures of each of two sources: a resample has one source twice, or both."""
    column = Column("x", "X", "higher", 0, 0.9, "share", "the mean of x")
    metric = SimpleNamespace(
        COLUMNS=(column,), RESAMPLES=None, INTERVAL="percentile", pictures=lambda rows: {},
        notes=lambda rows: [], count=lambda rows: 16,
        estimate=lambda rows, counts: {"x": _means.mean(rows["x"], counts)},
    )  # fmt: skip
    result = SimpleNamespace(
        cases=[SimpleNamespace(unit=unit) for unit in "ab" * 8], metrics={"toy": metric},
        rows={"toy": {"x": numpy.array([0.0, 1.0] * 8)}}, columns={}, pictures={}, notes=[],
        options=SimpleNamespace(resamples=400, seed=0),
    )  # fmt: skip
    run._measure(result, SimpleNamespace(info=lambda line: None))
    figure = result.columns["x"]
    assert (figure["value"], figure["low"], figure["high"]) == (0.5, 0.0, 0.9), "within its range"


def test_a_dry_run_lists_every_place_and_each_model_once(tmp_path, monkeypatch, capsys):
    for name in ("drawn", "real"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    for name in ("drawn.tar", "source.tar", "test.tar", "train.tar"):
        (tmp_path / name).touch()
    models = {"one": [ModelSpec("clip", "hf", "a")], "two": [ModelSpec("clip", "hf", "a"), "other"]}
    features = {
        name: SimpleNamespace(models=lambda config, name=name: models[name]) for name in models
    }
    monkeypatch.setattr(run, "_seen", lambda *_, check: SimpleNamespace(features=features))
    monkeypatch.setattr(run.settings, "chosen", lambda config: {})
    shown = []
    monkeypatch.setattr(dry_run, "show", lambda *given: shown.append(given))
    places = {n: str(tmp_path / n) for n in ("drawn", "real", "drawn.tar", "source.tar")}
    options = run.Options(
        reference=[places["source.tar"], places["real"]], test_set=[str(tmp_path / "test.tar")],
        train_set=[str(tmp_path / "train.tar")],
    )  # fmt: skip
    inputs = [places["drawn"], places["drawn.tar"]]
    run.show(inputs, "out", SimpleNamespace(metrics=[]), options)
    [(what, tars, files, specs, _)] = shown
    assert (what, [Path(tar).name for tar in tars]) == (
        "score", ["drawn.tar", "source.tar", "test.tar", "train.tar"],
    )  # fmt: skip
    assert files == ["out/score.json", "out/table.md", "out/table.tex", "out/index.html"]
    assert specs == models["two"]
    assert capsys.readouterr().out.splitlines() == [
        f"pictures in {tmp_path}/drawn", f"pictures in {tmp_path}/real",
    ]  # fmt: skip


class AsNamed:
    """Targets that say what they are of."""

    def generated(self, name, one):
        return f"{name} in {one.generated.key}"

    def reference(self, name, boxes):
        return f"{name} at {boxes}"


def test_each_picture_is_asked_for_what_some_metric_asks_of_such_pictures():
    needs = {
        "a": Needs(generated=("g2", "g1"), references=("r1",), text=("t",)),
        "b": Needs(generated=("g1",), references=("r2", "r1"), everything=("e",), training=("o",)),
    }
    drawn = Known("k", "a.tar", "0", {"prompt": "a dog"})
    silent = Known("s", "a.tar", "5")
    known = {n: Known(n, "r.tar", n) for n in ("source", "one", "two", "trained")}
    boxes = [[0.0, 0.0, 1.0, 1.0]]
    joined = [
        Joined(drawn, known["source"], [[(known["one"], boxes)], [(known["two"], [])]],
               training=[(known["trained"], boxes)]),
        Joined(silent),
    ]  # fmt: skip
    wants = run._wants(joined, {"one": known["one"]}, needs, AsNamed())
    assert [(w.key, w.jobs) for w in wants] == [
        ("k", [("g1", "g1 in k"), ("g2", "g2 in k")]),
        ("k", [("t", None)]),
        ("one", [("r1", f"r1 at {boxes}"), ("r2", f"r2 at {boxes}")]),
        ("two", [("r1", "r1 at []"), ("r2", "r2 at []")]),
        ("source", [("r1", "r1 at []"), ("r2", "r2 at []")]),
        ("trained", [("o", f"o at {boxes}")]),
        ("s", [("g1", "g1 in s"), ("g2", "g2 in s")]),
        ("one", [("e", None)]),
    ]
    assert [w.text for w in wants if w.text] == ["a dog"]
    assert run._wants(joined, known, {"a": Needs(text=("t",))}, AsNamed())[0].jobs == [("t", None)]
    assert run._wants(joined, known, {}, AsNamed()) == []

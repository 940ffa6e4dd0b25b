"""`score --train-set` and `--test-set`: what was learnt by heart shows beside what was learnt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
from standins import colour_of, png

from socialcli import backends, shards
from socialcli.errors import UsageError
from socialcli.evaluation import compare, run
from socialcli.evaluation.run import Options
from socialcli.evaluation.settings import config_type
from socialcli.records import Model

Config = config_type()
# Two subjects: pictures to train on, pictures to test with.
TRAIN = {"rex": [(200, 10, 10), (180, 40, 10)], "cup": [(10, 10, 220)]}
TEST = {"rex": [(160, 90, 20), (150, 20, 80)], "cup": [(40, 100, 180), (90, 20, 200)]}


class Colour:
    """A model that sees a picture's mean colour."""

    def __init__(self, role: str) -> None:
        self.model = Model("stand-in", "", role=role)

    def images(self, images):
        return numpy.stack([colour_of(image) for image in images])


@pytest.fixture(autouse=True)
def models(monkeypatch):
    monkeypatch.setattr(backends, "load", lambda spec: Colour(spec.role))
    info = backends.BackendInfo("stand-in", "none")
    monkeypatch.setattr(backends, "info", lambda role, name: info)


def picture(colour, subject: str) -> dict[str, bytes]:
    meta = {"schema": 1, "width": 16, "height": 12, "extra": {"subject": subject}}
    return {"png": png(colour), "meta.json": json.dumps(meta).encode()}


def of_set(place: Path, subjects: dict) -> str:
    rows = [
        (f"{name}/{n}", picture(colour, name))
        for name, colours in subjects.items()
        for n, colour in enumerate(colours)
    ]
    shards.write(place, rows)
    return str(place)


def drawn(place: Path, memorised: bool) -> str:
    """Two pictures of each test picture's prompt: either the training pictures or the test's."""
    rows = []
    for name, colours in TEST.items():
        for n, colour in enumerate(colours):
            for seed in range(2):
                info = {"prompt": f"a {name}", "seed": seed, "source_key": f"{name}/{n}"}
                shown = TRAIN[name][seed % len(TRAIN[name])] if memorised else colour
                members = {"png": png(shown), "generated.json": json.dumps(info).encode()}
                rows.append((f"{name}-{n}-{seed}", members))
    shards.write(place, rows)
    return str(place)


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, list[str]]:
    return {
        "train_set": [of_set(tmp_path / "train.tar", TRAIN)],
        "test_set": [of_set(tmp_path / "test.tar", TEST)],
    }


def score(given: str, out: Path, metrics: str = "dino,clip-i", **options):
    how = Options(**{"quiet": True, "resamples": 50, **options})
    config = Config(metrics=metrics, device="cpu", dtype="float32")
    return run.score([given], str(out), config, how)


def cosine(a, b) -> float:
    a, b = numpy.array(a, float), numpy.array(b, float)
    return float(a @ b / numpy.linalg.norm(a) / numpy.linalg.norm(b))


def test_both_sets_in_one_run_by_hand(tmp_path, sets):
    result = score(drawn(tmp_path / "a.tar", memorised=False), tmp_path / "a", **sets)
    assert list(result.metrics) == ["dino", "dino-train", "clip-i", "clip-i-train"]
    figures = {name: column["value"] for name, column in result.columns.items()}
    each = [
        numpy.mean([cosine(colour, other) for other in TRAIN[name]])
        for name, colours in TEST.items()
        for colour in colours
    ]
    assert figures["dino"] == pytest.approx(1)  # each is its test picture
    assert figures["dino_train"] == pytest.approx(numpy.mean(each))
    assert figures["dino_gap"] == pytest.approx(numpy.mean(each) - 1)
    assert figures["clip_i_gap"] == pytest.approx(figures["clip_i_train"] - figures["clip_i"])
    column = result.columns["dino_gap"]
    assert column["low"] < column["value"] < column["high"] and column["n"] == 8
    body = json.loads((tmp_path / "a" / "score.json").read_text())
    assert body["training"] == sets["train_set"] and body["reference"] == sets["test_set"]
    line = json.loads((tmp_path / "a" / "samples.jsonl").read_text().splitlines()[0])
    assert line["dino_gap"] == pytest.approx(each[0] - 1)
    assert "DINO train" in (tmp_path / "a" / "table.md").read_text()
    assert "training set" in (tmp_path / "a" / "index.html").read_text()


def test_what_was_learnt_by_heart_shows_and_compares(tmp_path, sets):
    for name, memorised in (("learnt", False), ("heart", True)):
        score(drawn(tmp_path / f"{name}.tar", memorised), tmp_path / name, "dino", **sets)
    places = [str(tmp_path / "learnt"), str(tmp_path / "heart")]
    result = compare.compare(places, ["learnt", "heart"], 200)
    cells = result["cells"]["heart"]
    assert cells["dino_train"]["difference"] > 0 > cells["dino"]["difference"]
    assert cells["dino_gap"]["difference_low"] > 0
    # Nearer to what was trained on is not better: it is described, and takes no test.
    assert cells["dino_train"]["verdict"] == cells["dino_gap"]["verdict"] == ""
    assert result["tests"] == 1


def test_pictures_without_training_pictures_are_counted(tmp_path, sets):
    alone = [of_set(tmp_path / "rex.tar", {"rex": TRAIN["rex"], "box": [(1, 2, 3)]})]
    given = drawn(tmp_path / "a.tar", memorised=True)
    result = score(given, tmp_path / "a", "dino", **{**sets, "train_set": alone})
    assert result.columns["dino_train"]["n"] == 4 and result.columns["dino"]["n"] == 8
    assert any("4 of 8 pictures have no training pictures" in note for note in result.notes)
    other = [of_set(tmp_path / "box.tar", {"box": [(1, 2, 3)], "jar": [(3, 2, 1)]})]
    with pytest.raises(UsageError, match=r"no picture's subject is in it; the first has 'rex'"):
        score(given, tmp_path / "b", "dino", **{**sets, "train_set": other})


def test_prompts_without_a_source_are_of_the_only_subject(tmp_path):
    info = {"prompt": "a <rex>", "seed": 1}
    members = {"png": png((200, 10, 10)), "generated.json": json.dumps(info).encode()}
    shards.write(tmp_path / "a.tar", [("a", members)])
    train = [of_set(tmp_path / "train.tar", {"rex": TRAIN["rex"]})]
    result = score(str(tmp_path / "a.tar"), tmp_path / "a", "dino-train", train_set=train)
    expected = numpy.mean([1.0, cosine(*TRAIN["rex"])])
    assert result.columns["dino_train"]["value"] == pytest.approx(expected)
    assert result.columns["dino_gap"]["value"] is None


def test_training_metrics_ask_for_training_pictures(tmp_path, sets):
    given = drawn(tmp_path / "a.tar", memorised=True)
    with pytest.raises(UsageError, match=r"dino-train: .* give --train-set SHARDS"):
        score(given, tmp_path / "a", "dino-train", test_set=sets["test_set"])
    result = score(given, tmp_path / "a", "dino", test_set=sets["test_set"])
    assert list(result.metrics) == ["dino"]  # and nothing else changes
    assert "training" not in json.loads((tmp_path / "a" / "score.json").read_text())

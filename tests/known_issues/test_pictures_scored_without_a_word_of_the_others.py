"""Of a folder of pictures, `score` passed over those without a ``.json`` beside them, for each may
be a contact sheet, and did not say so: a copy that had lost half of its files had a score of the
other half. ``--limit`` counted them, so that fewer pictures were scored than it asks for."""

from __future__ import annotations

import json

import alike
import pytest
from PIL import Image

from socialcli.evaluation import run
from socialcli.evaluation.settings import config_type


@pytest.fixture
def score(tmp_path, monkeypatch):
    """A score of a folder of five pictures of which 0 and 2 have nothing beside them."""
    alike.take(monkeypatch)
    folder = tmp_path / "drawn"
    folder.mkdir()
    for number in range(5):
        Image.new("RGB", (16, 16), (40 * number, 90, 90)).save(folder / f"{number}.png")
        if number not in (0, 2):
            (folder / f"{number}.json").write_text(json.dumps({"prompt": "a dog"}))
    config = config_type()(metrics="clip-t", device="cpu", dtype="float32")

    def score(**options) -> run.Score:
        chosen = run.Options(resamples=0, **options)
        return run.score([str(folder)], str(tmp_path / "out"), config, chosen)

    return score


def test_pictures_that_nothing_is_said_about_are_told(score, capsys, tmp_path):
    result = score()
    assert [case.key for case in result.cases] == ["1", "3", "4"] and not result.lost
    said = "2 pictures without a generated.json or .json beside them are left out"
    assert said in capsys.readouterr().err
    (note,) = json.loads((tmp_path / "out" / "score.json").read_text())["notes"]
    assert note.startswith(said) and "(first 0 of " in note and "--real" in note
    assert said in (tmp_path / "out" / "table.md").read_text()


def test_a_limit_counts_what_is_scored(score):
    assert [case.key for case in score(limit=2).cases] == ["1", "3"]

"""The Makefile of Inverted Interaction's table, to its end on the packaged miniatures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import members
from PIL import Image
from test_pipelines import commands, make

from socialcli import records
from socialcli.miniature.zoo import cards
from socialcli.shards import Sample

__all__ = ["commands"]  # a fixture: `make` starts commands from one preloaded process


def test_interactions_in_miniature(tmp_path: Path) -> None:
    """Exemplars, judges, words of both stages, pictures, scores, table, map and sheet."""
    printed = make("table-001-mini.mk", "-n", "SEEDS=0 1 2", f"OUT={tmp_path}")
    assert printed.count("invert ") == 18 and printed.count("generate ") == 21
    # The pose words of stage I are learned once, with and without the attention loss of stage II.
    for seed in range(3):
        assert f"--pose-words {tmp_path}/words/interaction-{seed}/poses" in printed
    assert printed.count("--stages relation ") == 3
    make(
        "table-001-mini.mk", f"OUT={tmp_path}", "SEEDS=0", "STEPS=1", "EXEMPLARS=4", "JUDGES=30",
        "JUDGE_STEPS=8", "SENTENCES=4", "VARIANTS=1", "BATCH=2", "DRAW=--steps 1",
        "ROWS=interaction text", "INVERT=--sampling-steps 1", "SCORE=--resamples 10",
    )  # fmt: skip
    reached, paper = (tmp_path / "results.md").read_text().split("The paper, Stable Diffusion")
    for row in ("Inverted Interaction", "ordinary words", "the scenes themselves"):
        assert f"| {row} |" in reached, reached
    assert "40.81" in paper and "of held-out exemplars" in reached
    columns = json.loads((tmp_path / "scores/interaction/score.json").read_text())["columns"]
    scenes = json.loads((tmp_path / "scores/scenes/score.json").read_text())["columns"]
    for name in ("pose_s", "pose_kp"):
        assert columns[f"{name}_held_out"]["value"] == scenes[f"{name}_held_out"]["value"]
        assert columns[name]["value"] is not None and scenes[name]["n"] == 4
    assert 0 < columns["clip_s"]["value"] < 1
    drawn = members(tmp_path / "drawn" / "interaction-0")
    record = json.loads(next(iter(drawn.values()))["generated.json"])
    assert "<" in record["prompt"] and "<" not in record["plain_prompt"]
    for name in ("words.png", "pictures.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 200
    _clip_s_by_hand(tmp_path)


def _clip_s_by_hand(place: Path) -> None:
    """CLIP-S of one picture from CLIP itself."""
    from socialcli import backends
    from socialcli.vision import images

    line = json.loads((place / "scores/text/samples.jsonl").read_text().splitlines()[0])
    clip = backends.load(backends.ModelSpec("clip", "clip", str(cards.folder("clip"))))
    asked = Sample("k", members(place / "sentences")[line["unit"]])
    first, second = (e.head for e in asked.record(records.Entities).entities)
    article = {True: "an", False: "a"}
    text = (
        f"A photo of {article[first[0] in 'aeiou']} {first} and "
        f"{article[second[0] in 'aeiou']} {second}"
    )
    picture = images.decode(Sample("k", members(place / "drawn/text-0")[line["key"]]).picture())
    wanted = float(clip.texts([text])[0] @ clip.images([picture])[0])
    assert line["clip_s"] == pytest.approx(wanted, abs=1e-4)

"""The revision of a trained folder counted its log, in which seconds stand, and its checkpoints.

Pictures drawn with the words of two equal trainings named two models, though their pixels were the
same, and removing checkpoints that nobody needs made finished pictures those of another run.
"""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path

import pytest
from parts import part
from PIL import Image
from tiny import diffusion as tiny

from socialcli import shards
from socialcli.backends import naming
from socialcli.training import loop


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Two equal trainings, which leave much beside their result, and one of another seed."""
    place = tmp_path_factory.mktemp("runs")
    model = str(tiny.stable_diffusion(place / "model"))
    with io.BytesIO() as png:
        Image.new("RGB", (32, 32), "teal").save(png, "PNG")
        meta = json.dumps({"schema": 1, "width": 32, "height": 32}).encode()
        shards.write(place / "a.tar", [("ball", {"png": png.getvalue(), "meta.json": meta})])
    method = part("methods.invert", "textual-inversion")
    usual = {
        f.name: f.default if f.default is not dataclasses.MISSING else f.default_factory()
        for f in dataclasses.fields(method.Config)
    }
    given = {"model": model, "device": "cpu", "dtype": "float32", "steps": 2, "quiet": True,
             "concept": ["<ball>=ball"], "initial_word": ["dog"]}  # fmt: skip
    given |= {"validate_every": 1, "save_every": 1, "sampling_steps": 1}
    for name, seed in {"one": 0, "again": 0, "other": 1}.items():
        values = {**usual, **given, "seed": seed}
        loop.run("invert", "textual-inversion", method, values, [str(place / "a.tar")],
                 str(place / name))  # fmt: skip
    return place


def test_equal_trainings_are_one_model(runs):
    one, again, other = (naming.revision(str(runs / name)) for name in ("one", "again", "other"))
    assert (runs / "one" / "log.jsonl").read_text() != (runs / "again" / "log.jsonl").read_text()
    assert one == again != other


def test_what_is_no_result_may_go(runs, tmp_path):
    kept = tmp_path / "kept"
    shutil.copytree(runs / "one", kept)
    before = naming.revision(str(kept))
    for folder in ("checkpoints", "pictures", "cache", "step-000001"):
        shutil.rmtree(kept / folder)
    (kept / "log.jsonl").unlink()
    assert naming.revision(str(kept)) == before
    word = kept / "learned_embeds.safetensors"
    word.write_bytes(word.read_bytes() + b" ")
    assert naming.revision(str(kept)) != before


def test_a_training_within_another_is_told_by_its_result_too(runs, tmp_path):
    """As the pose words in the folder of an interaction."""
    shutil.copytree(runs / "other", tmp_path / "both")
    shutil.copytree(runs / "one", tmp_path / "both" / "poses")
    before = naming.revision(str(tmp_path / "both"))
    shutil.rmtree(tmp_path / "both" / "poses" / "checkpoints")
    assert naming.revision(str(tmp_path / "both")) == before


def test_a_model_that_no_training_made_is_told_by_all_its_files(tmp_path):
    for name in ("checkpoints/a.bin", "pictures/b.png", "log.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
        before = naming.revision(str(tmp_path))
        (tmp_path / name).write_bytes(b"2")
        assert naming.revision(str(tmp_path)) != before

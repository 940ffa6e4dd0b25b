"""The template package of the documents, installed as a stranger would, and each part of it run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT
from PIL import Image

from socialcli import shards

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, program: list[str]):
    """``run("import", "pairs", ...)`` where the template is installed; gives stdout."""
    pytest.importorskip("setuptools")
    place = tmp_path_factory.mktemp("template")
    source = shutil.copytree(ROOT / "docs" / "template", place / "source")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target",
               str(place / "site"), "--no-build-isolation", str(source)]  # fmt: skip
    subprocess.run(install, check=True, capture_output=True)
    path = os.pathsep.join([str(place / "site"), str(ROOT)])

    def run(*words: object) -> str:
        done = subprocess.run(
            [*program, *map(str, words)], capture_output=True, text=True, check=False,
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


@pytest.fixture(scope="module")
def captioned(run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, imported by the template's importer and captioned by its backend."""
    place = tmp_path_factory.mktemp("pairs")
    for name, color in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (48, 32), color).save(place / f"{name}.png")
        (place / f"{name}.prompt").write_text(f"a {color} picture")
    run("import", "pairs", place, "-o", place / "images")
    run("caption", place / "images", "-o", place / "captions", "--backend", "picture-size")
    return place


def test_an_importer_and_a_backend(captioned: Path) -> None:
    first, second = shards.read(str(next((captioned / "captions").glob("*.tar"))))
    assert (first.key, second.key) == ("a", "b")
    assert first.members["txt"] == b"a red picture"
    assert json.loads(first.members["caption.json"])["text"] == "A picture of 48 by 32 pixels."


def test_a_stage(run, captioned: Path) -> None:
    assert "Count the words of each caption." in run("--help")
    run("count-words", captioned / "captions", "-o", captioned / "words")
    sample = next(iter(shards.read(str(next((captioned / "words").glob("*.tar"))))))
    assert json.loads(sample.members["words.json"]) == {"words": 7}
    run("count-words", captioned / "captions", "-o", captioned / "none", "--min-words", 8)
    kept = [s.key for s in shards.read(str(next((captioned / "none").glob("*.tar")))) if s.key]
    assert not kept


def test_a_method_of_generate(run, tmp_path: Path) -> None:
    """Two equal prompts draw what one draws; another outer prompt draws something else."""
    assert "--method layered" in run("generate", "--help")
    common = ["generate", "--profile", "mini", "--prompt", "a man holds a cup", "--steps", 3]
    common += ["--format", "files", "--no-provenance"]
    run(*common, "-o", tmp_path / "text")
    run(*common, "-o", tmp_path / "same", "--method", "layered")
    run(*common, "-o", tmp_path / "other", "--method", "layered", "--outer-prompt", "a blue sky")
    text, same, other = (
        next((tmp_path / n).rglob("*.png")).read_bytes() for n in ("text", "same", "other")
    )
    assert text == same != other


def test_a_metric_and_its_feature(run, captioned: Path) -> None:
    help_text = " ".join(run("score", "--help").split())
    assert "bright, " in help_text and "--brightest" in help_text
    images = captioned / "images"
    table = run("score", images, "--real", "--metrics", "bright", "-o", captioned / "score",
                "--resamples", 10)  # fmt: skip
    assert "| Brightness | ↑ | 0.3333 |" in table


def test_a_feedback(run) -> None:
    help_text = " ".join(run("train", "--help").split())
    assert "--weight-tone" in help_text and "--gate-tone" in help_text
    assert "Timesteps of the tone feedback. [default: 0-300]" in help_text
    assert "gaze, pose, interaction, tone, with commas; all or none." in help_text

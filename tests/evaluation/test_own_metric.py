"""A metric and a feature of another package: one file each, found by entry points."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import ENVIRONMENT
from standins import png

from socialcli import registry, shards
from socialcli.config import option
from socialcli.errors import SocialcliError
from socialcli.evaluation import settings

FEATURE = '''
"""How bright a picture is: ``level`` from 0 to 1."""

from dataclasses import dataclass

from socialcli.config import option
from socialcli.evaluation.features import Feature


@dataclass
class Options:
    brightest: float = option(255.0, "The value that counts as 1.")


class Brightness(Feature):
    config_type = Options

    def models(self, config):
        return ()

    def options(self, config):
        return {"brightest": config.brightest}

    def run(self, config, models, looks):
        import numpy

        return [{"level": float(numpy.mean(look.image)) / config.brightest} for look in looks]
'''
METRIC = '''
"""Brightness: how bright the pictures are."""

from dataclasses import dataclass

from socialcli.config import option
from socialcli.evaluation.metrics import Column, Metric, Needs


@dataclass
class Options:
    darker: bool = option(False, "Count how dark they are instead.")


class Bright(Metric):
    SOURCE = "none"
    COLUMNS = (Column("bright", "Brightness", "higher", 0, 1, "share", "mean brightness"),)
    OPTIONS = ("brightest", "darker")
    config_type = Options

    def needs(self, config):
        return Needs(generated=("brightness",))

    def rows(self, cases, context):
        import numpy

        levels = numpy.array([case.generated.get("brightness", "level") for case in cases])
        return {"level": 1 - levels if context.config.darker else levels}

    def pictures(self, rows):
        return {"bright": rows["level"]}

    def estimate(self, rows, counts):
        import numpy

        with numpy.errstate(invalid="ignore"):
            return {"bright": counts @ rows["level"] / counts.sum(1)}
'''


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    entries = folder / "own_metric-1.0.dist-info" / "entry_points.txt"
    entries.parent.mkdir(parents=True)
    entries.write_text(
        "[socialcli.metrics]\nbright = own_bright\n[socialcli.features]\nbrightness = own_level\n"
    )
    (entries.parent / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: own-metric\nVersion: 1.0\n"
    )
    (folder / "own_bright.py").write_text(METRIC.lstrip())
    (folder / "own_level.py").write_text(FEATURE.lstrip())
    return folder


@pytest.fixture
def socialcli(program: list[str], package: Path):
    """``socialcli("score", ...)`` where the package is installed."""
    path = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": path}

    def run(*args: object) -> subprocess.CompletedProcess[str]:
        line = [*program, *map(str, args)]
        return subprocess.run(
            line, capture_output=True, text=True, env=environment, timeout=300, check=False
        )

    return run


def test_it_is_listed_and_scores(socialcli, tmp_path: Path) -> None:
    help_text = socialcli("score", "--help").stdout
    assert (
        "--brightest" in help_text
        and "--darker" in help_text
        and "bright, " in " ".join(help_text.split())
    )
    rows = [(f"{n}", {"png": png((v, v, v))}) for n, v in enumerate((0, 102, 204))]
    shards.write(tmp_path / "in.tar", rows)
    arguments = ("score", tmp_path / "in.tar", "--real", "--metrics", "bright", "--resamples", 9)
    done = socialcli(*arguments, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    body = json.loads((tmp_path / "out" / "score.json").read_text())
    assert body["columns"]["bright"]["value"] == pytest.approx(0.4)
    assert body["config"]["brightest"] == 255.0
    profile = tmp_path / "p.toml"
    profile.write_text("[score]\ndarker = true\nbrightest = 510\n")
    done = socialcli(*arguments, "-o", tmp_path / "dark", "--profile", profile)
    assert done.returncode == 0, done.stderr
    body = json.loads((tmp_path / "dark" / "score.json").read_text())
    assert body["columns"]["bright"]["value"] == pytest.approx(0.8)
    done = socialcli("score", "--compare", tmp_path / "out", tmp_path / "dark")
    assert done.returncode == 2 and "different --brightest" in done.stderr


def test_a_misspelt_hook_is_refused(socialcli, package: Path, tmp_path: Path) -> None:
    (package / "own_bright.py").write_text(METRIC.lstrip().replace("def pictures", "def picture"))
    done = socialcli("score", tmp_path, "--metrics", "bright", "-o", tmp_path / "out")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "Bright.picture is no hook of its base. Did you mean 'pictures'?" in done.stderr


def test_options_of_one_name_must_be_one_option(monkeypatch) -> None:
    import dataclasses

    part = registry.load("metrics", "hoi")
    other = dataclasses.make_dataclass("Options", [("crops", str, option("all", "Another."))])
    monkeypatch.setattr(type(part), "config_type", other)
    with pytest.raises(
        SocialcliError, match=r"metrics clip-i and metrics hoi both have .* 'crops'"
    ):
        settings.config_type.__wrapped__()

"""On Python 3.13 and 3.14 neither `make demo` nor `make test` could install.

The pinned MediaPipe has wheels for 3.11 and 3.12 only, while the package says 3.11 or newer.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from socialcli.errors import MissingPackage

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_set_up_asks_for_it_only_where_it_is_built(python):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(text) for text in project["dependencies"]]
    for extra in ("mediapipe", "samples", "ray", "dev"):  # what the Makefile installs
        wanted += [Requirement(text) for text in project["optional-dependencies"][extra]]
    here = {"python_version": python, "python_full_version": f"{python}.0"}
    asked = {one.name for one in wanted if one.marker is None or one.marker.evaluate(here)}
    assert ("mediapipe" in asked) == (python in ("3.11", "3.12"))
    assert {"torch", "insightface", "ray", "pycocotools"} <= asked


def test_the_demo_does_without_photographs():
    def steps(photographs: str) -> str:
        command = ["make", "-n", "-f", "pipelines/demo.mk", f"PHOTOGRAPHS={photographs}", "OUT=o"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "photographs.mk" in steps("yes") and '--link "Photographs' in steps("yes")
    without = steps("")
    assert "photographs.mk" not in without and '--link "Photographs' not in without
    assert "the report has no photographs" in without and "inspect o/world" in without


def test_the_message_does_not_send_to_an_extra_that_brings_nothing(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 13, 0, "final", 0))
    assert "Python 3.11 or 3.12" in str(MissingPackage("mediapipe", "mediapipe"))
    monkeypatch.setattr(sys, "version_info", (3, 12, 0, "final", 0))
    assert "pip install" in str(MissingPackage("mediapipe", "mediapipe"))

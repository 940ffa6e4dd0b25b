"""``make -f "$(socialcli pipelines table-004-mini)"`` named the package's ControlNet by a path
that is there only where the working directory is a checkout."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("installed", [True, False])
def test_the_controlnet_is_found_from_anywhere(installed: bool, tmp_path: Path) -> None:
    pipelines = ROOT / "pipelines"
    if installed:  # as pyproject.toml lays the package out
        pipelines = tmp_path / "site" / "socialcli" / "shipped_pipelines"
        shutil.copytree(ROOT / "pipelines", pipelines)
        (pipelines.parent / "miniature" / "weights" / "controlnet").mkdir(parents=True)
    done = subprocess.run(
        ["make", "-n", "-f", str(pipelines / "table-004-mini.mk"), f"OUT={tmp_path}/out"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    named = set(re.findall(r"--controlnet-model (\S+)", done.stdout))
    assert len(named) == 1 and (tmp_path / named.pop()).is_dir()

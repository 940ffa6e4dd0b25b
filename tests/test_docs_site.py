"""The documentation site builds without a broken link, and what it shows can be done."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs" / "site" / "mkdocs.yml"


def build(config: Path, out: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-f", str(config),
            "-d", str(out)]  # fmt: skip
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(line, capture_output=True, text=True, env=environment, check=False)


def test_the_site_builds_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    done = build(SITE, tmp_path / "site")
    assert done.returncode == 0, done.stderr[-3000:]
    reference = (tmp_path / "site" / "api" / "parts.html").read_text(encoding="utf-8")
    assert "socialcli.generation.method.GenerateMethod" in reference


def test_every_page_stands_in_the_menu() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", SITE.read_text()))
    pages = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    pages = {p for p in pages if not p.startswith(("site/", "template/"))}
    assert pages == listed


@pytest.mark.slow
def test_the_tutorial_can_be_followed(program: list[str], tmp_path: Path) -> None:
    """Every console block of the tutorial, in its order, in an empty folder."""
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```console\n(.*?)```", text, re.S)
             for line in block.splitlines()]  # fmt: skip
    assert len(lines) > 8
    for line in lines:
        name, *words = shlex.split(line)
        assert name == "socialcli", line
        done = subprocess.run(
            [*program, *words], cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
    for file in ("report/index.html", "runs/word/learned_embeds.safetensors", "scores/score.json"):
        assert (tmp_path / file).is_file(), file

"""The messages printed ``pip install 'socialcli[ray]'``, which installs another program: the public
index has a proprietary one under that name, with a command of the same name."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from socialcli.errors import DISTRIBUTION, MissingPackage, install

ROOT = Path(__file__).parents[2]


def test_the_distribution_has_a_name_of_its_own():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == DISTRIBUTION != "socialcli"
    assert list(project["scripts"]) == ["socialcli"]


def test_no_line_installs_somebody_elses_program():
    files = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("pipelines/*")]
    files += [*ROOT.glob("socialcli/**/*.py"), ROOT / "Makefile", ROOT / "Dockerfile"]
    for file in files:
        if file.is_file():
            for line in re.findall(r"pip3? install[^\n`]*", file.read_text()):
                assert not re.search(r"\bsocialcli(?!-toolkit|/)\b", line), f"{file}: {line}"


def test_messages_install_an_extra_that_there_is():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert install("ray") == "pip install 'socialcli-toolkit[ray]'"
    assert install("ray") in str(MissingPackage("Ray", "ray"))
    used = set()
    for file in ROOT.glob("socialcli/**/*.py"):
        used |= set(re.findall(r'MissingPackage\([^)]*, "(\w+)"\)', file.read_text()))
        if "backends" in file.parts:
            used |= set(re.findall(r'extra="(\w+)"', file.read_text()))
    assert used and used <= set(project["optional-dependencies"])


def test_the_readme_says_what_this_is_not():
    text = (ROOT / "README.md").read_text()
    assert DISTRIBUTION in text and "Not the `socialcli` of the public package index" in text

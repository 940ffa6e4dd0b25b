"""A finished table's Makefile with one more row in ROWS said ``table: ...`` and made nothing:
``.SECONDARY:`` without names makes every missing file one that nobody asks for. And a run with
other values in the folder of an earlier one kept what that had made: a first look of 20 steps
became seed 0 of the whole table. Here `make` decides over files that a stand-in makes at once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from socialcli.cli.commands.pipelines import available

ROOT = Path(__file__).parents[2]
NAMES = sorted(file.name for file in available().values())
# Makes the folder or file of each -o, with the files that a target may be, and notes the call. As
# commands do, it refuses a folder that another call made, whichever its slice; scores and reports
# are written over.
STAND_IN = r"""#!/bin/sh
echo "$*" >> CALLS
call=$(echo "$*" | sed 's/ --slice [0-9/]*//')
case "$*" in
  *"curves blur"*) mkdir -p "$5";;
  score*) files="score.json compare.json compare.md";;
  inspect*) files=index.html;;
  invert*) files="words.safetensors learned_embeds.safetensors";;
  train*) files="model.safetensors pytorch_lora_weights.safetensors delta.bin
    pose_judge.safetensors";;
esac
case "$*" in
  *--class-pictures*) ;;
  train*"method dreambooth"*) classes=class-pictures;;
esac
while [ $# -gt 0 ]; do
  case $1 in
    -o|--out|--grid|--write-curves)
      case $2 in
        *.tar|*.png|*.json|*.svg|*.md) mkdir -p "$(dirname "$2")"; touch "$2";;
        *) mkdir -p "$2/$classes"
          case $call in
            score*|inspect*|merge*|export*|-m*|compare*) ;;
            *) [ "$(cat "$2/.call" 2>/dev/null || echo "$call")" = "$call" ] || {
                 echo "$2 was made by another run: $(cat "$2/.call"); now $call" >&2; exit 2; }
               echo "$call" > "$2/.call";;
          esac
          for file in $files; do touch "$2/$file"; done;;
      esac;;
  esac
  shift
done
"""
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


class Table:
    """One Makefile in one folder, and what it called."""

    def __init__(self, name: str, place: Path) -> None:
        self.name, self.out, self.calls = name, place / "out", place / "calls"
        self.tool = place / "tool"
        self.tool.write_text(STAND_IN.replace("CALLS", str(self.calls)))
        self.tool.chmod(0o755)
        (place / "people" / "ann").mkdir(parents=True)
        (place / "sentences.csv").write_text("interaction,first,second,sentence\n")
        self.given = [f"PEOPLE={place}/people"] if name == "table-003.mk" else []
        self.given += [f"SENTENCES={place}/sentences.csv"] if name == "table-001.mk" else []

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        return subprocess.run(
            ["make", "-f", str(ROOT / "pipelines" / self.name), f"SOCIALCLI={self.tool}",
             f"PYTHON={self.tool}", f"OUT={self.out}", *self.given, *arguments],
            cwd=self.out.parent, env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    def called(self, *arguments: str) -> list[str]:
        done = self.make(*arguments)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr
        return self.made()

    def made(self) -> list[str]:
        """The calls of the last run, without the demo's question what is installed."""
        return [c for c in self.calls.read_text().splitlines() if not c.startswith("models ")]


@pytest.mark.parametrize("name", NAMES)
def test_a_finished_run_is_finished_and_other_values_are_refused(name: str, tmp_path: Path) -> None:
    table = Table(name, tmp_path)
    assert table.called() and not table.called()
    before = (table.out / ".made-with").read_text()
    # Every one that is written there, and no other.
    for line in before.splitlines():
        variable, value = line.split("=", 1)
        done = table.make(f"{variable}=9{value}")
        said = re.search(r"out was made with (.*), not with (.*): take another", done.stderr)
        assert done.returncode == 2 and said, (variable, done.stderr)
        assert line in said[1] and f"{variable}=9{value}" in said[2]
        assert done.stderr.count("\n") == 1 and not table.made()
    assert (table.out / ".made-with").read_text() == before and not table.called()
    # Before a variable was there what was made had its default, and somebody may give just that.
    older = ["OLDER=", *table.given]
    (table.out / ".made-with").write_text("".join(f"{line}\n" for line in older))
    assert not table.called() and not table.called(*before.splitlines())
    (table.out / ".made-with").unlink()
    assert not table.called()


@pytest.mark.parametrize("name", ["table-001-mini.mk", "overfit-mini.mk"])
def test_what_was_made_before_a_variable_was_there_has_its_default(name, tmp_path) -> None:
    table = Table(name, tmp_path)
    assert table.called()
    noted = table.out / ".made-with"
    whole = noted.read_text().splitlines()
    variable, value = next(line for line in whole if line.startswith("BATCH=")).split("=")
    older = ["OLDER=1", *(line for line in whole if not line.startswith("BATCH="))]
    noted.write_text("".join(f"{line}\n" for line in older))
    assert not table.called()
    done = table.make(f"{variable}=9{value}")
    assert f"out was made with its default, not with {variable}=9{value}: take" in done.stderr
    assert done.returncode == 2 and not table.made()


def test_a_default_is_that_of_the_profile(tmp_path) -> None:
    table = Table("social-feedback.mk", tmp_path)
    assert table.called("PROFILE=mini")
    (table.out / ".made-with").write_text("PROFILE=mini\n")
    assert not table.called("PROFILE=mini", "HICO_STEPS=20", "SCENES=512", "SSR=", "RATES=   "
                            "--learning-rate 5e-4 --aligner-learning-rate 5e-6")  # fmt: skip
    done = table.make("PROFILE=mini", "HICO_STEPS=100", "GAZE_STEPS=40")
    assert "was made with its default, not with HICO_STEPS=100: take" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_leaves_nothing(name: str, tmp_path: Path) -> None:
    table = Table(name, tmp_path)
    done = table.make("-n")
    assert done.returncode == 0, done.stderr
    assert not table.out.exists() or not list(table.out.rglob("*"))


CHOICES = [
    ("table1-mini.mk", "ROWS=plain all", "ROWS=plain all open", "train .*/open-2 "),
    ("table1-mini.mk", "ROWS=plain all", "ROWS=plain", "--compare [^ ]*/plain [^ ]*/ssr -o"),
    ("table1-mini.mk", "SEEDS=0", "SEEDS=0 1", "generate .*/pose-1 "),
    ("table1-mini.mk", "METRICS=face", "METRICS=face,hoi", "score .*face,hoi .*--title inverse"),
    ("table-001-mini.mk", "ROWS=text", "ROWS=text p-plus", "invert .*/p-plus-0"),
    ("table-002-mini.mk", "METHODS=ti", "METHODS=ti neti", "invert .*/neti-2 "),
    ("table-002-mini.mk", "SCHEDULES=", "BASE=ti SCHEDULES=zero", "invert .*zero-0 .*over textual"),
    ("table-002-mini.mk", "SCHEDULES=one", "SCHEDULES=one BASE=ti", "invert .*one-0 .*over textu"),
    ("table-003-mini.mk", "ROWS=identity", "ROWS=identity ti", "generate .*/ti-2 "),
    ("table-003-mini.mk", "SEEDS=0 1", "SEEDS=1", "score .*/ordinary-1 --metrics prompt"),
    ("table-004-mini.mk", "ROWS=words", "ROWS=words free", "generate .*/free-0 "),
    ("table-004-mini.mk", "ROWS=words free", "ROWS=words", "table004 [^ ]*/words( >|$)"),
    ("overfit-mini.mk", "SEEDS=0", "SEEDS=0 1", "invert .*/words/1 "),
    ("table-000-1.mk", "MIP=", "MIP=a.bin", "generate .*/mip-adapter .*a.bin"),
    ("table-000-1.mk", "MIP=a.bin", "MIP=b.bin", "generate .*/mip-adapter .*b.bin"),
    ("table-000-3.mk", "OURS=one", "OURS=two", "generate .*ssr-model two"),
    ("table-000-3.mk", "DREAMBENCH=", "DREAMBENCH=there", "import dreambooth there"),
    ("table-001.mk", "ROWS=sd", "ROWS=sd interaction", "invert .*/interaction"),
    ("table-003.mk", "NAMES=", "NAMES=names.txt", "invert .*celeb-basis"),
    ("table-003.mk", "THRESHOLD=0.2", "THRESHOLD=0.3", "score .*threshold 0.3"),
    ("concept101.mk", "PROMPTS=1", "PROMPTS=2", "score .*one/1 "),
    ("social-feedback.mk", "SCORE=", "SCORE=--more", "score .*--more"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "first", "then", "wanted"), CHOICES)
def test_what_another_choice_lacks_is_made(
    name: str, first: str, then: str, wanted: str, tmp_path: Path
) -> None:
    table = Table(name, tmp_path)
    goals = ["all", "scores"] if name == "social-feedback.mk" else []
    first, then = ([*goals, *re.split(r" (?=[A-Z]+=)", words)] for words in (first, then))
    assert table.called(*first)
    planned = table.make("-n", *then).stdout.replace("\\\n", "")
    assert re.search(wanted, planned), planned
    # What was planned was not remembered as done.
    made = table.called(*then)
    assert any(re.search(wanted, call) for call in made), made
    assert not table.called(*then)


@pytest.mark.parametrize("first", [["SEEDS=0 1"], ["SEEDS=2"], ["SEEDS=2", "SEEDS=0"]])
def test_class_pictures_are_of_one_seed_whichever_are_asked_for(first, tmp_path: Path) -> None:
    table = Table("table-004-mini.mk", tmp_path)
    rows = "ROWS=words dreambooth custom-diffusion"
    trained: dict[str, str] = {}
    for seeds in [*first, "SEEDS=1 0", "SEEDS=1", "SEEDS=1 2", "SEEDS=0 1 2"]:
        for call in table.called(seeds, rows):
            if call.startswith("train") and "segmentation" not in call:
                folder = call.split(" -o ")[1].split()[0]
                assert folder not in trained, call
                trained[folder] = call
    assert len(trained) == 6
    drawn = table.out / f"dreambooth-{first[0][6]}"
    assert "--class-pictures" not in trained.pop(str(drawn))
    assert all(f" --class-pictures {drawn}/class-pictures " in c for c in trained.values())


def test_what_another_value_made_is_moved_and_nothing_else(tmp_path: Path) -> None:
    """Commands refuse a folder of another run, so that it was in the way of what was asked for."""
    table = Table("table-000-3.mk", tmp_path)
    table.called("OURS=one")
    pictures = [folder / "picture" for folder in (table.out / "concept101").iterdir()]
    for picture in pictures:
        picture.touch()
    table.called("OURS=two")
    assert [p.parent.name for p in pictures if not p.exists()] == ["ours"]
    assert (table.out / "earlier" / "concept101-ours-1" / "picture").exists()  # nothing is lost
    # Nobody knows what an earlier version's folder was made with: the command says so.
    (ours,) = (picture for picture in pictures if not picture.exists())
    ours.touch()
    for noted in (table.out / ".when").glob("*-of-*"):
        noted.unlink()
    done = table.make("OURS=one")
    assert done.returncode == 2 and "ours was made by another run" in done.stderr
    assert ours.exists()


def test_a_file_that_is_gone_is_made_again(tmp_path: Path) -> None:
    table = Table("table1-mini.mk", tmp_path)
    table.called("SEEDS=0")
    (table.out / "pictures" / "gaze-0" / ".done").unlink()
    made = table.called("SEEDS=0")
    assert any("generate" in call and "gaze-0" in call for call in made), made
    assert not any(call.startswith("train") for call in made)

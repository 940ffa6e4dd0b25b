"""The command line itself: what it imports, lists, says, and ends with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from socialcli.cli.app import ORDER, ImportGroup, LazyGroup

# What makes a start slow. Typer's own needs and the standard library are all that may be imported.
HEAVY = (
    "torch", "torchvision", "transformers", "tokenizers", "diffusers", "accelerate", "peft",
    "webdataset", "datasets", "spacy", "thinc", "numpy", "scipy", "pandas", "PIL", "cv2", "skimage",
    "onnxruntime", "onnx", "insightface", "mediapipe", "pycocotools", "ray", "fsspec", "tqdm",
    "msgspec", "huggingface_hub", "safetensors", "braceexpand", "requests", "matplotlib", "rich",
)  # fmt: skip
NINE = ["caption", "extract-entities", "ground", "segment", "annotate-pose", "train", "invert",
        "generate", "score"]  # fmt: skip
COMMANDS = sorted(set(LazyGroup().files()))
IMPORTERS = sorted(ImportGroup().files())

PROBE = """
import sys
before = set(sys.modules)
sys.argv = ["socialcli", *sys.argv[1:]]
from socialcli.cli.app import main
try:
    main()
except SystemExit as end:
    code = end.code or 0
sys.stdout.flush()
print("\\nMODULES", code, *sorted({m.partition(".")[0] for m in set(sys.modules) - before}))
"""


def probe(*arguments: str) -> tuple[int, str, set[str]]:
    """Exit code, what was printed, and the top-level modules imported for it."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    text, _, last = done.stdout.rpartition("\nMODULES ")
    code, *modules = last.split()
    return int(code), text, set(modules)


def heavy(modules: set[str]) -> set[str]:
    return modules & set(HEAVY)


def test_the_probe_can_tell():
    done = subprocess.run(
        [sys.executable, "-c", "import numpy\n" + PROBE.replace("before = set", "before = set()#"),
         "--help"], capture_output=True, text=True,
    )  # fmt: skip
    assert "numpy" in done.stdout.rpartition("MODULES")[2].split()


HELPS = [[], *([c] for c in COMMANDS), *(["import", i] for i in IMPORTERS)]


@pytest.mark.parametrize("command", HELPS, ids=" ".join)
def test_help_imports_nothing_heavy(command):
    code, text, modules = probe(*command, "--help")
    assert code == 0 and "Usage: socialcli" in text
    assert heavy(modules) == set()
    assert "Error" not in text


def test_other_quick_answers_import_nothing_heavy(tmp_path):
    for arguments in (["--version"], ["models"], ["models", "--json"]):
        code, _, modules = probe(*arguments)
        assert code == 0 and heavy(modules) == set(), arguments


def test_the_nine_subcommands_and_their_company(run_cli):
    text = run_cli("--help").stdout.decode()
    lines = text.partition("Commands:")[2].splitlines()
    lines = [line.split() for line in lines if line.startswith("  ") and line[2:3].strip()]
    named = [words[0] for words in lines]
    for command in [*NINE, "import", "validate", "merge", "models"]:
        assert command in named
    assert all(len(words) > 3 for words in lines)  # each says what it does
    order = [command for command in ORDER if command in named]
    assert named[: len(order)] == order
    assert "work" not in named


def test_every_stage_has_every_running_option(run_cli):
    from socialcli.pipeline.run import RunOptions

    for command in ("caption", "extract-entities", "ground", "segment", "annotate-pose"):
        text = run_cli(command, "--help").stdout.decode()
        for field in RunOptions.__dataclass_fields__:
            assert f"--{field.replace('_', '-')}" in text, (command, field)
        for flag in ("--output", "--profile"):
            assert flag in text


def test_unknown_things_are_usage_errors(run_cli):
    for arguments, word in [
        (["paint"], "paint"),
        (["caption", "--colour", "red", "x.tar", "-o", "y"], "--colour"),
        (["caption"], "INPUTS"),
        (["import", "cheese", "x", "-o", "y"], "cheese"),
        (["models", "cheese"], "caption"),
        (["caption", "x.tar", "-o", "y"], "x.tar"),
    ]:
        done = run_cli(*arguments, code=2)
        assert word.lower() in done.stderr.decode().lower(), done.stderr


def test_an_unknown_backend_names_those_there_are(run_cli, make_shards, tmp_path):
    folder = make_shards(1, 1)
    done = run_cli("caption", "--backend", "cheese", folder, "-o", tmp_path / "o", code=2)
    assert b"no caption backend 'cheese'" in done.stderr and b"given" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_models_as_json(run_cli):
    body = json.loads(run_cli("models", "--json").stdout)
    roles = {row["role"] for row in body["backends"]}
    assert {"caption", "ground", "segment", "pose", "gaze"} <= roles
    for row in body["backends"]:
        assert row["licence"] and row["summary"], row["name"]
        if "/" in row["model"]:
            assert row["get"], f"{row['name']}: how does one get {row['model']}?"
    assert body["profiles"]


def test_version_and_no_arguments(run_cli):
    from socialcli import __version__

    assert run_cli("--version").stdout.decode().strip() == __version__
    done = run_cli(code=None)
    assert done.returncode in (0, 2) and b"Usage" in done.stdout + done.stderr


def completed(shell: str, line: str) -> str:
    """What a shell asks the installed script for while somebody presses Tab, and its answer."""
    code = "import sys; sys.argv = ['socialcli']; from socialcli.cli.app import main; main()"
    asked = {
        "_SOCIALCLI_COMPLETE": f"complete_{shell}", "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1), "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **asked}
    )
    assert not done.stderr
    return done.stdout


def test_completion_of_commands_in_each_shells_own_form():
    assert completed("bash", "socialcli ann").split() == ["annotate-pose"]
    assert completed("zsh", "socialcli ann").startswith('_arguments \'*: :(("annotate-pose":')
    assert completed("fish", "socialcli ann").startswith("annotate-pose\tFind people")


@pytest.mark.parametrize(
    "line, values",
    [
        ("socialcli caption --backend fl", ["florence2"]),
        (
            "socialcli score --metrics clip-t,d",
            [f"clip-t,{name}" for name in ("detect", "detect-f", "dino", "dino-train")],
        ),
        ("socialcli train --method t", ["text-to-image", "tiny-decoder"]),
        ("socialcli train --gaze-term ", ["point", "heatmap"]),
        ("socialcli generate --profile m", ["mini"]),
        ("socialcli ground --device c", ["cpu", "cuda"]),
        ("socialcli segment --on-error ", ["keep", "drop"]),
        ("socialcli segment --model ", []),
    ],
)
def test_completion_of_values(line, values):
    assert completed("bash", line).split() == values


def test_completion_for_a_shell_that_is_named(run_cli):
    for shell, word in (("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "--command")):
        assert word in run_cli("--show-completion", shell).stdout.decode()
    done = run_cli("--show-completion", "fsh", code=2)
    assert b"no shell 'fsh'. Did you mean 'fish'?" in done.stderr


def test_the_help_of_training_begins_with_what_matters(run_cli):
    text = run_cli("train", "--help").stdout.decode()
    titles = re.findall(r"^(\w.*):$", text, re.M)
    assert titles[:3] == ["Arguments", "To begin with", "Optimisation"] and titles[-1] == "Others"
    assert len(titles) > 8
    sections = dict(zip(titles, re.split(r"^\w.*:$", text, flags=re.M)[1:], strict=True))
    first = re.findall(r"^  (?:-o, )?(--[\w-]+)", sections["To begin with"], re.M)
    assert 8 <= len(first) <= 13 and {"--output", "--steps", "--feedback", "--profile"} <= set(
        first
    )
    options = text.partition("To begin with:")[2]
    every = re.findall(r"^  (?:-\w, )?(--[\w-]+)", options, re.M)
    assert len(every) == len(set(every)) > 70


def test_a_short_help_has_one_list_of_options(run_cli):
    text = run_cli("merge", "--help").stdout.decode()
    assert re.findall(r"^(\w.*):$", text, re.M) == ["Arguments", "Options"]

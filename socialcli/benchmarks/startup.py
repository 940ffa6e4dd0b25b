"""How long ``--help`` takes: ours against the command lines a user has beside it."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from socialcli.benchmarks import in_turns, ratio, table

PEERS = ("accelerate", "diffusers-cli")


def run(turns: int) -> str:
    """A Markdown table of median seconds."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import typer": [sys.executable, "-c", "import typer"],
        "socialcli --help": [sys.executable, "-m", "socialcli", "--help"],
        "socialcli ground --help": [sys.executable, "-m", "socialcli", "ground", "--help"],
    }
    for peer in PEERS:
        script = Path(sys.executable).parent / peer
        found = str(script) if script.exists() else shutil.which(peer)
        if found:
            commands[f"{peer} --help"] = [found, "--help"]

    def call(command: list[str]) -> None:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    runs = {name: partial(call, command) for name, command in commands.items()}
    seconds = in_turns(runs, turns, before=lambda: None)
    rows = [
        [f"`{name}`", f"{statistics.median(seconds[name]):.3f}",
         f"{ratio(seconds, 'socialcli --help', name):.1f}"]
        for name in commands
    ]  # fmt: skip
    return "## Start-up\n\n" + table(["command", "seconds", "times ours"], rows)

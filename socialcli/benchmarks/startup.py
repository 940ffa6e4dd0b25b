"""How long ``--help`` takes: of every command of ours, of a bare Typer program, and of the command
lines a user has beside it.

Seconds of the processor, with modules compiled before, as an installation has them. The bare
program has two commands without rich's boxes, and is asked for the help of one: Typer itself loads
pydantic for the parameters of a command.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from socialcli.benchmarks import Figure, Section, in_turns, ratio, table

PEERS = ("accelerate", "diffusers-cli")
BARE = """
import typer

app = typer.Typer(rich_markup_mode=None)

@app.command()
def hello(name: str = "x", count: int = typer.Option(3, help="How many.")) -> None:
    print(name)

@app.command()
def bye() -> None: ...

app()
"""
PROGRAM = "bare Typer program, help of a command"


def run(turns: int) -> Section:
    """A Markdown table of median seconds of the processor."""
    with tempfile.TemporaryDirectory(prefix="socialcli-benchmark-") as temporary:
        return _measured(Path(temporary), turns)


def _measured(root: Path, turns: int) -> Section:
    from socialcli.cli.app import ORDER

    bare = root / "bare.py"
    bare.write_text(BARE, encoding="utf-8")
    program = [sys.executable, "-m", "socialcli"]
    helps = {f"socialcli {name} --help": [*program, name, "--help"] for name in ORDER}
    commands = {
        PROGRAM: [sys.executable, str(bare), "hello", "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
        "socialcli --help": [*program, "--help"],
        **helps,
    }
    for peer in PEERS:
        script = Path(sys.executable).parent / peer
        path = str(script) if script.exists() else shutil.which(peer)
        if path:
            commands[f"{peer} --help"] = [path, "--help"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(root / "compiled")

    def call(command: list[str]) -> None:
        quiet = subprocess.DEVNULL
        subprocess.run(command, stdout=quiet, stderr=quiet, check=True, env=environment)

    runs = {name: partial(call, command) for name, command in commands.items()}
    seconds = in_turns(runs, turns, before=lambda: None, clock=_of_children)
    times = {name: 1 / ratio(seconds, name, PROGRAM) for name in commands}
    rows = [
        [name if name == PROGRAM else f"`{name}`", f"{statistics.median(seconds[name]):.3f}",
         f"{times[name]:.2f}"]
        for name in commands
    ]  # fmt: skip
    slowest = max(("socialcli --help", *helps), key=lambda name: times[name])
    text = "## Start-up\n\n" + table(["command", "seconds", "times the bare program"], rows)
    what = f"slowest help (`{slowest}`) over a bare Typer program"
    return Section(text, [Figure(what, times[slowest], 1.5, lower=True)])


def _of_children() -> float:
    """Seconds of the processor that ended child processes used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

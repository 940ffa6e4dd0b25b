"""Methods: one file per method of `train`, `invert` and `generate`, found by name.

``socialcli/methods/<command>/<name>.py`` is ``socialcli <command> --method <name>``. Its ``Config``
dataclass (fields made by `socialcli.stages.option`) becomes the flags; a profile gives values in
``[command]`` and ``[command.name]``. What else a method must have, the command says:
`socialcli.training.loop` for `train` and `invert`, `socialcli.generation` for `generate`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from socialcli.errors import UsageError


def available(command: str) -> dict[str, Path]:
    """Method name -> its file."""
    folder = Path(__file__).parent / command
    files = {file.stem: file for file in folder.glob("[a-z]*.py")}
    files |= {file.parent.name: file for file in folder.glob("[a-z]*/__init__.py")}
    return {name.replace("_", "-"): files[name] for name in sorted(files)}


def chosen(args: list[str], default: str) -> str:
    """The method a command line names; its flags must be known before the line is parsed."""
    for at, word in enumerate(args):
        if word == "--":
            break
        if word == "--method" and at + 1 < len(args):
            return args[at + 1]
        if word.startswith("--method="):
            return word.partition("=")[2]
    return default


def load(command: str, name: str) -> Any:
    """The module of a method.

    Raises:
        UsageError: there is no such method; the message lists those there are.
    """
    files = available(command)
    if name not in files:
        there = ", ".join(files) or "none yet"
        raise UsageError(f"{command} has no method '{name}'. There are: {there}")
    return importlib.import_module(f"socialcli.methods.{command}.{name.replace('-', '_')}")

"""Methods: one file or folder per method of `train`, `invert` and `generate`, found by name.

``socialcli/methods/<command>/<name>.py`` is ``socialcli <command> --method <name>``. Its ``Config``
dataclass (fields made by `socialcli.config.option`) becomes the flags; a profile gives values in
``[command]`` and ``[command.name]``. What else a method has, its base says:
`socialcli.training.method.TrainMethod` for `train` and `invert`,
`socialcli.generation.method.GenerateMethod` for `generate`.
"""

from __future__ import annotations


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

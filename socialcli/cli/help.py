"""Commands whose help sorts options into groups, and whose errors name the option that is meant."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from socialcli.errors import near

FIRST = "To begin with"  # the panel of the options that a newcomer needs
REST = "Others"


_NUMBERS = {
    "Input should be a valid integer": "expected a whole number",
    "Input should be a valid number": "expected a number",
    "Input should be greater than or equal to ": "at least ",
    "Input should be less than or equal to ": "at most ",
}


def _number(message: str) -> str:
    """What Typer says of a number, in the words of `config.beyond`; "" of anything else."""
    for start, words in _NUMBERS.items():
        if message.startswith(start):
            return words + (message.removeprefix(start) if words.endswith(" ") else "")
    return ""


def _given(names: list[str], args: list[str]) -> tuple[str, str]:
    """(flag, its value) of the option with one of these names, as it stands on the command line."""
    for word, after in zip(args, [*args[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in names:
            return name, value if equals else after
    return names[0] if names else "", ""


class Command(TyperCommand):
    """A command as Typer makes it, with these three differences."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        words = list(args)
        try:
            return super().parse_args(ctx, args)  # type: ignore[arg-type]
        except Exception as error:
            unknown = getattr(error, "option_name", None)
            if unknown is not None and hasattr(error, "possibilities"):
                known = [o for p in self.params for o in (*p.opts, *p.secondary_opts)]
                error.possibilities = None
                where = f"`{ctx.command_path} --help` lists those there are."
                error.message = f"no option '{unknown}'. {near(unknown, known)}{where}"  # type: ignore[attr-defined]
            elif wrong := _number(getattr(error, "message", "")):
                names = getattr(error.param, "opts", [])  # type: ignore[attr-defined]
                flag, value = _given(names, words)
                line = f"{flag} {value}: {wrong}".replace(" : ", ": ")
                error.format_message = lambda: line  # type: ignore[attr-defined]
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then every panel of options in the order of its first option."""
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": [], FIRST: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            title = getattr(parameter, "rich_help_panel", None) or REST
            if parameter.param_type_name == "argument":
                title = "Arguments"
            panels.setdefault(title, []).append(record)
        if set(panels) <= {"Arguments", FIRST, REST}:  # a command with few options has no groups
            panels["Options"] = panels.pop(FIRST) + panels.pop(REST, [])
        panels[REST] = panels.pop(REST, [])
        for title, records in panels.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

"""Flags from dataclasses: one field of a Config is one option of a command."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer

from socialcli import config
from socialcli.backends import devices
from socialcli.cli import help as help_

SHARDS = (
    "Shards: paths, globs, folders, {000..099} ranges, URLs, - for stdin, a.tar+b.tar to join "
    "sidecars."
)
OUTPUT = "A folder, a pattern (out/%06d.tar, out/{name}.tar), a URL prefix, or - for stdout."


def dashed(args: list[str]) -> list[str]:
    """A command line with dashes in the names of commands and flags: other tools have underscores
    there (``--batch_size 4``), and such lines are pasted."""
    dashed_words = [word.replace("_", "-") for word in args[:1]]
    for number, word in enumerate(args[1:], 1):
        if word == "--":
            return dashed_words + args[number:]
        name, equals, value = word.partition("=")
        dashed_words.append(
            name.replace("_", "-") + equals + value if name.startswith("--") else word
        )
    return dashed_words


def parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def flag(field: dataclasses.Field[Any], hint: Any, panel: str) -> inspect.Parameter:
    """One dataclass field as a Typer option of the same name."""
    default = config.default(field)
    if default is config.MISSING:
        default = inspect.Parameter.empty
    words = _completion(field)
    # A field that would be a Python keyword ends in "_"; its flag does not.
    names = [f"--{field.name.strip('_')}"] if field.name.endswith("_") else []
    option = typer.Option(
        *names,
        help=field.metadata.get("help", ""),
        rich_help_panel=panel,
        show_default=default not in (None, "", [], False),
        autocompletion=words,
    )
    return parameter(field.name, Annotated[hint, option], default)


def _completion(field: dataclasses.Field[Any]) -> Callable[[str], list[str]] | None:
    """What a shell offers for an option's value; None where values are free."""
    fixed = {"device": devices.DEVICES[:3], "dtype": ("auto", *devices.DTYPES)}.get(field.name)
    if fixed is None and not (field.metadata.get("choices") or field.metadata.get("role")):
        return None

    def words(incomplete: str) -> list[str]:
        from socialcli.cli import profiles

        known = fixed if fixed is not None else profiles.words(field)
        before = incomplete.rpartition(",")[0] if field.metadata.get("many") else ""
        there = f"{before}," if before else ""
        return [there + word for word in known if (there + word).startswith(incomplete)]

    return words


def inputs(help: str, required: bool = True) -> inspect.Parameter:
    """The positional input locations."""
    argument = typer.Argument(help=help, show_default=False)
    default = inspect.Parameter.empty if required else None
    kind = list[str] if required else list[str] | None
    return parameter("inputs", Annotated[kind, argument], default)


def output(help: str = OUTPUT) -> inspect.Parameter:
    """``--output`` / ``-o``."""
    option = typer.Option(
        "--output", "-o", show_default=False, help=help, rich_help_panel=help_.FIRST
    )
    return parameter("output", Annotated[str, option], inspect.Parameter.empty)


DRY_RUN = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be read and made, and exit.")
]


def dry_run() -> inspect.Parameter:
    """``--dry-run`` of commands that have none of the running options."""
    return parameter("dry_run", DRY_RUN, False)


def profile() -> inspect.Parameter:
    """``--profile``."""
    text = "Model choices: a name (see `socialcli models`) or a .toml file."
    option = typer.Option(help=text, rich_help_panel=help_.FIRST, autocompletion=_profiles)
    return parameter("profile", Annotated[str | None, option], None)


def _profiles(incomplete: str) -> list[str]:
    from socialcli.cli import profiles

    return [name for name in profiles.names() if name.startswith(incomplete)]


def of(
    config_type: type, panel: str, without: typing.Container[str] = ()
) -> list[inspect.Parameter]:
    """One flag per field of a dataclass, in its order and in its groups (`socialcli.config`)."""
    hints = typing.get_type_hints(config_type)
    first = getattr(config_type, "FIRST", ())
    groups: dict[str, str] = {}
    for parent in reversed(config_type.__mro__):
        groups |= vars(parent).get("GROUPS", {})
    parameters = []
    for field in dataclasses.fields(config_type):
        panel = groups.get(field.name, panel)
        if field.name not in without:
            title = help_.FIRST if field.name in first else panel
            parameters.append(flag(field, hints[field.name], title))
    return parameters


def given(ctx: typer.Context, values: dict[str, Any], config: type) -> dict[str, Any]:
    """The fields of ``config`` whose flag was on the command line, with their values."""
    typed = {}
    for field in dataclasses.fields(config):
        source = ctx.get_parameter_source(field.name)
        if source is not None and source.name != "DEFAULT":
            typed[field.name] = values[field.name]
    return typed


def signed(run: Callable[..., None], parameters: list[inspect.Parameter]) -> Callable[..., None]:
    """``run(**values)`` with the signature Typer reads a command from."""
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run

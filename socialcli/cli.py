"""The command line: finds every subcommand by its file, imports only the one that is run.

``socialcli/stages/*.py`` become subcommands whose flags are their Config's fields;
``socialcli/importers/*.py`` become subcommands of ``import`` in the same way;
``socialcli/commands/*.py`` hold the rest, each with a plain Typer function ``command``. The help
line of each is the first line of its file, read as text, so that ``--help`` imports none of them.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import os
import signal
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from socialcli.errors import SocialcliError

HERE = Path(__file__).parent
# The order of `socialcli --help`: the chain as it runs, then what looks at its results. Commands
# not named here follow in alphabetical order.
ORDER = (
    "import", "caption", "extract-entities", "ground", "segment", "annotate-pose", "train",
    "invert", "generate", "score", "inspect", "validate", "merge", "export", "models",
)  # fmt: skip


def main() -> None:
    """Entry point of the ``socialcli`` script."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    app()


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with every expected ending turned into one line and the right exit code."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
            sys.stdout.flush()
            return result
        except SocialcliError as error:
            _say(f"error: {error}")
            sys.exit(error.exit_code)
        except BrokenPipeError:
            # Whoever read our output has heard enough; nothing more to say, to nobody.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(0)
        except KeyboardInterrupt:
            _say("interrupted; finished shards are kept, the same command goes on from there")
            sys.exit(130)
        except OSError as error:
            if error.filename is None and error.strerror is None:
                raise
            _say(f"error: {error.filename or ''}: {error.strerror or error}")
            sys.exit(1)

    return run


def _say(text: str) -> None:
    from socialcli.running.report import one_line

    if "--log-json" in sys.argv:
        import json

        print(json.dumps({"event": "error", "message": text}, ensure_ascii=False), file=sys.stderr)
    else:
        print(f"socialcli: {one_line(text)}", file=sys.stderr)


def first_line(file: Path) -> str:
    """The first line of a module's docstring, read as text."""
    with file.open(encoding="utf-8") as lines:
        return lines.readline().strip().strip('"').strip()


class LazyGroup(TyperGroup):
    """A group whose commands are files; a file is imported when its command is called."""

    def files(self) -> dict[str, tuple[str, Path]]:
        """Command name -> (kind, file)."""
        found = {}
        for kind in ("stages", "commands"):
            for file in sorted((HERE / kind).glob("[a-z]*.py")):
                found[file.stem.strip("_").replace("_", "-")] = (kind, file)
        return found

    def list_commands(self, ctx: Any) -> list[str]:
        names = self.files()
        ordered = [n for n in ORDER if n in names]
        return ordered + sorted(set(names) - set(ordered) - set(HIDDEN))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in with name and help line only (`resolve_command` gives the real one)."""
        entry = self.files().get(cmd_name)
        if entry is None:
            return None
        line = first_line(entry[1])
        return TyperCommand(cmd_name, help=line, short_help=line, callback=lambda: None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        entry = self.files().get(args[0]) if args else None
        if entry is None:
            return super().resolve_command(ctx, args)
        return args[0], self.load(*entry), args[1:]

    def load(self, kind: str, file: Path) -> Any:
        module = importlib.import_module(f"socialcli.{kind}.{file.stem}")
        if kind == "commands" and hasattr(module, "group"):
            return module.group()
        function = module.command if kind == "commands" else _runner(kind, file.stem, module)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(help=_help(module))(guarded(function))
        return typer.main.get_command(single)


HIDDEN = ("work",)


class ImportGroup(LazyGroup):
    """``socialcli import NAME``: one command per file in ``socialcli/importers``."""

    def files(self) -> dict[str, tuple[str, Path]]:
        return {
            file.stem.replace("_", "-"): ("importers", file)
            for file in sorted((HERE / "importers").glob("[a-z]*.py"))
        }

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.files())


def _help(module: Any) -> str:
    return inspect.cleandoc(module.__doc__ or "")


def _runner(kind: str, name: str, module: Any) -> Callable[..., None]:
    """A function with one parameter per flag, which Typer turns into a command."""
    from socialcli.running.start import RunOptions

    importing = kind == "importers"
    config_fields = dataclasses.fields(module.Config)

    def run(ctx: typer.Context, **values: Any) -> None:
        from socialcli import profiles
        from socialcli.running.start import run_stage

        def given(field: str) -> bool:
            source = ctx.get_parameter_source(field)
            return source is not None and source.name != "DEFAULT"

        flags = {f.name: values[f.name] for f in config_fields if given(f.name)}
        command = name.replace("_", "-")
        config = profiles.values(values["profile"], command, module.Config, flags)
        options = RunOptions(**{f.name: values[f.name] for f in dataclasses.fields(RunOptions)})
        inputs, output = values.get("inputs") or [], values["output"]
        run_stage(kind, name, config, inputs, output, options, values.get("shard_size", 1000))

    parameters = [_parameter("ctx", typer.Context, inspect.Parameter.empty)]
    if not importing:
        parameters.append(
            _parameter(
                "inputs",
                Annotated[
                    list[str],
                    typer.Argument(
                        help="Shards: paths, globs, folders, {000..099} ranges, URLs, - for "
                        "stdin, a.tar+b.tar to join sidecars.",
                        show_default=False,
                    ),
                ],
                inspect.Parameter.empty,
            )
        )
    else:
        # An importer that makes its own pictures (the world) has no source to name.
        for source in (f for f in config_fields if f.name == "source"):
            text = source.metadata.get("help", "")
            required = source.default in (dataclasses.MISSING, None)
            default = inspect.Parameter.empty if required else source.default
            argument = typer.Argument(help=text, show_default=not required)
            parameters.append(_parameter("source", Annotated[str, argument], default))
    parameters.append(
        _parameter(
            "output",
            Annotated[
                str,
                typer.Option(
                    "--output", "-o", show_default=False,
                    help="A folder, a pattern (out/%06d.tar, out/{name}.tar), a URL prefix, "
                    "or - for stdout.",
                ),
            ],
            inspect.Parameter.empty,
        )
    )  # fmt: skip
    hints = typing.get_type_hints(module.Config)
    panel = f"Options of {name.replace('_', '-')}"
    for field in config_fields:
        if field.name != "source":
            parameters.append(_flag(field, hints[field.name], panel))
    profile_help = "Model choices: a name (see `socialcli models`) or a .toml file."
    parameters.append(
        _parameter("profile", Annotated[str | None, typer.Option(help=profile_help)], None)
    )
    if importing:
        parameters.append(
            _parameter("shard_size", Annotated[int, typer.Option(help="Samples per shard.")], 1000)
        )
    run_hints = typing.get_type_hints(RunOptions)
    skipped = ("sidecar",) if importing else ()
    own = {f.name for f in config_fields}  # an importer's own --seed stands for both
    for field in dataclasses.fields(RunOptions):
        if field.name not in skipped and field.name not in own:
            parameters.append(_flag(field, run_hints[field.name], "Running"))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    if not skipped:
        return run

    @functools.wraps(run)
    def without(ctx: typer.Context, **values: Any) -> None:
        run(ctx, **values, **dict.fromkeys(skipped, False))

    without.__signature__ = run.__signature__  # type: ignore[attr-defined]
    return without


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _flag(field: dataclasses.Field[Any], hint: Any, panel: str) -> inspect.Parameter:
    """One dataclass field as a Typer option of the same name."""
    default = field.default
    if default is dataclasses.MISSING:
        factory = field.default_factory
        default = factory() if factory is not dataclasses.MISSING else inspect.Parameter.empty
    # A field that would be a Python keyword ends in "_"; its flag does not.
    names = [f"--{field.name.strip('_')}"] if field.name.endswith("_") else []
    option = typer.Option(
        *names,
        help=field.metadata.get("help", ""),
        rich_help_panel=panel,
        show_default=default not in (None, "", [], False),
    )
    return _parameter(field.name, Annotated[hint, option], default)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes cost a third of the start-up of every call
    help="Personalized image generation in social context: WebDataset stages that chain "
    "through files and pipes. Every stage reads shards, adds members to their samples and "
    "leaves the rest byte for byte as it was.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from socialcli import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            is_eager=True,
            callback=_print_version,  # in the body it would be too late: no command, no body
        ),
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    main()

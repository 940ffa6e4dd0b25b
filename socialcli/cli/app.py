"""The command line: finds every subcommand by its file, imports only the one that is run.

``socialcli/stages/*.py`` become subcommands whose flags are their Config's fields;
``socialcli/importers/*.py`` become subcommands of ``import`` in the same way;
``socialcli/cli/commands/*.py`` hold the rest, each with a plain Typer function ``command``, or
with a ``run`` over the methods in ``socialcli/methods`` whose Config gives the flags. The help line
of each is the first line of its file, read as text, so that ``--help`` imports none of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from socialcli import registry
from socialcli.cli import environment, flags
from socialcli.cli.help import FIRST, Command
from socialcli.errors import SocialcliError, UnknownName, UsageError

COMMANDS = Path(__file__).parent / "commands"
# The order of `socialcli --help`: the chain as it runs, then what looks at its results. Commands
# not named here follow in alphabetical order.
ORDER = (
    "import", "caption", "extract-entities", "ground", "segment", "annotate-pose", "layout",
    "train", "invert", "generate", "score", "inspect", "validate", "merge", "export", "models",
)  # fmt: skip


def main() -> None:
    """Entry point of the ``socialcli`` script."""
    environment.prepare()
    guarded(_completion)(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    guarded(_quick_help)(sys.argv[1:])
    app()


def _quick_help(words: list[str]) -> None:
    """``COMMAND --help`` and ``COMMAND --method NAME --help``, printed without reading the line:
    Typer loads pydantic to read any line, which takes longer than all the rest. The text is the
    same; every other line goes its usual way."""
    if len(words) < 2 or words[-1] not in ("--help", "-h") or COMPLETING in os.environ:
        return
    left = words[:-1]
    command: Any = typer.main.get_command(app)
    context = command.context_class(command, info_name=_program(), **command.context_settings)
    while isinstance(command, LazyGroup) and left:
        if left[0].startswith("-"):
            return
        name, command, left = command.resolve_command(context, left)
        context = command.context_class(
            command, info_name=name, parent=context, **command.context_settings
        )
    if left and not (left[0] == "--method" and len(left) == 2):
        return
    print(command.get_help(context))
    sys.exit(0)


COMPLETING = "_SOCIALCLI_COMPLETE"


def _program() -> str:
    """What this program is called as: ``socialcli``, or ``python -m socialcli``."""
    place = Path(sys.argv[0])
    return "python -m socialcli" if place.name == "__main__.py" else place.name


SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")


def _completion(words: list[str]) -> None:
    """``--show-completion zsh`` and ``--install-completion zsh``, whatever shell this runs in;
    without a name Typer takes the shell that called."""
    if len(words) != 2 or words[0] not in ("--show-completion", "--install-completion"):
        return
    from typer import completion

    if words[1] not in SHELLS:
        raise UnknownName(f"{words[0]}: no shell", words[1], SHELLS)
    if words[0] == "--install-completion":
        shell, path = completion.install(shell=words[1], prog_name="socialcli")
        print(f"{shell} completion installed in {path}")
    else:
        print(
            completion.get_completion_script(
                prog_name="socialcli", complete_var=COMPLETING, shell=words[1]
            )
        )
    sys.exit(0)


# Arguments that say where something is or goes to; an empty text there would mean the current
# folder, or the root of the disk.
PLACES = {
    "inputs": "an input", "found": "the first argument", "truth": "the second argument",
    "source": "the source", "output": "--output", "out": "--out", "reference": "--reference",
}  # fmt: skip


def _refuse_empty_places(arguments: dict[str, Any]) -> None:
    for name, title in PLACES.items():
        value = arguments.get(name)
        if value == "" or (isinstance(value, list) and "" in value):
            raise UsageError(f"{title} is empty; a variable of the script may not be set")


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with every expected ending turned into one line and the right exit code."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            _refuse_empty_places(kwargs)
            result = function(*args, **kwargs)
            sys.stdout.flush()
            return result
        except SocialcliError as error:
            for line in error.lines:
                _say(f"error: {line}")
            sys.exit(error.exit_code)
        except BrokenPipeError:
            # Whoever read our output has heard enough; nothing more to say, to nobody.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(0)
        except KeyboardInterrupt:
            _say("interrupted; finished shards are kept, the same command goes on from there")
            sys.exit(130)
        except RuntimeError as error:
            if "home directory" not in str(error):  # of a user that ~NAME names
                raise
            _say(f"error: a path that begins with ~: {error} Give the whole path")
            sys.exit(2)
        except OSError as error:
            if error.filename is None and error.strerror is None:
                raise
            if error.errno == errno.EBADF and error.filename is None:
                _say("error: standard output is closed, and there is something to write to it")
                os._exit(1)  # flushing it once more at the end would fail again
            _say(f"error: {error.filename or 'writing failed'}: {error.strerror or error}")
            if error.filename is None:  # standard output: its end would be another error
                with contextlib.suppress(OSError, ValueError):
                    sys.stdout.flush()
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(1)

    return run


def _say(text: str) -> None:
    from socialcli.pipeline.report import one_line
    from socialcli.shards.urls import public_text

    text = public_text(text)
    if "--log-json" in sys.argv:
        import json

        print(json.dumps({"event": "error", "message": text}, ensure_ascii=False), file=sys.stderr)
    else:
        print(f"socialcli: {one_line(text)}", file=sys.stderr)


def first_line(file: Path) -> str:
    """The first line of a module's docstring, read as text."""
    with file.open(encoding="utf-8-sig") as lines:
        return lines.readline().strip().strip('"').strip()


class LazyGroup(TyperGroup):
    """A group whose commands are files; a file is imported when its command is called."""

    def files(self) -> dict[str, tuple[str, Path]]:
        """Command name -> (kind, file)."""
        by_name = {name: ("stages", one.file) for name, one in registry.available("stages").items()}
        for file in sorted(COMMANDS.glob("[a-z]*.py")):
            by_name[file.stem.strip("_").replace("_", "-")] = ("commands", file)
        return by_name

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
        args = flags.dashed(args)
        entry = self.files().get(args[0]) if args else None
        if entry is None:
            if args and not args[0].startswith("-") and not ctx.resilient_parsing:
                guarded(self.unknown)(args[0])
            return super().resolve_command(ctx, args)
        return args[0], guarded(self.load)(entry[0], args[0], args[1:]), args[1:]

    def unknown(self, name: str) -> None:
        raise UnknownName("no command", name, self.list_commands(None))

    def load(self, kind: str, name: str, args: list[str]) -> Any:
        function: Callable[..., Any]
        if kind != "commands":
            part = registry.load(kind, name)
            text = _help(registry.module_of(part))
            function = _runner(part)
        else:
            file = self.files()[name][1]
            module = importlib.import_module(f"socialcli.cli.commands.{file.stem}")
            if hasattr(module, "group"):
                return module.group()
            text = _help(module)
            if hasattr(module, "command"):
                function = module.command
            else:
                function = _method_runner(name, module, args)
                text += "\n\n" + methods_help(name)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(help=text, cls=Command)(guarded(function))
        return typer.main.get_command(single)


HIDDEN = ("work",)


class ImportGroup(LazyGroup):
    """``socialcli import NAME``: one command per file in ``socialcli/importers``."""

    def files(self) -> dict[str, tuple[str, Path]]:
        there = registry.available("importers")
        return {name: ("importers", one.file) for name, one in there.items()}

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.files())

    def unknown(self, name: str) -> None:
        raise UnknownName("no importer", name, self.list_commands(None))


def methods_help(command: str) -> str:
    """The methods of a command, one line each."""
    there = registry.available(f"methods.{command}")
    return "\n\n".join(f"--method {name}: {one.summary}" for name, one in there.items())


def _help(module: Any) -> str:
    return inspect.cleandoc(module.__doc__ or "")


def _runner(part: Any) -> Callable[..., None]:
    """A stage or importer as a function with one parameter per flag: Typer makes it a command."""
    from socialcli.pipeline.run import RunOptions

    importing = part.kind == "importers"
    command = part.name

    def run(ctx: typer.Context, **values: Any) -> None:
        from socialcli.cli import profiles
        from socialcli.pipeline.run import run_stage

        typed = flags.given(ctx, values, part.config_type)
        table = ("import", command) if importing else (command, None)
        config = profiles.values(values["profile"], table[0], part.config_type, typed, table[1])
        options = RunOptions(**{n: values[n] for n in _names(RunOptions) if n in values})
        _warn_of_unread(part.config_type, config, typed, options)
        inputs, output = values.get("inputs") or [], values["output"]
        run_stage(
            part.kind, command, config, inputs, output, options, values.get("shard_size", 1000)
        )

    parameters = [flags.parameter("ctx", typer.Context, inspect.Parameter.empty)]
    if not importing:
        parameters.append(flags.inputs(flags.SHARDS))
    # An importer that makes its own pictures (the world) has no source to name.
    for source in (f for f in dataclasses.fields(part.config_type) if f.name == "source"):
        required = source.default in (dataclasses.MISSING, None)
        default = inspect.Parameter.empty if required else source.default
        argument = typer.Argument(help=source.metadata.get("help", ""), show_default=not required)
        parameters.append(flags.parameter("source", Annotated[str, argument], default))
    parameters.append(flags.output())
    parameters += flags.of(part.config_type, f"Options of {command}", without=("source",))
    parameters.append(flags.profile())
    own = set(_names(part.config_type))  # an importer's own --seed stands for both
    if importing:
        own.add("sidecar")
        size = Annotated[int, typer.Option(min=1, help="Samples per shard.")]
        parameters.append(flags.parameter("shard_size", size, 1000))
    parameters += flags.of(RunOptions, "Running", without=own)
    return flags.signed(run, parameters)


def _method_runner(command: str, module: Any, args: list[str]) -> Callable[..., None]:
    """A command with methods (``train --method feedback``): the method's Config gives the flags.

    The command's module has ``DEFAULT`` (a method), ``INPUTS`` (help of the positional inputs),
    ``OUTPUT``, ``RUNNING`` (whether it has the running options of importers) and
    ``run(method, config, inputs, output, options)``.
    """
    from socialcli import methods
    from socialcli.pipeline.run import RunOptions

    name = methods.chosen(args, module.DEFAULT)
    method = registry.load(f"methods.{command}", name)

    def run(ctx: typer.Context, **values: Any) -> None:
        from socialcli.cli import profiles

        typed = flags.given(ctx, values, method.config_type)
        config = profiles.values(values["profile"], command, method.config_type, typed, name)
        options = RunOptions(**{n: values[n] for n in _names(RunOptions) if n in values})
        _warn_of_unread(method.config_type, config, typed, options)
        with profiles.explaining(values["profile"], method.config_type, config, typed):
            module.run(name, config, values["inputs"] or [], values["output"], options)

    parameters = [
        flags.parameter("ctx", typer.Context, inspect.Parameter.empty),
        flags.inputs(module.INPUTS, required=False),
        flags.output(module.OUTPUT),
    ]
    there = ", ".join(registry.available(f"methods.{command}"))
    option = typer.Option(
        help=f"One of: {there}. Each has options of its own.",
        rich_help_panel=FIRST,
        autocompletion=lambda incomplete: [
            name for name in there.split(", ") if name.startswith(incomplete)
        ],
    )
    choice = Annotated[str, option]
    parameters.append(flags.parameter("method", choice, module.DEFAULT))
    parameters += flags.of(method.config_type, f"Options of {command} --method {name}")
    parameters.append(flags.profile())
    if module.RUNNING:
        # New samples have nothing that a sidecar could be joined with.
        without = {*_names(method.config_type), "sidecar"}
        parameters += flags.of(RunOptions, "Running", without=without)
    else:
        parameters.append(flags.dry_run())
    return flags.signed(run, parameters)


def _warn_of_unread(
    config_type: type, config: dict[str, Any], typed: Iterable[str], options: Any
) -> None:
    """One warning for each flag that was given though nothing reads it."""
    from socialcli.config import unread

    if lines := unread(config_type, config, typed):
        from socialcli.pipeline.report import Report

        report = Report(options.log_json, config.get("quiet", options.quiet))
        for line in lines:
            report.warn(line)


def _names(config: type) -> list[str]:
    return [f.name for f in dataclasses.fields(config)]


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

"""Every mistake of a profile at once, each with its file, table and key."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from socialcli.cli.profiles import field_of, words
from socialcli.config import beyond, flag, no_choice
from socialcli.errors import Mistakes, near

# (command, method or importer, None where the command has none) -> the Config of its table.
Types = dict[tuple[str, str | None], type]
# The same, each imported when a profile has something for it.
Known = dict[tuple[str, str | None], Callable[[], type]]


def check(tables: dict[str, Any], path: Path, types: Types | None = None) -> None:
    """Check a whole profile.

    Args:
        tables: the file's content. path: the file.
        types: Configs that stand for those that are found by name.

    Raises:
        Mistakes: one line for each.
    """
    known = _known() | {key: _itself(kind) for key, kind in (types or {}).items()}
    mistakes = [f"{path}: {mistake}" for mistake in _mistakes(tables, known)]
    if mistakes:
        raise Mistakes(list(dict.fromkeys(mistakes)))


def config_types() -> Types:
    """The Config of every table that a profile can have."""
    return {key: config_type() for key, config_type in _known().items()}


def _known() -> Known:
    from socialcli import registry

    def of(kind: str, name: str) -> Callable[[], type]:
        return lambda: registry.load(kind, name).config_type

    known: Known = {(name, None): of("stages", name) for name in registry.available("stages")}
    kinds = {"importers": "import"} | {f"methods.{c}": c for c in ("train", "invert", "generate")}
    for kind, command in kinds.items():
        known |= {(command, name): of(kind, name) for name in registry.available(kind)}
    return known | {("score", None): _of_score}


def _of_score() -> type:
    from socialcli.evaluation import settings

    return settings.config_type()


def _itself(config_type: type) -> Callable[[], type]:
    return lambda: config_type


def _mistakes(tables: dict[str, Any], known: Known) -> Iterator[str]:
    commands = list(dict.fromkeys(command for command, _ in known))
    for command, table in tables.items():
        if not isinstance(table, dict):
            yield f"{command} = {table!r} is in no table: put it under [{commands[0]}] or another"
        elif command not in commands:
            there = f"There are: {', '.join(f'[{name}]' for name in commands)}"
            yield f"[{command}]: no command has such a table. {near(command, commands)}{there}"
        elif (command, None) in known:
            yield from _table(command, table, known[command, None]())
        else:
            methods = {m: kind for (c, m), kind in known.items() if c == command and m is not None}
            yield from _with_methods(command, table, methods)


def _with_methods(
    command: str, table: dict[str, Any], methods: dict[str, Callable[[], type]]
) -> Iterator[str]:
    """Of ``[command]``, whose options must be known to some method, and ``[command.method]``."""
    for key, value in table.items():
        if isinstance(value, dict):
            if key in methods:
                yield from _table(f"{command}.{key}", value, methods[key]())
            else:
                yield (
                    f"[{command}.{key}]: {command} has no '{key}'. {near(key, methods)}"
                    f"There are: {', '.join(methods)}"
                )
            continue
        kinds = [config_type() for config_type in methods.values()]
        having = [kind for kind in kinds if field_of(key, kind) in _fields(kind)]
        if having:
            for kind in having:
                yield from _table(command, {key: value}, kind)
        else:
            keys = [key for kind in kinds for key in _keys(kind)]
            there = near(key, keys) or f"`socialcli {command} --help` lists those it has"
            yield f"[{command}] has no option '{key}'. {there}".rstrip()


def _table(name: str, table: dict[str, Any], config_type: type) -> Iterator[str]:
    """What is wrong with the keys and values of one table."""
    from pydantic import ValidationError

    given: dict[str, str] = {}  # field -> the key that gave it
    body: dict[str, Any] = {}
    for key, value in table.items():
        field = field_of(key, config_type)
        if field in given:
            yield f"[{name}] {key}: the same option as '{given[field]}'"
        given[field], body[field] = key, value
    hints = _hints(config_type, body)
    reported = set()
    try:
        _schema(tuple(hints.items())).model_validate(body)
    except ValidationError as errors:
        order = list(given)
        for error in sorted(errors.errors(), key=lambda e: order.index(str(e["loc"][0]))):
            field = str(error["loc"][0])
            if field in reported:
                continue  # of a union, one error for each of its types
            reported.add(field)
            key = given[field]
            if error["type"] == "extra_forbidden":
                keys = _keys(config_type)
                there = near(key, keys) or f"It has: {', '.join(keys)}"
                yield f"[{name}] has no option '{key}'. {there}".rstrip()
            else:
                yield f"[{name}] {key} = {body[field]!r}: expected {_said(hints[field])}"
    options = {option.name: option for option in dataclasses.fields(config_type)}
    for field, key in given.items():
        option = options.get(field)
        if option is not None and field not in reported:
            where = f"[{name}] {key} = {body[field]!r}"
            if wrong := beyond(option.metadata, body[field]):
                yield f"{where}: {wrong}"
            elif word := no_choice(option, body[field], known := words(option)):
                yield f"{where}: {near(word, known)}There are: {', '.join(known)}"


@functools.cache
def _schema(hints: tuple[tuple[str, Any], ...]) -> Any:
    """A pydantic model of some fields of a Config, none of them required, and of no others."""
    from pydantic import ConfigDict, create_model

    fields: Any = {name: (hint, None) for name, hint in hints}
    # Strict: a profile says 5 and not "5". Field names such as model_... are the options' own.
    strict = ConfigDict(extra="forbid", strict=True, protected_namespaces=())
    return create_model("Table", __config__=strict, **fields)


def _hints(config_type: type, names: typing.Collection[str]) -> dict[str, Any]:
    """Field -> type, of those of a Config's fields that ``names`` has.

    `typing.get_type_hints` evaluates all of them, which for every Config took as long as the rest.
    """
    hints: dict[str, Any] = {}
    left = set(names) & set(_fields(config_type))
    for base in config_type.__mro__:
        own = {n: hint for n, hint in inspect.get_annotations(base).items() if n in left}
        if own:
            holder = types.SimpleNamespace(__annotations__=own)
            hints |= typing.get_type_hints(holder, vars(sys.modules[base.__module__]))
            left -= own.keys()
    return hints


def _keys(config_type: type) -> list[str]:
    return [flag(name).removeprefix("--") for name in _fields(config_type)]


def _fields(config_type: type) -> list[str]:
    return [f.name for f in dataclasses.fields(config_type)]


def _said(hint: Any) -> str:
    """A type as people write it: ``str``, ``float or none``."""
    if isinstance(hint, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return " or ".join(_said(kind) for kind in kinds)
    if typing.get_origin(hint) is list:
        return f"a list of {_said(typing.get_args(hint)[0])}"
    return str(getattr(hint, "__name__", hint))

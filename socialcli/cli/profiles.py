"""Profiles: TOML files that say which model each stage uses; flags override every value.

A profile has one table per subcommand, whose keys are that subcommand's flags::

    [caption]
    backend = "blip2"
    model = "Salesforce/blip2-opt-2.7b"
    num-beams = 5

    [segment]
    model = "/models/sam_vit_h_4b8939.pth"

A relative ``model`` path that exists beside the profile is taken from there, and so is one that
begins with a dot and exists nowhere.
"""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from pathlib import Path
from typing import Any

from socialcli.errors import UsageError


def folders() -> list[Path]:
    """Where named profiles are looked for, in order."""
    here = Path(__file__).parents[1]
    found = [here / "shipped_profiles", here.parent / "pipelines" / "profiles"]
    extra = os.environ.get("SOCIALCLI_PROFILES")
    if extra:
        found[:0] = [Path(p) for p in extra.split(os.pathsep) if p]
    return found


def names() -> dict[str, Path]:
    """Every profile that can be named, with its file."""
    found: dict[str, Path] = {}
    for folder in folders():
        for file in sorted(folder.glob("*.toml")):
            found.setdefault(file.stem, file)
    return found


def load(name: str) -> tuple[dict[str, dict[str, Any]], Path]:
    """A profile's tables and its file, from a name or a path ending in .toml.

    Raises:
        UsageError: there is no such profile, or it is not valid TOML.
    """
    import tomllib

    known = names()
    path = known.get(name)
    if path is None:
        if not name.endswith(".toml") or not Path(name).is_file():
            raise UsageError(
                f"--profile {name}: no such profile; there are {', '.join(sorted(known))}, "
                "or give the path of a .toml file"
            )
        path = Path(name)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    return {k: v for k, v in tables.items() if isinstance(v, dict)}, path


def values(
    name: str | None,
    command: str,
    config_type: type,
    flags: dict[str, Any],
    method: str | None = None,
) -> dict[str, Any]:
    """The stage's configuration: defaults, then the profile, then the flags that were given.

    Args:
        name: profile name or file, None for the defaults alone.
        command: the subcommand whose table applies.
        config_type: the stage's Config dataclass.
        flags: field name -> value for each flag that was given on the command line.
        method: of a command with methods: its ``[command.method]`` table comes after ``[command]``.

    Raises:
        UsageError: the profile has a key this subcommand does not know, or a wrong type.
    """
    fields = {f.name: f for f in dataclasses.fields(config_type)}
    result: dict[str, Any] = {}
    for field in fields.values():
        if field.default is not dataclasses.MISSING:
            result[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            result[field.name] = field.default_factory()
    if name is not None:
        tables, path = load(name)
        hints = typing.get_type_hints(config_type)
        table = dict(tables.get(command, {}))
        if method is not None:
            own = table.get(method, {})
            # What [command] says is for all its methods; a method without that option ignores it.
            # Its tables are the methods' own: `train` has a method and an option "feedback".
            plain = {k: v for k, v in table.items() if not isinstance(v, dict)}
            table = {k: v for k, v in plain.items() if _field(k) in fields} | own
        for key, value in table.items():
            field_name = key.replace("-", "_")
            if field_name + "_" in fields:  # a field that would be a Python keyword
                field_name += "_"
            if field_name not in fields:
                known = ", ".join(f.strip("_").replace("_", "-") for f in fields)
                raise UsageError(f"{path}: [{command}] has no option '{key}'; it has {known}")
            result[field_name] = _checked(value, hints[field_name], f"{path}: [{command}] {key}")
            if field_name.endswith("model") and isinstance(value, str):
                beside = path.parent / value
                lost = value.startswith(".") and not Path(value).exists()
                if value and not Path(value).is_absolute() and (beside.exists() or lost):
                    result[field_name] = str(beside.resolve())
    result.update(flags)
    missing = [n for n in fields if n not in result]
    if missing:
        raise UsageError(f"{command}: --{missing[0].replace('_', '-')} is required")
    return result


def _field(key: str) -> str:
    return key.replace("-", "_")


def _checked(value: Any, hint: Any, where: str) -> Any:
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for kind in allowed:
        plain = typing.get_origin(kind) or kind
        if plain is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(plain, type) and isinstance(value, plain):
            if plain is int and isinstance(value, bool):
                continue
            return value
    wanted = " or ".join(getattr(k, "__name__", str(k)) for k in allowed)
    raise UsageError(f"{where} = {value!r}: expected {wanted}")

"""Profiles: TOML files that say which model each stage uses; flags override every value.

A profile has one table per subcommand, whose keys are that subcommand's flags::

    [caption]
    backend = "blip2"
    model = "Salesforce/blip2-opt-2.7b"
    beams = 5

    [segment]
    model = "/models/sam_vit_h_4b8939.pth"

Of commands with methods, and of ``import``, ``[train]`` is for all methods that have the option and
``[train.feedback]`` for that one. Every table of a profile is checked whenever it is read, whatever
the command, and all its mistakes are told at once (`socialcli.cli.profile_check`).

A relative ``model`` path that exists beside the profile is taken from there, and so is one that
begins with a dot and exists nowhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from socialcli import textfiles
from socialcli.config import MISSING, check_bounds, choices, default, flag, no_choice
from socialcli.errors import SocialcliError, UnknownName, UsageError


def folders() -> list[Path]:
    """Where named profiles are looked for, in order."""
    here = Path(__file__).parents[1]
    places = [here / "shipped_profiles", here.parent / "pipelines" / "profiles"]
    extra = os.environ.get("SOCIALCLI_PROFILES")
    if extra:
        places[:0] = [Path(p) for p in extra.split(os.pathsep) if p]
    return places


def names() -> dict[str, Path]:
    """Every profile that can be named, with its file."""
    files: dict[str, Path] = {}
    for folder in folders():
        for file in sorted(folder.glob("*.toml")):
            files.setdefault(file.stem, file)
    return files


def load(name: str) -> tuple[dict[str, Any], Path]:
    """A profile's tables and its file, from a name or a path ending in .toml; unchecked.

    Raises:
        UsageError: there is no such profile, or it is not valid TOML.
    """
    import tomllib

    known = names()
    path = known.get(name)
    if path is None:
        if not name.endswith(".toml") or not Path(name).is_file():
            what = "--profile: no such profile or .toml file"
            raise UnknownName(what, name, sorted(known))
        path = Path(name)
    try:
        return tomllib.loads(textfiles.read(path)), path
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from None


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
        method: of a command with methods (or importers): its ``[command.method]`` table comes
            after ``[command]``.

    Raises:
        UsageError: the profile has mistakes, in whatever table: all of them are listed.
    """
    fields = {f.name: f for f in dataclasses.fields(config_type)}
    result: dict[str, Any] = {}
    for field in fields.values():
        if (value := default(field)) is not MISSING:
            result[field.name] = value
    if name is not None:
        from socialcli.cli.profile_check import check

        tables, path = load(name)
        check(tables, path, {(command, method): config_type})
        for key, value in _applied(tables.get(command, {}), config_type, method).items():
            if key.endswith("model") and isinstance(value, str):
                value = _beside(value, path)
            elif key.endswith("model") and isinstance(value, list):
                value = [_beside(one, path) for one in value]
            whole = isinstance(value, int) and not isinstance(value, bool)
            result[key] = float(value) if whole and _is_float(fields[key].type) else value
    result.update(flags)
    check_bounds(config_type, result)
    for option in fields.values():
        role = option.metadata.get("role")
        if role and (word := no_choice(option, result[option.name], words(option))):
            raise UnknownName(f"no {role} backend", word, words(option))
    missing = [n for n in fields if n not in result]
    if missing:
        raise UsageError(f"{command}: {flag(missing[0])} is required")
    return result


@contextlib.contextmanager
def explaining(
    name: str | None, config_type: type, config: dict[str, Any], given: Collection[str]
) -> Iterator[None]:
    """Have an error about a profile's file say that it is the profile's.

    A profile's adapters are made for the profile's model, and who names another model did not name
    them.

    Args:
        name: of the profile. config: as `values` gave it. given: the fields whose flag was given.

    Raises:
        SocialcliError: the one that was raised, with the mend in its line.
    """
    try:
        yield
    except SocialcliError as error:
        if name is None or "model" not in given or type(error).lines is not SocialcliError.lines:
            raise
        for field in dataclasses.fields(config_type):
            value = config[field.name]
            places = value if isinstance(value, list) else [value]
            if not field.name.endswith("_model") or field.name in given:
                continue
            if any(isinstance(place, str) and place and place in str(error) for place in places):
                error.args = (
                    f"{error}. It is the one of --profile {name}, for the profile's own model: "
                    f"with --model {config['model']} give {flag(field.name)} too ('' for none)",
                )
                break
        raise


def words(option: dataclasses.Field[Any]) -> list[str]:
    """The words that an option's value can be, or be made of; empty where it is free."""
    if option.metadata.get("role"):
        from socialcli import backends

        return list(backends.available()[option.metadata["role"]])
    return choices(option)


def _applied(table: dict[str, Any], config_type: type, method: str | None) -> dict[str, Any]:
    """Field name -> value of what a command's table says to one Config.

    What ``[command]`` says is for all its methods; a method without that option ignores it. Its
    tables are the methods' own: `train` has a method and an option "feedback".
    """
    if method is None:
        return {field_of(key, config_type): value for key, value in table.items()}
    known = {f.name for f in dataclasses.fields(config_type)}
    plain = {k: v for k, v in table.items() if not isinstance(v, dict)}
    common = {k: v for k, v in plain.items() if field_of(k, config_type) in known}
    own = table.get(method, {})
    return {field_of(key, config_type): value for key, value in (common | own).items()}


def field_of(key: str, config_type: type) -> str:
    """The name of the field that a key means: ``num-beams`` is ``num_beams``, ``with``, which
    would be a Python keyword, is ``with_``."""
    name = key.replace("-", "_")
    return name + "_" if name + "_" in {f.name for f in dataclasses.fields(config_type)} else name


def _is_float(hint: Any) -> bool:
    """Whether a field holds numbers that need not be whole; TOML's ``1`` is one of them."""
    words = getattr(hint, "__name__", str(hint)).replace("|", " ").split()
    return "float" in words and "int" not in words


def _beside(model: str, path: Path) -> str:
    """A model's place: a relative path is taken from the profile where it lies there."""
    place = path.parent / model
    lost = model.startswith(".") and not Path(model).exists()
    if model and not Path(model).is_absolute() and (place.exists() or lost):
        return str(place.resolve())
    return model

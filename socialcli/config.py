"""Option fields: a Config is a dataclass whose fields are flags and keys of a profile's tables.

A Config with many of them may sort them for ``--help``: ``FIRST`` names those that a newcomer
needs, ``GROUPS`` maps the first field of each group to the group's title.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from socialcli.errors import UnknownName, UsageError


def option(
    default: Any,
    help: str,
    *,
    affects_result: bool = True,
    file: bool = False,
    mends: bool = False,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    choices: Iterable[str] | Callable[[], Iterable[str]] = (),
    many: bool = False,
    role: str = "",
    only: str = "",
) -> Any:
    """A field of a Config: its default, its help line, and whether results depend on it
    (``file``: on the content of the file it names; ``mends``: what is missing or wrong in that
    file fails single samples, so that a corrected file is what ``--retry-failed`` is given for).

    Options that cannot change a result (device, batch size) stay out of the fingerprint that
    decides whether a finished shard may be kept. Numbers have bounds, which `beyond` checks
    wherever a value comes from; ``above`` is a bound that is itself too low. ``choices`` are the
    words a value can be, or with ``many`` each of those between its commas; ``role`` says that it
    names one of that role's backends. ``only`` says with what it is read at all (see `unread`).
    """
    metadata = {
        "help": help,
        "affects_result": affects_result,
        "file": file,
        "mends": mends,
        "bounds": (at_least, at_most, above),
        "choices": choices,
        "many": many,
        "role": role,
        "only": only,
    }
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def again(config_type: type, name: str, only: str) -> Any:
    """An option of another Config once more, of which ``only`` says with what it is read here."""
    (of,) = (field_ for field_ in fields(config_type) if field_.name == name)
    return field(default=of.default, metadata={**of.metadata, "only": only})


def beyond(metadata: Mapping[str, Any], value: Any) -> str:
    """What is wrong with a number of an option, as in "at least 1"; "" where nothing is.

    Every number of a list is looked at. None and what is no number are not judged.
    """
    at_least, at_most, above = metadata.get("bounds", (None, None, None))
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if isinstance(number, float) and not math.isfinite(number):
            return "expected a finite number"
        low = at_least is not None and number < at_least
        high = at_most is not None and number > at_most
        if (low or high) and at_least is not None and at_most is not None:
            return f"expected a number from {at_least:g} to {at_most:g}"
        if low:
            return f"at least {at_least:g}"
        if above is not None and number <= above:
            return f"above {above:g}"
        if high:
            return f"at most {at_most:g}"
    return ""


def choices(option: Field[Any]) -> list[str]:
    """The words that an option's value can be, or be made of; empty where it is free.

    What an option of a ``role`` can be, only those know who know the backends.
    """
    named = option.metadata.get("choices", ())
    return list(named() if callable(named) else named)


def no_choice(option: Field[Any], value: Any, known: list[str]) -> str:
    """The word of an option's value that is none of those it can be; "" where all are.

    None and an empty text are not judged: what they mean is the option's own business.
    """
    if not known or not isinstance(value, str):
        return ""
    words = [w.strip() for w in value.split(",")] if option.metadata.get("many") else [value]
    return next((word for word in words if word and word not in known), "")


def unread(config_type: type, values: Mapping[str, Any], given: Iterable[str]) -> list[str]:
    """One line for each option that was given though nothing reads it.

    Args:
        config_type: a dataclass of option fields, whose ``only`` is "query_by=mask" (another
            option's value) or "attempts" (another option that is not at its default); of a method
            of generate also "shards" or "prompts", where the prompts come from, which is not
            known here.
        values: field name -> value of all of them. given: names of those that were given.
    """
    named, lines = {field_.name: field_ for field_ in fields(config_type)}, []
    for name in given:
        other, is_value, word = named[name].metadata.get("only", "").partition("=")
        if other not in named:
            continue
        if values[other] != word if is_value else values[other] == default(named[other]):
            wanted = flag(other) + (f" {word}" if is_value else "")
            lines.append(f"{flag(name)} changes nothing without {wanted}")
    return lines


def default(option: Field[Any]) -> Any:
    """The value of an option that nobody gives; MISSING of one that has to be given."""
    factory = option.default_factory
    return option.default if factory is MISSING else factory()


def flag(name: str) -> str:
    """A field's name as it is written on the command line."""
    return "--" + name.strip("_").replace("_", "-")


def check_bounds(config_type: type, values: Mapping[str, Any]) -> None:
    """Refuse numbers that make no sense and words that are no choice.

    Args:
        config_type: a dataclass of option fields. values: field name -> value.

    Raises:
        UsageError: one line that names the option, its value and its bound, or what it can be.
    """
    for field_ in fields(config_type):
        named = no_choice(field_, values.get(field_.name), choices(field_))
        if named:
            raise UnknownName(flag(field_.name), named, choices(field_))
        wrong = beyond(field_.metadata, values.get(field_.name))
        if wrong:
            raise UsageError(f"{flag(field_.name)} {_plain(values[field_.name])}: {wrong}")


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@dataclass
class ModelOptions:
    """Options of everything that runs a model."""

    device: str = option(
        "auto",
        "Where models run: auto, cpu, cuda, cuda:N, mps.",
        affects_result=False,
    )
    dtype: str = option("auto", "Number type: auto, float32, bfloat16, float16.")
    batch_size: int = option(8, "Pictures per model call.", affects_result=False, at_least=1)


__all__ = [
    "MISSING", "ModelOptions", "beyond", "check_bounds", "choices", "default", "flag", "no_choice",
    "option", "unread",
]  # fmt: skip

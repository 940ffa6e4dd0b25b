"""Option fields: a Config is a dataclass whose fields are flags and keys of a profile's tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from socialcli.errors import UsageError


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
) -> Any:
    """A field of a Config: its default, its help line, and whether results depend on it
    (``file``: on the content of the file it names; ``mends``: what is missing or wrong in that
    file fails single samples, so that a corrected file is what ``--retry-failed`` is given for).

    Options that cannot change a result (device, batch size) stay out of the fingerprint that
    decides whether a finished shard may be kept. Numbers have bounds, which `beyond` checks
    wherever a value comes from; ``above`` is a bound that is itself too low.
    """
    metadata = {
        "help": help,
        "affects_result": affects_result,
        "file": file,
        "mends": mends,
        "bounds": (at_least, at_most, above),
    }
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default if default is not None else None, metadata=metadata)


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
        if at_least is not None and at_most is not None:
            if not at_least <= number <= at_most:
                return f"expected a number from {at_least:g} to {at_most:g}"
        elif at_least is not None and number < at_least:
            return f"at least {at_least:g}"
        elif above is not None and number <= above:
            return f"above {above:g}"
    return ""


def check_bounds(config_type: type, values: Mapping[str, Any]) -> None:
    """Refuse numbers that make no sense.

    Args:
        config_type: a dataclass of option fields. values: field name -> value.

    Raises:
        UsageError: one line that names the option, its value and its bound.
    """
    for field_ in fields(config_type):
        wrong = beyond(field_.metadata, values.get(field_.name))
        if wrong:
            flag = field_.name.strip("_").replace("_", "-")
            raise UsageError(f"--{flag} {_plain(values[field_.name])}: {wrong}")


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@dataclass
class ModelOptions:
    """Options of everything that runs a model."""

    device: str = option(
        "auto", "Where models run: auto, cpu, cuda, cuda:N, mps.", affects_result=False
    )
    dtype: str = option("auto", "Number type: auto, float32, bfloat16, float16.")
    batch_size: int = option(8, "Pictures per model call.", affects_result=False, at_least=1)


__all__ = ["MISSING", "ModelOptions", "beyond", "check_bounds", "option"]

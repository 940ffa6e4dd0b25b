"""Option fields: a Config is a dataclass whose fields are flags and keys of a profile's tables."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from typing import Any


def option(
    default: Any,
    help: str,
    *,
    affects_result: bool = True,
    file: bool = False,
    mends: bool = False,
) -> Any:
    """A field of a Config: its default, its help line, and whether results depend on it
    (``file``: on the content of the file it names; ``mends``: what is missing or wrong in that
    file fails single samples, so that a corrected file is what ``--retry-failed`` is given for).

    Options that cannot change a result (device, batch size) stay out of the fingerprint that
    decides whether a finished shard may be kept.
    """
    metadata = {"help": help, "affects_result": affects_result, "file": file, "mends": mends}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default if default is not None else None, metadata=metadata)


@dataclass
class ModelOptions:
    """Options of everything that runs a model."""

    device: str = option(
        "auto", "Where models run: auto, cpu, cuda, cuda:N, mps.", affects_result=False
    )
    dtype: str = option("auto", "Number type: auto, float32, bfloat16, float16.")
    batch_size: int = option(8, "Pictures per model call.", affects_result=False)


__all__ = ["MISSING", "ModelOptions", "option"]

"""Which of a folder's weights are loaded: the plain ones, else those of a variant (``fp16``).

Hugging Face repositories hold half-precision copies as ``model.fp16.safetensors`` beside
``model.safetensors``, and often those alone are downloaded.
"""

from __future__ import annotations

import re
from pathlib import Path

from socialcli.errors import UsageError

# model.safetensors, model.fp16.safetensors, model.fp16-00001-of-00002.safetensors,
# model.safetensors.index.fp16.json; the variant is group 1 or 2.
_WEIGHTS = re.compile(
    r"(?:model|diffusion_pytorch_model|pytorch_model)"
    r"(?:\.([\w-]+?))?(?:-\d+-of-\d+)?\.(?:safetensors|bin)(?:\.index(?:\.([\w-]+))?\.json)?"
)
PREFERRED = ("fp16", "bf16")


PLAIN = "plain"


def options(asked: str | None) -> dict[str, str]:
    """The options of a `ModelSpec` for what ``--variant`` says."""
    return {"variant": asked} if asked else {}


def chosen(folder: Path | None, asked: str | None) -> str | None:
    """The variant to load, None for the plain weights.

    Args:
        folder: of a model's weights; None where it is not on this machine yet.
        asked: what ``--variant`` says; None: `variant` decides.

    Raises:
        UsageError: the folder has weights, and none of that variant.
    """
    if asked is None:
        return variant(folder) if folder is not None else None
    wanted = None if asked == PLAIN else asked
    there = _variants(folder) if folder is not None else set()
    if there and wanted not in there:
        names = ", ".join(sorted(name or PLAIN for name in there))
        raise UsageError(f"--variant {asked}: {folder} holds weights of {names}")
    return wanted


def variant(folder: Path) -> str | None:
    """The variant to load from a folder of weights; None where its plain weights are there, or
    none at all."""
    variants = _variants(folder)
    if None in variants:
        return None
    known = [name for name in PREFERRED if name in variants] + sorted(filter(None, variants))
    return known[0] if known else None


def _variants(folder: Path) -> set[str | None]:
    """The variants of a folder's weights, None for plain ones."""
    matches = (_WEIGHTS.fullmatch(file.name) for file in folder.glob("*"))
    return {match[1] or match[2] for match in matches if match is not None}

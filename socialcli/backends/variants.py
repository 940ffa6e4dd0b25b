"""Which of a folder's weights are loaded: the plain ones, else those of a variant (``fp16``).

Hugging Face repositories hold half-precision copies as ``model.fp16.safetensors`` beside
``model.safetensors``, and often those alone are downloaded.
"""

from __future__ import annotations

import re
from pathlib import Path

# model.safetensors, model.fp16.safetensors, model.fp16-00001-of-00002.safetensors,
# model.safetensors.index.fp16.json; the variant is group 1 or 2.
_WEIGHTS = re.compile(
    r"(?:model|diffusion_pytorch_model|pytorch_model)"
    r"(?:\.([\w-]+?))?(?:-\d+-of-\d+)?\.(?:safetensors|bin)(?:\.index(?:\.([\w-]+))?\.json)?"
)
PREFERRED = ("fp16", "bf16")


def variant(folder: Path) -> str | None:
    """The variant to load from a folder of weights; None where its plain weights are there, or
    none at all."""
    found: set[str] = set()
    for file in folder.glob("*"):
        match = _WEIGHTS.fullmatch(file.name)
        if match is None:
            continue
        name = match[1] or match[2]
        if name is None:
            return None
        found.add(name)
    known = [name for name in PREFERRED if name in found] + sorted(found)
    return known[0] if known else None

"""Options that name a diffusion checkpoint, as every command that loads one has them.

Each function gives a new field, for one line in the body of a Config.
"""

from __future__ import annotations

from typing import Any

from socialcli.config import option


def backend() -> Any:
    return option("stable-diffusion", "Diffusion backend.", role="diffusion")


def model() -> Any:
    return option("", "Diffusion checkpoint: folder, hub id or .safetensors file.")


def revision() -> Any:
    return option(None, "Branch, tag or commit of a hub checkpoint.")


def variant() -> Any:
    return option(
        None,
        "Which of several copies of its weights: fp16, bf16, ..., or plain (default: plain, else "
        "the copy that is there).",
    )

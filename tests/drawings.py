"""Pictures that `generate` draws in this process, and what tests read off them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import conftest
import numpy
import pytest
from parts import part
from PIL import Image

from socialcli import records
from socialcli.cli import profiles
from socialcli.cli.commands import generate
from socialcli.errors import SocialcliError
from socialcli.pipeline.run import RunOptions


def run(method: str, out: Path, *inputs: Any, most_failed: float = 0.05, **options: Any) -> dict:
    """Key -> members of what a method draws on the processor.

    Args:
        inputs: shards. most_failed: share of the samples that may fail.
    """
    config = part("methods.generate", method).Config
    values = profiles.values(None, "generate", config, {"device": "cpu", **options}, method)
    running = RunOptions(quiet=True, max_error_rate=most_failed)
    generate.run(method, values, [str(one) for one in inputs], str(out), running)
    return conftest.members(out)


def failure(out: Path, call: Callable[[Path], Any]) -> str:
    """Why the one picture of a run failed."""
    with pytest.raises(SocialcliError, match=r"100\.0% of the samples failed"):
        call(out)
    (log,) = out.rglob("*.errors.jsonl")
    return log.read_text()


def pixels(png: bytes) -> numpy.ndarray:
    """(H, W, 3) integers of 0 to 255."""
    return numpy.asarray(Image.open(io.BytesIO(png))).astype(int)


def record(members: dict[str, bytes]) -> records.Generated:
    """What a picture's record says."""
    return records.load(records.Generated, members["generated.json"])

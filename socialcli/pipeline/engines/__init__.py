"""Engines: where the tasks of a plan run. One file each, found by its name.

An engine is a module with ``run(plan, tasks, options, report) -> Stats``; all of them call
`socialcli.pipeline.shard.run` for each task and know nothing of any stage.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from socialcli.errors import UsageError


def names() -> list[str]:
    return sorted(p.stem for p in Path(__file__).parent.glob("[a-z]*.py"))


def get(name: str) -> Any:
    """The engine module called ``name``.

    Raises:
        UsageError: there is no such engine.
    """
    if name not in names():
        raise UsageError(f"--engine {name}: there are {', '.join(names())}")
    return importlib.import_module(f"socialcli.pipeline.engines.{name}")

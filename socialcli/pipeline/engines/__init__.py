"""Engines: where the tasks of a plan run. One file each, found by its name."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from socialcli.registry import Part

if TYPE_CHECKING:
    from socialcli.pipeline.plan import Plan, Stats, Task
    from socialcli.pipeline.report import Report


class Engine(Part, base=True):
    """All engines call `socialcli.pipeline.shard` for each task and know nothing of any stage."""

    @abc.abstractmethod
    def run(self, plan: Plan, tasks: list[Task], options: dict[str, str], report: Report) -> Stats:
        """Carry out the tasks and sum up how they went."""

"""Where a training run happens: its device, its share of the processes, and its clock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Clock:
    """Seconds by activity; inner activities are taken out of the outer ones'.

    Off, it costs nothing. On, it waits for the device at every change, so that work is counted
    where it was asked for.
    """

    def __init__(self, device: torch.device, on: bool = False) -> None:
        self.device, self.on = device, on
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    @contextlib.contextmanager
    def __call__(self, activity: str) -> Iterator[None]:
        """``with clock("decode"): ...``"""
        if not self.on:
            yield
            return
        self._turn()
        self._open.append(activity)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def _turn(self) -> None:
        """Put the time since the last change on the activity that was going on."""
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if self._open:
            name = self._open[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    def table(self, steps: int) -> str:
        """Seconds a step and share of each activity, largest first."""
        total = sum(self.seconds.values()) or 1.0
        lines = [f"{'activity':<24}{'s/step':>10}{'share':>8}"]
        for name, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
            lines.append(f"{name:<24}{seconds / steps:>10.4f}{seconds / total:>8.1%}")
        lines.append(f"{'total':<24}{total / steps:>10.4f}{1:>8.1%}")
        return "\n".join(lines)


@dataclass
class Place:
    """What a method's ``load`` is told."""

    device: torch.device
    dtype: torch.dtype  # of frozen networks; what trains is float32
    clock: Clock
    process: int = 0  # this one's number
    processes: int = 1
    accelerator: Any = field(default=None, repr=False)

    @property
    def first(self) -> bool:
        """Whether this process writes the files and says things."""
        return self.process == 0

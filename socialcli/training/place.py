"""Where a training run happens: its device, its share of the processes, and its clock."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from socialcli.backends import devices
from socialcli.errors import UsageError
from socialcli.shards.index import Index

if TYPE_CHECKING:
    import torch

    from socialcli.training.options import TrainingOptions

LOCK = ".lock"  # the file in an output folder that a run holds


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
    accelerator: Any = field(default=None, repr=False)  # where there are several processes
    index: Index = field(default_factory=lambda: Index([]), repr=False)  # the data
    folder: Path = Path()  # the run's output folder, for what a method makes before it trains
    say: Callable[[str], None] = field(default=lambda line: None, repr=False)  # to the user

    @property
    def first(self) -> bool:
        """Whether this process writes the files and says things."""
        return self.process == 0

    def wait(self) -> None:
        """Until every process has come here."""
        if self.processes > 1:
            self.accelerator.wait_for_everyone()


def here(config: TrainingOptions) -> Place:
    """This process's place: alone, or one of several that torchrun or accelerate started."""
    import torch

    dtype = devices.dtype(config.dtype)
    if config.device.startswith("cpu"):
        devices.keep_memory()
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        device = torch.device(config.device)
        return Place(device, dtype, Clock(device))
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=config.device == "cpu")
    return Place(
        accelerator.device, dtype, Clock(accelerator.device), accelerator.process_index,
        accelerator.num_processes, accelerator,
    )  # fmt: skip


def idle(config: TrainingOptions, processes: int) -> str:
    """A line where a step has fewer micro-batches than there are processes; "" elsewhere."""
    count = -(-config.batch_size // config.micro_batch)
    if processes <= count:
        return ""
    return (
        f"{processes - count} of {processes} processes do nothing: --batch-size "
        f"{config.batch_size} in pieces of --micro-batch {config.micro_batch} is work for {count}; "
        "take smaller pieces, or a larger batch"
    )


def summed(values: torch.Tensor, place: Place) -> torch.Tensor:
    """A float32 tensor on the CPU, summed over the processes."""
    if place.processes == 1:
        return values
    return place.accelerator.reduce(values.to(place.device), "sum").cpu()


def gathered(values: list[Any], place: Place) -> list[Any]:
    """The lists of all processes as one, in the processes' order."""
    if place.processes == 1:
        return values
    from accelerate.utils import gather_object

    return gather_object(values)


@contextlib.contextmanager
def sole_owner(folder: Path, place: Place) -> Iterator[None]:
    """Hold an output folder for this run. If nothing is written in it, no trace of that is left.

    Raises:
        UsageError: another run that is still going on holds it.
    """
    if not place.first:
        yield
        return
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    before = set() if new_folders else {path.name for path in folder.iterdir()}
    lock = _held(folder)
    try:
        yield
    finally:
        if {path.name for path in folder.iterdir()} - before == {LOCK}:
            (folder / LOCK).unlink()
            for path in new_folders:
                with contextlib.suppress(OSError):  # somebody has put something there
                    path.rmdir()
        lock.close()


def _held(folder: Path) -> TextIO:
    """The lock file of a folder, open and locked."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "w")
        try:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise UsageError(f"{folder}: another run is writing there now") from None
        except (ImportError, OSError):  # not every system and file system has these locks
            return file
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), (folder / LOCK).stat()):
                return file
        file.close()  # whoever held it has removed it meanwhile

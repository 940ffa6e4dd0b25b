"""What a run leaves for people to look at: ``log.jsonl`` always, TensorBoard and W&B if asked."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import shards
from socialcli.backends import naming
from socialcli.errors import MissingPackage

if TYPE_CHECKING:
    from PIL.Image import Image


def check(names: list[str]) -> None:
    """Refuse a log whose package is not there.

    Raises:
        MissingPackage: with the line that installs it.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingPackage(name, name)


class Log:
    """The logs of one run; of a resumed one, what it had logged beyond ``step`` goes first.

    Attributes:
        named: event -> keys of the samples that it named up to there.
    """

    def __init__(self, folder: Path, names: list[str], step: int, record: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / naming.LOG
        self.named: dict[str, set[str]] = {}
        for event in _cut(self._path, step):
            if "key" in event:
                self.named.setdefault(event["event"], set()).add(event["key"])
        # Not buffered: what a full disk did not take would fail once more at the end.
        self._file = self._path.open("ab", buffering=0)
        self._board: Any = None
        self._wandb: Any = None
        if naming.TENSORBOARD in names:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / naming.TENSORBOARD), purge_step=step + 1)
        if naming.WANDB in names:
            import wandb

            run = f"{record['command']}-{record['method']}"
            self._wandb = wandb.init(
                project="socialcli", name=f"{run}-{folder.name}", dir=str(folder), config=record,
                id=_same_id(folder), resume="allow",
            )  # fmt: skip

    def step(self, step: int, values: dict[str, float]) -> None:
        """Numbers of one step."""
        self._line({"step": step, **{k: _rounded(v) for k, v in values.items()}})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(values, step=step)

    def event(self, step: int, event: str, **facts: Any) -> None:
        """Something that happened: a skipped sample, a checkpoint, the end."""
        self._line({"step": step, "event": event, **facts})

    def picture(self, step: int, picture: Image) -> None:
        """A grid of validation pictures."""
        if self._board is not None:
            import numpy

            self._board.add_image("validation", numpy.asarray(picture), step, dataformats="HWC")
        if self._wandb is not None:
            import wandb

            self._wandb.log({"validation": wandb.Image(picture)}, step=step)

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()

    def _line(self, body: dict[str, Any]) -> None:
        line = (json.dumps(body, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        with shards.explain_full_disk(str(self._path)):
            while line:
                line = line[self._file.write(line) :]


def _rounded(value: float) -> float | str:
    """Seven digits; what is no number as a word, since JSON has none for it."""
    return float(f"{value:.7g}") if math.isfinite(value) else str(value)


def _cut(path: Path, step: int) -> list[dict[str, Any]]:
    """Drop what stands beyond a step, and a last line that a killed run left unfinished; gives the
    events that stay."""
    if not path.exists():
        return []
    kept, events = [], []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):  # keys have others
        try:
            body = json.loads(line)
        except ValueError:
            continue
        if body.get("step", 0) <= step:
            kept.append(line + "\n")
            events += [body] if "event" in body else []
    shards.write_bytes(str(path), "".join(kept).encode())
    return events


def _same_id(folder: Path) -> str:
    """One W&B run for all the processes that a run is resumed in: its id lies in the folder."""
    import secrets

    file = folder / "wandb-id"
    if not file.exists():
        file.write_text(secrets.token_hex(6), encoding="utf-8")
    return file.read_text(encoding="utf-8")

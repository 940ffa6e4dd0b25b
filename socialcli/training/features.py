"""What depends on a sample alone, made once: in memory up to a size, on disk up to another.

A file of the cache appears whole or not at all; one that cannot be read is made again.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from socialcli import shards
from socialcli.randomness import seeded

GB = 2**30


class Features:
    """Dicts of tensors (on the CPU) and plain JSON values by (item, variant).

    Safe to use from several threads; several processes may share the folder.
    """

    def __init__(self, folder: Path, memory: float, disk: float, processes: int = 1) -> None:
        """``memory`` (of this process) and ``disk`` are GB; 0 keeps nothing there. ``processes``
        that write to the folder share what is left of the disk's."""
        self.folder, self.memory, self.disk = folder, memory * GB, disk * GB
        self._held: OrderedDict[tuple[str, int], tuple[int, dict[str, Any]]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        for part in (folder, *folder.glob("*/")):
            shards.sweep(part)  # what killed runs left
        there = sum(f.stat().st_size for f in folder.glob("*/*.safetensors"))
        self._left = (self.disk - there) / processes

    def has(self, item: str, variant: int) -> bool:
        return (item, variant) in self._held or self._file(item, variant).exists()

    def get(self, item: str, variant: int) -> dict[str, Any] | None:
        """What `put` was given; None where nothing is kept."""
        with self._lock:
            held = self._held.get((item, variant))
            if held is not None:
                self._held.move_to_end((item, variant))
                return held[1]
        values = _load(self._file(item, variant)) if self.disk else None
        if values is not None:
            self._hold(item, variant, values)
        return values

    def put(self, item: str, variant: int, values: dict[str, Any]) -> dict[str, Any]:
        """Keep them; returned as they will come back (tuples are lists then)."""
        import torch

        plain = {k: v for k, v in values.items() if not isinstance(v, torch.Tensor)}
        values = {**values, **json.loads(json.dumps(plain))}
        if not self.memory and not self.disk:
            return values
        values = {k: v.cpu() if isinstance(v, torch.Tensor) else v for k, v in values.items()}
        self._hold(item, variant, values)
        size = _size(values)
        if size <= self._left:
            self._left -= size
            _save(self._file(item, variant), values)
        return values

    def _hold(self, item: str, variant: int, values: dict[str, Any]) -> None:
        size = _size(values)
        with self._lock:
            old = self._held.pop((item, variant), None)
            self._size += size - (old[0] if old else 0)
            self._held[item, variant] = (size, values)
            while self._size > self.memory and self._held:
                _, (gone, _) = self._held.popitem(last=False)
                self._size -= gone

    def _file(self, item: str, variant: int) -> Path:
        name = f"{seeded(item, variant):016x}"
        return self.folder / name[:2] / f"{name}.safetensors"


def _size(values: dict[str, Any]) -> int:
    import torch

    tensors = [v for v in values.values() if isinstance(v, torch.Tensor)]
    return 512 + sum(t.numel() * t.element_size() for t in tensors)


def _save(file: Path, values: dict[str, Any]) -> None:
    import torch
    from safetensors.torch import save

    tensors = {k: v.contiguous() for k, v in values.items() if isinstance(v, torch.Tensor)}
    plain = {k: v for k, v in values.items() if k not in tensors}
    with shards.publish(str(file), synced=False, swept=True) as stream:
        stream.write(save(tensors, {"plain": json.dumps(plain)}))


def _load(file: Path) -> dict[str, Any] | None:
    from safetensors import SafetensorError, safe_open

    values: dict[str, Any] = {}
    with contextlib.suppress(OSError, SafetensorError, ValueError):
        with safe_open(file, "pt") as stored:
            values = json.loads((stored.metadata() or {}).get("plain", "{}"))
            for name in stored.keys():  # noqa: SIM118 - not a dict
                values[name] = stored.get_tensor(name).clone()
        return values
    return None


def stamp(name: str) -> list[tuple[str, int, int]]:
    """What tells the files of a file or folder from those that lay there before: name, size and
    time of change of each. Empty where nothing has that name."""
    if not name:
        return []
    place = Path(name).expanduser()
    try:
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        contents = [(str(f.relative_to(place)), f.stat()) for f in files if f.is_file()]
    except (OSError, ValueError):  # a text too long for a name, or not to be looked at
        return []
    return [(relative, status.st_size, status.st_mtime_ns) for relative, status in contents]

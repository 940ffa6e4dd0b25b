"""Checkpoints: a folder per saved step that appears whole or not at all.

checkpoints/step-000100/trainable.safetensors   parameters and buffers of what trains
                        optimiser.safetensors   its moments, by parameter number
                        state.json              the step, and what the run is
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.errors import UsageError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

_NAME = re.compile(r"step-(\d+)")


def latest(folder: Path) -> Path | None:
    """The checkpoint of the last step, None where there is none."""
    found = [p for p in folder.glob("step-*") if _NAME.fullmatch(p.name)]
    return max(found, key=lambda p: int(p.name[5:]), default=None)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What ``state.json`` says.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{checkpoint}: not a checkpoint ({error}); remove it to go on from the one before"
        ) from None


def tensors(module: nn.Module) -> dict[str, Any]:
    """Parameters that train, and buffers, by name; shared ones once."""
    found = {n: p.detach() for n, p in module.named_parameters() if p.requires_grad}
    kept = module.state_dict()  # without buffers that are never saved
    found.update({n: b for n, b in module.named_buffers() if n in kept})
    return {n: t.cpu().contiguous() for n, t in found.items()}


def save(
    folder: Path, step: int, module: nn.Module, optimiser: Optimizer, state: dict[str, Any],
    keep: int,
) -> Path:  # fmt: skip
    """Write the checkpoint of a step unless it is there, then remove all but the last ``keep``."""
    from socialcli.networks import weights

    target = folder / f"step-{step:06d}"
    if target.exists():
        return target
    moments, plain = _flat(optimiser)
    temporary = beside(target)
    weights.write(temporary / "trainable.safetensors", tensors(module), {})
    weights.write(temporary / "optimiser.safetensors", moments, {})
    body = json.dumps({**state, "step": step, "moments": plain}, indent=1)
    (temporary / "state.json").write_text(body, encoding="utf-8")
    settle(temporary, target)
    kept = sorted(
        (p for p in folder.glob("step-*") if _NAME.fullmatch(p.name)),
        key=lambda p: int(p.name[5:]),
    )
    for old in kept[:-keep]:
        _discard(old)
    return target


def sweep(output: Path) -> None:
    """Remove what killed runs left half written or half removed in an output folder."""
    for half in [
        *output.glob("checkpoints/.*"),
        *output.glob(".*.gone-*"),
        *output.glob(".result.*"),
    ]:
        shutil.rmtree(half, ignore_errors=True)
    for half in [*output.glob("pictures/.*"), *output.glob("cache/features/*/*/.*")]:
        half.unlink(missing_ok=True)


def load(checkpoint: Path, module: nn.Module, optimiser: Optimizer) -> None:
    """Give what trains, and its optimiser, the state of a checkpoint.

    Raises:
        UsageError: its tensors are not those of this module.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(checkpoint / "trainable.safetensors")
        moments = load_file(checkpoint / "optimiser.safetensors")
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"{checkpoint}: cannot be read ({error}); remove it to go on from the one before"
        ) from None
    mine = dict(module.named_parameters()) | dict(module.named_buffers())
    wanted = tensors(module)
    for name in sorted(set(wanted) | set(stored)):
        here, there = wanted.get(name), stored.get(name)
        if here is None or there is None or here.shape != there.shape:
            shapes = [None if t is None else tuple(t.shape) for t in (there, here)]
            raise UsageError(
                f"{checkpoint}: '{name}' is {shapes[0] or 'not'} there, but {shapes[1] or 'not'} "
                "in this model"
            )
        with torch.no_grad():
            mine[name].copy_(there)
    _fill(optimiser, moments, read_state(checkpoint)["moments"])


def _flat(optimiser: Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """The optimiser's state as named tensors and plain values."""
    import torch

    flat: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    for number, values in optimiser.state_dict()["state"].items():
        for name, value in values.items():
            address = f"{number}.{name}"
            if isinstance(value, torch.Tensor):
                flat[address] = value.detach().cpu().contiguous()
            else:
                plain[address] = value
    return flat, plain


def _fill(optimiser: Optimizer, moments: dict[str, Any], plain: dict[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for address, value in [*moments.items(), *plain.items()]:
        number, _, name = address.partition(".")
        state.setdefault(int(number), {})[name] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def beside(target: Path) -> Path:
    """An empty folder to write in, which `settle` then gives the name of ``target``."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return temporary


def settle(temporary: Path, target: Path) -> None:
    """Give a finished folder or file its name; what had that name before goes."""
    sync(temporary)
    if target.is_dir():
        _discard(target)
    temporary.replace(target)
    _sync_one(target.parent)


def sync(place: Path) -> None:
    """A file, or a folder with all that is in it, onto the disk."""
    for inside in [*(place.rglob("*") if place.is_dir() else ()), place]:
        _sync_one(inside)


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse to sync a folder
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


def _discard(folder: Path) -> None:
    """Remove a folder; while that goes on it has no name that anybody would read."""
    gone = folder.with_name(f".{folder.name}.gone-{os.getpid()}")
    folder.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)

"""Checkpoints: a folder per saved step that appears whole or not at all.

checkpoints/step-000100/trainable.safetensors   parameters and buffers of what trains
                        optimiser.safetensors   its moments, by parameter number
                        state.json              the step, and what the run is
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import shards
from socialcli.backends import naming
from socialcli.errors import UsageError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name[5:])


def latest(folder: Path) -> Path | None:
    """The checkpoint of the last step, None where there is none."""
    folders = [p for p in folder.glob("step-*") if naming.STEP.fullmatch(p.name)]
    return max(folders, key=step_of, default=None)


def last_step(folder: Path) -> int:
    """The step of the last checkpoint, 0 where there is none."""
    checkpoint = latest(folder)
    return 0 if checkpoint is None else step_of(checkpoint)


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
    trained = {n: p.detach() for n, p in module.named_parameters() if p.requires_grad}
    kept = module.state_dict()  # without buffers that are never saved
    trained.update({n: b for n, b in module.named_buffers() if n in kept})
    return {n: t.cpu().contiguous() for n, t in trained.items()}


def save(
    folder: Path, step: int, module: nn.Module, optimiser: Optimizer, state: dict[str, Any],
    keep: int, every: int = 1,
) -> Path:  # fmt: skip
    """Write the checkpoint of a step unless it is there, then `keep_last`."""
    from socialcli.networks import weights

    target = folder / naming.after(step)
    if not target.exists():
        moments, plain = _flat(optimiser)
        with shards.publish_folder(target) as temporary:
            weights.write(temporary / "trainable.safetensors", tensors(module), {})
            weights.write(temporary / "optimiser.safetensors", moments, {})
            body = json.dumps({**state, "step": step, "moments": plain}, indent=1)
            (temporary / "state.json").write_text(body, encoding="utf-8")
    keep_last(folder, keep, every)
    return target


def keep_last(folder: Path, keep: int, every: int = 1) -> None:
    """Remove all checkpoints but the last ``keep`` of those that are due ``every`` so many steps.

    One in between, which a run that was asked to stop has left, stays only while it is the last: in
    the end a run has the same checkpoints however often it was stopped.
    """
    by_step = {step_of(p): p for p in folder.glob("step-*") if naming.STEP.fullmatch(p.name)}
    due = sorted(step for step in by_step if step % every == 0 or step == max(by_step))
    for step in sorted(set(by_step) - set(due[-keep:])):
        shards.remove_folder(by_step[step])


def sweep(output: Path, keep: int, every: int = 1) -> None:
    """Remove what killed runs left half written or half removed in an output folder, and the
    checkpoints that they had no time to remove."""
    kept = output / naming.CHECKPOINTS
    for folder in (output, kept, output / naming.PICTURES, *output.glob("step-*")):
        shards.sweep(folder)
    keep_last(kept, keep, every)


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
    own = dict(module.named_parameters()) | dict(module.named_buffers())
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
            own[name].copy_(there)
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

"""Weights: out of original checkpoint files without ever making a pickled object, and into
safetensors files whose bytes depend on nothing but what is in them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from socialcli.errors import ModelMissing, UsageError


def read(path: str | Path, what: str, get: str = "") -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, a bare torch state dict, or a checkpoint that holds
    one under ``state_dict`` (Lightning), ``model`` (the original detectors) or ``model_state_dict``
    (UPT and CMMP).

    Half-precision weights become float32.

    Args:
        path: the file. what: the network's name, for messages. get: the command that gets it.

    Raises:
        ModelMissing: there is no such file.
        UsageError: it cannot be read as plain weights; the message says how to mend it.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        mend = f". Get it with: {get}" if get else ""
        raise ModelMissing(f"no {what} checkpoint at '{path}'{mend}")
    if path.suffix == ".safetensors":
        state: Any = load(path)[0]
    else:
        state = _weights_only(path)
        if isinstance(state, Mapping):
            inside = [state.get(name) for name in ("state_dict", "model", "model_state_dict")]
            state = next((one for one in inside if isinstance(one, Mapping)), state)
    if not isinstance(state, Mapping) or not all(torch.is_tensor(v) for v in state.values()):
        raise UsageError(f"{path}: expected tensors by name, or a 'state_dict' that holds them")
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def load(file: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, and the notes of its header.

    Raises:
        UsageError: it is none, or cut, or has a type of numbers that this torch lacks.
    """
    with _opened(file) as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        return tensors, dict(stored.metadata() or {})


def notes(file: str | Path) -> dict[str, str]:
    """The notes of a safetensors file's header; of other files there are none.

    Raises:
        UsageError: see `load`.
    """
    if Path(file).suffix != ".safetensors":
        return {}
    with _opened(file) as stored:
        return dict(stored.metadata() or {})


@contextlib.contextmanager
def _opened(file: str | Path) -> Iterator[Any]:
    from safetensors import safe_open

    try:
        with safe_open(str(file), framework="pt") as stored:
            yield stored
    except MemoryError:
        raise
    except Exception as error:  # a hostile header may raise anything
        line = " ".join(str(error).split()).removeprefix("Error while deserializing header: ")
        raise UsageError(f"{file}: not a safetensors file ({line[:160]})") from None


def stated(notes: Mapping[str, str], name: str) -> Any:
    """A note of a header that is JSON; None where there is no such note, or it is no JSON."""
    try:
        return json.loads(notes.get(name, "null"))
    except (ValueError, RecursionError):
        return None


def fill(network: nn.Module, state: Mapping[str, Tensor], path: str | Path, what: str) -> nn.Module:
    """Give an empty network (on the meta device) exactly these weights; eval mode.

    Raises:
        UsageError: a tensor is missing, left over or of another shape; the message names one.
    """
    try:
        network.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UsageError(f"{path}: not {what} weights ({reason[:200]})") from None
    return network.eval()


def write(file: str | Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> None:
    """Write a safetensors file; the same tensors and notes always give the same bytes.

    Args:
        tensors: contiguous, none sharing storage with another.
        notes: what the header says besides.
    """
    from safetensors.torch import save_file

    save_file(dict(tensors), file, dict(notes) or None)
    annotate(file, {})


def forget_places(folder: str | Path) -> None:
    """Take out of a saved model's configurations where the model it began with lay.

    diffusers and transformers note that as ``_name_or_path``: a path of one machine, which says
    nothing elsewhere and should not travel with the weights.
    """
    for file in sorted(Path(folder).rglob("*.json")):
        settings = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(settings, dict) and settings.pop("_name_or_path", None) is not None:
            text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False)
            file.write_text(text + "\n", encoding="utf-8")


def annotate(file: str | Path, notes: Mapping[str, str]) -> None:
    """Add notes to the header of a safetensors file, and bring all of them into one order.

    The library writes a header's notes in an order that changes from one writing to the next.
    Tensors are not read; where the header keeps its length they are not even copied.
    """
    file = Path(file)
    with file.open("r+b") as old:
        length = int.from_bytes(old.read(8), "little")
        header = json.loads(old.read(length))
        known = {**header.pop("__metadata__", {}), **notes}
        first = {"__metadata__": dict(sorted(known.items()))} if known else {}
        text = json.dumps({**first, **header}, ensure_ascii=False, separators=(",", ":"))
        body = text.encode()
        body += b" " * (-len(body) % 8)  # the tensors begin at a multiple of eight
        if len(body) == length:
            old.seek(8)
            old.write(body)
            return
        new = file.with_name(f".{file.name}.{os.getpid()}")
        with new.open("wb") as out:
            out.write(len(body).to_bytes(8, "little") + body)
            shutil.copyfileobj(old, out, 1 << 24)
    new.replace(file)


class _Placeholder:
    """Stands for an object of a foreign class in a checkpoint; keeps nothing and runs nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Placeholder:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class Inert(_Placeholder):
    """Stands for an object of a foreign class and has what lay in the file as its attributes."""

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, Mapping) else {})


def objects(path: str | Path) -> Any:
    """All that a torch checkpoint holds: tensors, plain containers, and `Inert` for each object of
    another class. No foreign class is looked up, and none of their code runs.

    Raises:
        UsageError: it cannot be read so.
    """
    return _weights_only(Path(path), Inert)


def state_of(module: Any) -> dict[str, Tensor]:
    """The state dict of a module that was pickled whole and read by `objects`."""
    state = vars(module)
    own = {**(state.get("_parameters") or {}), **(state.get("_buffers") or {})}
    tensors = {name: tensor.detach() for name, tensor in own.items() if torch.is_tensor(tensor)}
    for name, inner in (state.get("_modules") or {}).items():
        if inner is not None:
            tensors |= {f"{name}.{below}": tensor for below, tensor in state_of(inner).items()}
    return tensors


def plain(file: Path, what: str) -> Any:
    """What ``torch.save`` wrote, where that is tensors and what holds them.

    Args:
        what: it is read as, for the message.

    Raises:
        UsageError: it is not.
    """
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has a dozen kinds
        raise UsageError(f"{file} cannot be read as {what}: {_why(error)}") from None


def _why(error: Exception) -> str:
    """What is wrong with a file of weights, in words instead of the name of an exception."""
    if isinstance(error, OSError):
        return error.strerror or "it cannot be opened"
    return "it is cut short, no file of weights, or holds objects besides tensors"


def _weights_only(path: Path, stand_in: type = _Placeholder) -> Any:
    """``torch.load(weights_only=True)`` that steps over a training run's configuration objects.

    Lightning saves hyper-parameters beside the weights, often as classes of packages that are not
    here. torch refuses to make these; each of their names is given an inert placeholder for the
    length of this one call, so that the tensors load and no foreign code is looked up or run.
    """
    from torch import serialization

    try:
        foreign = serialization.get_unsafe_globals_in_checkpoint(path)
        inert: list[Any] = [(stand_in, name) for name in foreign]
        with serialization.safe_globals(inert):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(
            f"{path} cannot be read as plain weights: {_why(error)}. Where it was made, keep "
            "only the tensors: torch.save(torch.load(path)['state_dict'], 'weights.pt')"
        ) from None

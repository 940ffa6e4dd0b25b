"""Where models run and in which number type: ``--device`` and ``--dtype`` made definite, once.

    resolved(values)         a configuration's values with "auto" replaced, everything checked
    check("cuda:1")          refuses what is no device, or is not in this machine
    dtype("bfloat16")        torch.bfloat16

Torch is imported only where an accelerator is asked for, or can be there at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.errors import UnknownName, UsageError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")
_ALSO = {  # what others call them
    "gpu": "cuda", "nvidia": "cuda", "metal": "mps", "fp32": "float32", "float": "float32",
    "bf16": "bfloat16", "fp16": "float16", "half": "float16",
}  # fmt: skip
_COMPILERS = ("g++", "clang++")
DTYPES = ("float32", "bfloat16", "float16")


def resolved(values: dict[str, Any], *, elsewhere: bool = False) -> dict[str, Any]:
    """``device`` and ``dtype`` of a configuration made definite for this machine.

    Args:
        values: of any Config; one without these options comes back as it is.
        elsewhere: whether other machines do the work: what they have cannot be looked up here.

    Raises:
        UsageError: no such device or number type, or no such device in this machine.
    """
    values = dict(values)
    if values.get("device") == "auto":
        values["device"] = _best()
    elif "device" in values:
        _known(values["device"]) if elsewhere else check(values["device"])
    if values.get("dtype") == "auto":
        values["dtype"] = "float32" if values.get("device", "cpu").startswith("cpu") else "bfloat16"
    elif "dtype" in values and values["dtype"] not in DTYPES:
        likely = _ALSO.get(values["dtype"].lower())
        raise UnknownName("--dtype", values["dtype"], ("auto", *DTYPES), likely)
    return values


def check(device: str) -> None:
    """See that a device is in this machine.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    Raises:
        UsageError: it is no device, or not in this machine.
    """
    kind, number = _known(device)
    if kind == "cuda":
        import torch

        if not torch.cuda.is_available():
            why = "this PyTorch is built for the CPU" if torch.version.cuda is None else "no card"
            raise UsageError(
                f"--device {device}: there is no CUDA device here ({why}); give --device cpu or "
                "leave it at auto"
            )
        if number >= (count := torch.cuda.device_count()):
            last = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0"
            raise UsageError(f"--device {device}: this machine has {last}")
    elif kind == "mps":
        import torch

        if not torch.backends.mps.is_available():
            raise UsageError(
                "--device mps: this machine has no Metal device; give --device cpu or leave it "
                "at auto"
            )


def dtype(name: str) -> torch.dtype:
    """The torch dtype of a name that ``--dtype`` knows.

    Raises:
        UsageError: another name.
    """
    import torch

    if name not in DTYPES:
        raise UnknownName("--dtype", name, DTYPES)
    return getattr(torch, name)


def compile_network(network: torch.nn.Module, device: str) -> None:
    """Have a network compiled when it is called first (torch.compile), for each shape of its input.

    The network stays the object it is: its weights keep their names, and parts may still be
    replaced.

    Raises:
        UsageError: there is no C++ compiler for the processor's code.
    """
    named = os.environ.get("CXX")
    if device.startswith("cpu") and not any(map(shutil.which, [named] if named else _COMPILERS)):
        raise UsageError(
            f"--compile on the CPU needs a C++ compiler ({named or ' or '.join(_COMPILERS)}), and "
            "there is none: install one, or leave --compile away"
        )
    network.compile()


def keep_memory() -> None:
    """Let the C library keep what a step frees, since the next one asks for it again.

    It gives large blocks back to the system at once, and every page of a new one costs a fault and
    4 KB of zeros: a tenth of a small network's step. Only glibc can be told so; elsewhere nothing
    happens.
    """
    import ctypes

    trim_threshold, mmap_threshold = -1, -3  # of malloc.h
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)


def _known(device: str) -> tuple[str, int]:
    """The kind of a device and its number (0 where none is given)."""
    parts = re.fullmatch(r"(cpu|mps|cuda)(?::(\d{1,3}))?", device)
    if parts is None or (parts[1] == "mps" and parts[2]):  # torchrun has "cpu:0"
        raise UnknownName("--device", device, DEVICES, _ALSO.get(device.lower()))
    return parts[1], int(parts[2] or 0)


def _best() -> str:
    """cuda, mps or cpu; torch is asked only where an accelerator can be there at all."""
    if Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists() or sys.platform == "win32":
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    if sys.platform == "darwin":
        import torch

        return "mps" if torch.backends.mps.is_available() else "cpu"
    return "cpu"

"""In what precision a step of training computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socialcli.training.options import TrainingOptions
    from socialcli.training.place import Place


def autocast(config: TrainingOptions, place: Place) -> Any:
    """Context of a forward pass: bfloat16 where ``--mixed-precision`` asks for it."""
    import torch

    if config.mixed_precision == "no":
        return contextlib.nullcontext()
    return torch.autocast(place.device.type, torch.bfloat16)


def attention(config: TrainingOptions, place: Place) -> Any:
    """Context of a whole step, backward pass included: `wide_attention` where it is faster, on the
    CPU with 16-bit networks. A compiled network has its own code for attention."""
    narrow = config.mixed_precision != "no" or place.dtype.itemsize < 4
    if place.device.type != "cpu" or not narrow or config.compile:
        return contextlib.nullcontext()
    return wide_attention()


@contextlib.contextmanager
def wide_attention() -> Iterator[None]:
    """Context in which 16-bit attention that gets a gradient computes in float32, on the CPU.

    There the backward pass of torch's fused attention takes one and a half to six times as long in
    bfloat16 as in float32: a third of a small network's step.

    A layer of 16-bit arithmetic gives 16-bit numbers as before, and they are nearer to the exact
    ones. Gradient checkpointing computes them again in the backward pass, so that belongs into the
    same context. That is why torch's own function is replaced for this time: a mode of torch
    functions is not in force inside of ``backward``.
    """
    import torch
    from torch.nn import functional

    attend = functional.scaled_dot_product_attention

    def widened(value: Any) -> Any:
        return value.float() if torch.is_tensor(value) and value.is_floating_point() else value

    def wide(query: Any, *args: Any, **named: Any) -> Any:
        casts = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if casts else query.dtype
        if dtype.itemsize > 2 or not torch.is_grad_enabled():
            return attend(query, *args, **named)
        with torch.autocast("cpu", enabled=False):
            given = map(widened, (query, *args))
            return attend(*given, **{name: widened(v) for name, v in named.items()}).to(dtype)

    functional.scaled_dot_product_attention = wide
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = attend

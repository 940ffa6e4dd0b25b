"""From noise to latents: noise that belongs to a key, the loop, schedulers by name.

Nothing here knows a method: what a picture is conditioned on comes as a `Conditioning`.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from socialcli.diffusion.conditioning import Conditioning, Step
from socialcli.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Small UNets on a CPU see this many pictures at once, never more or fewer, see `drawing.part`.
TOGETHER = 4
# Called compatible by diffusers, but for networks that were trained with EDM's noise.
ANOTHER_NOISE = {"EDMEulerScheduler"}
# DDIM and DDPM cut clean pictures to [-1, 1] unless they are told not to. Latents reach beyond it,
# and the configurations of other schedulers need not say it.
UNCUT = {"clip_sample": False}


def generator(seed: int) -> torch.Generator:
    """The random numbers of one picture. They are drawn on the CPU whatever the device, so that a
    GPU draws the same picture."""
    import torch

    return torch.Generator().manual_seed(seed)


def noise(generators: list[torch.Generator], shape: tuple[int, int, int]) -> Tensor:
    """(N, C, h, w) normal numbers, each picture's from its own generator; float32, on the CPU."""
    import torch

    return torch.stack([torch.randn(shape, generator=g) for g in generators])


def denoise(
    unet: Any,
    scheduler: Any,
    generators: list[torch.Generator],
    shape: tuple[int, int, int],
    conditioning: Conditioning,
    steps: int,
    guidance: float,
) -> Tensor:
    """N pictures' latents, from each one's noise.

    Args:
        scheduler: of diffusers; its state is this call's, so give each call a fresh one.
        generators: one a picture; what noise the scheduler adds on the way is theirs too.
        shape: (C, h, w) of a picture's latents.

    Returns:
        (N, C, h, w) float32 scaled latents on the UNet's device.

    Raises:
        UsageError: the scheduler cannot take so many steps.
    """
    import torch

    device = unet.device
    latents = noise(generators, shape).to(device)
    spread = conditioning.spread or (1,) * len(generators)
    if conditioning.spread is not None:
        latents = latents.repeat_interleave(torch.tensor(spread, device=device), dim=0)
        generators = [_copy(g) for g, n in zip(generators, spread, strict=True) for _ in range(n)]
    timesteps(scheduler, steps, device)
    latents = latents * scheduler.init_noise_sigma
    takes = inspect.signature(scheduler.step).parameters
    random = {"generator": generators} if "generator" in takes else {}
    count = len(latents) * (1 if guidance == 1 else 2)
    for number, t in enumerate(scheduler.timesteps):
        arguments = conditioning.at(t.expand(count))
        step = Step(number, len(scheduler.timesteps), t, latents, arguments, unet, scheduler,
                    guidance)  # fmt: skip
        model_pred = step.predict() if conditioning.guide is None else conditioning.guide(step)
        latents = scheduler.step(model_pred, t, latents, **random, return_dict=False)[0]
        if conditioning.after is not None:
            latents = conditioning.after(step, latents)
    if conditioning.spread is not None:
        latents = latents[[sum(spread[:number]) for number in range(len(spread))]]
    return latents


def _copy(given: torch.Generator) -> torch.Generator:
    """Another generator that draws what this one is about to draw."""
    copy = generator(0)
    copy.set_state(given.get_state())
    return copy


def timesteps(scheduler: Any, steps: int, device: Any = None) -> list[float]:
    """The timesteps of so many steps, in order, which the scheduler is set to.

    Raises:
        UsageError: the scheduler cannot take so many steps.
    """
    try:
        scheduler.set_timesteps(steps, device=device)
    except (ValueError, IndexError) as error:
        line = " ".join(str(error).split())[:160]
        raise UsageError(f"{type(scheduler).__name__} cannot take {steps} steps: {line}") from None
    numbers: list[float] = [float(t) for t in scheduler.timesteps.tolist()]
    return numbers


def scheduler(name: str, like: Any) -> Any:
    """A fresh scheduler of diffusers with another's noise schedule.

    Args:
        name: its class; its beginning, in any case, where that fits only one ("unipc").
        like: the model's own scheduler.

    Raises:
        UsageError: no such scheduler, or none that fits the model; near names are listed.
    """
    import diffusers

    fitting = {cls.__name__ for cls in like.compatibles} | {type(like).__name__}
    fitting -= ANOTHER_NOISE
    full_name = _named(name, fitting)
    if full_name is None:
        near = _near(name, fitting)
        known = hasattr(diffusers, name) and name.endswith("Scheduler")
        what = "does not fit this model" if known else "is not a scheduler of diffusers"
        raise UsageError(f"--scheduler {name} {what}. There are: {', '.join(near)}")
    try:
        return getattr(diffusers, full_name).from_config({**UNCUT, **like.config})
    except (ImportError, ValueError, NotImplementedError, TypeError) as error:
        line = " ".join(str(error).split())[:160]
        raise UsageError(f"--scheduler {full_name} cannot be used here ({line})") from None


def _named(name: str, names: set[str]) -> str | None:
    if name in names:
        return name
    low = name.lower()
    for spelling in (low, f"{low}scheduler", f"{low}discretescheduler"):
        same = [n for n in names if n.lower() == spelling]
        if same:
            return same[0]
    begins = [n for n in names if n.lower().startswith(low)]
    return begins[0] if len(begins) == 1 else None


def _near(name: str, names: set[str]) -> list[str]:
    """The names most like one, or all where none is."""
    import difflib

    by_low = {n.lower(): n for n in names}
    wanted = name.lower().removesuffix("scheduler")
    parts = {n.removesuffix("scheduler"): n for n in by_low}
    close = difflib.get_close_matches(wanted, parts, n=5, cutoff=0.4)
    close += [p for p in sorted(parts) if wanted and wanted in p and p not in close]
    return [by_low[parts[p]] for p in close[:6]] or sorted(names)

"""One training loop for every miniature: resumable at any moment, the same steps on every run.

Batch ``i`` is a function of ``i`` alone, so a run that was killed and resumed sees the batches an
undisturbed one sees. The weights that count are an exponential moving average.
"""

from __future__ import annotations

import bisect
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from socialcli.errors import UsageError

SAVE_EVERY = 60.0  # seconds
HIDDEN = {"layer", "layers"}  # what transformers calls all between first and last weights
Cycles = tuple[tuple[int, float], ...]  # cosines: steps, and the share of the peak rates


@dataclass(frozen=True)
class Pace:
    """Training by the clock: a cosine lasts so many seconds, however many steps these are."""

    seconds: float
    workers: int = 0  # processes that draw the batches


PACE: Pace | None = None  # set by `zoo.gpu` and --seconds; otherwise a cosine has a number of steps


def workers() -> int:
    """How many processes may draw scenes."""
    return PACE.workers if PACE else 0


@dataclass
class Run:
    """A training run: the averaged model once it is finished, and what it cost."""

    model: Any
    step: int
    seconds: float
    finished: bool
    options: dict[str, Any] = field(default_factory=dict)


def widen(model: Any) -> Any:
    """Draw anew, with variance 1 / fan-in, the weights that transformers draws with 0.02.

    0.02 suits a thousand channels. In a network of 64 it shrinks every signal sixfold a layer:
    GroundingDINO's text features then stay alike for all words, and it never learns to tell them.
    Weights drawn otherwise (zeros, Xavier) stay as they are.
    """
    import torch
    from torch import nn

    layers = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    with torch.no_grad():
        for module in model.modules():
            weight: Any = getattr(module, "weight", None)
            if isinstance(module, layers) and 0.015 < float(weight.std()) < 0.025:
                fan_in = weight[0].numel()
                if isinstance(module, nn.ConvTranspose2d):
                    fan_in = weight.shape[0]
                weight.normal_(0.0, fan_in**-0.5)
    return model


def fit(
    model: Any,
    batch: Callable[[int], Any],
    loss: Callable[[Any, Any, int], Any],
    work: Path,
    cycles: int | Cycles,
    *,
    rate: float,
    heads: tuple[str, ...] = (),
    done: tuple[int, Mapping[str, Any]] | None = None,
    decay: float = 1e-2,
    warm: int = 200,
    average: float = 0.999,
    clip: float = 1.0,
    minutes: float | None = None,
    rates: Callable[[str], float] | None = None,
    muon: float = 0.0,
    part: float = 1.0,
) -> Run:
    """Train ``model`` through one or more cosines, each of which ends at a hundredth.

    A later cycle begins with the averaged weights of the one before, new optimizers, and new
    weights for the parts that are not exported. So exported weights are all that a further cycle
    needs, and a recipe grows by a cycle without running the first ones again.

    AdamW trains the weights, but for the matrices inside (`HIDDEN`) where ``muon`` says so: those
    learn with Muon's orthogonal steps. After three minutes a captioner's tower knew the kind of
    45 patches in 100 and not of 36.

    Args:
        model: a torch module in train mode, on its device.
        batch: step -> whatever ``loss`` takes; must depend on the step only.
        loss: (model, batch, step) -> scalar tensor.
        work: folder of the checkpoint and the log.
        cycles: steps of each cosine with its share of the rates; a number is one cosine.
        heads: beginnings of the names of the weights that only training has.
        done: how many of the cycles are done, and the weights they gave.
        rate: AdamW's peak learning rate; ``rates`` multiplies it by parameter name.
        muon: Muon's peak learning rate; 0 leaves all weights to AdamW.
        average: decay of the moving average of the weights.
        minutes: stop cleanly after this long in this process; the same call goes on later.
        part: share of the time that is this one's where `PACE` is set; the cycles are one then.
    """
    import torch

    work.mkdir(parents=True, exist_ok=True)
    cycles = ((cycles, 1.0),) if isinstance(cycles, int) else cycles
    starts: list[float] = [sum(length for length, _ in cycles[:i]) for i in range(len(cycles) + 1)]
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    optimizers = _optimizers(named, rate, decay, rates, muon)
    mean = {n: v.detach().clone() for n, v in model.state_dict().items()}
    untrained = {n: v.clone() for n, v in mean.items() if n.startswith(heads)} if heads else {}
    file, step, spent = work / "state.pt", 0, 0.0
    if done:
        step = int(starts[done[0]])
        missing = mean.keys() - done[1].keys() - untrained.keys()
        if missing:
            raise UsageError(f"no weights to go on from for {min(missing)}")
        mean.update({n: v.to(mean[n]) for n, v in done[1].items() if n in mean})
    if file.exists():
        state = torch.load(file, weights_only=True, map_location="cpu")
        model.load_state_dict(state["model"])
        for (optimizer, _), saved_state in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved_state)
        mean = {n: v.to(mean[n].device) for n, v in state["mean"].items()}
        step, spent = state["step"], state["seconds"]
    begun = saved = time.monotonic()
    shown = 0.0

    def save() -> None:
        state = {"model": model.state_dict(), "mean": mean, "step": step,
                 "optimizers": [one.state_dict() for one, _ in optimizers],
                 "seconds": spent + time.monotonic() - begun}  # fmt: skip
        torch.save(state, work / "state.tmp")
        (work / "state.tmp").replace(file)

    def passed() -> float:
        """The share of the time that is over, where time is what counts."""
        return (spent + time.monotonic() - begun) / (PACE.seconds * part) if PACE else 0.0

    ahead = _ahead(batch, step, workers())
    if PACE:
        cycles, starts = ((1, 1.0),), [0, math.inf]
    while step < starts[-1] and passed() < 1:
        cycle = bisect.bisect_right(starts, step) - 1
        since, (length, scale) = step - starts[cycle], cycles[cycle]
        over = passed() if PACE else since / length
        if cycle and not since:
            mean.update({n: v.clone() for n, v in untrained.items()})
            model.load_state_dict(mean)
            optimizers = _optimizers(named, rate, decay, rates, muon)
        torch.manual_seed(step)
        cosine = 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * over))
        at = scale * min(1.0, (since + 1) / warm) * cosine
        for optimizer, peak in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = peak * at * group["scale"]
        value = loss(model, next(ahead), step)
        model.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in named], clip)
        for optimizer, _ in optimizers:
            optimizer.step()
        keep = min(average, (since + 1) / (since + 10))
        with torch.no_grad():
            for name, weight in model.state_dict().items():
                if weight.is_floating_point():
                    mean[name].lerp_(weight, 1 - keep)
                else:
                    mean[name].copy_(weight)
        step += 1
        shown = shown * 0.98 + float(value.detach()) * 0.02 if shown else float(value.detach())
        if step % 50 == 0:
            line = {
                "step": step,
                "loss": round(shown, 4),
                "s": round(spent + time.monotonic() - begun),
            }
            with (work / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
        if time.monotonic() - saved > SAVE_EVERY:
            save()
            saved = time.monotonic()
        if minutes is not None and time.monotonic() - begun > 60 * minutes:
            save()
            break
    else:
        save()
    seconds = spent + time.monotonic() - begun
    model.load_state_dict(mean)
    return Run(model.eval(), step, seconds, step >= starts[-1] or passed() >= 1)


def _ahead(batch: Callable[[int], Any], step: int, workers: int) -> Iterator[Any]:
    """The batches from a step on, drawn by so many processes before they are needed."""
    if not workers:
        return (batch(number) for number in itertools.count(step))
    from torch.utils.data import DataLoader, Dataset

    class Steps(Dataset):  # type: ignore[type-arg]
        def __getitem__(self, number: int) -> Any:
            return batch(number)

    numbers: Any = range(step, step + 10**8)
    return iter(
        DataLoader(
            Steps(), batch_size=None, sampler=numbers, num_workers=workers,
            multiprocessing_context="fork",
        )
    )  # fmt: skip


def _optimizers(
    named: list[tuple[str, Any]],
    rate: float,
    decay: float,
    rates: Callable[[str], float] | None,
    muon: float,
) -> list[tuple[Any, float]]:
    """AdamW, and Muon where it is wanted, with their peak rates."""
    import torch

    matrices: list[Any] = []
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, weight in named:
        if muon and weight.dim() == 2 and HIDDEN & set(name.split(".")):
            matrices.append(weight)
            continue
        key = (decay if weight.dim() > 1 else 0.0, rates(name) if rates else 1.0)
        groups.setdefault(key, []).append(weight)
    adam = torch.optim.AdamW(
        [{"params": p, "weight_decay": d, "scale": s} for (d, s), p in groups.items()],
        lr=rate, betas=(0.9, 0.98),
    )  # fmt: skip
    if not matrices:
        return [(adam, rate)]
    if not hasattr(torch.optim, "Muon"):
        raise UsageError(f"torch {torch.__version__} has no Muon: pip install 'torch>=2.9'")
    # Steps as long as AdamW's, so that the same weight decay means the same.
    orthogonal = torch.optim.Muon(
        [{"params": matrices, "scale": 1.0}],
        lr=muon, weight_decay=decay, adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
    return [(adam, rate), (orthogonal, muon)]

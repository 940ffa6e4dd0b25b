"""One optimiser step: micro-batches forward and backward, gradients shared, weights moved."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli.errors import SocialcliError
from socialcli.randomness import Draw, seeded
from socialcli.training import options, precision
from socialcli.training.examples import Examples, Ready
from socialcli.training.place import gathered, summed

if TYPE_CHECKING:
    import torch

    from socialcli.training.features import Features
    from socialcli.training.options import TrainingOptions
    from socialcli.training.place import Place

NAMED = 8  # samples named when a run stops because of a batch
BUCKET = 2**24  # numbers that go between processes at once
UNREAD = "unread"  # beside a sample's features: the end of its text that is cut off
# Gradients of float16 networks are computed this many times as large, or they vanish: float16 ends
# at 6e-8, and the gradient of one sample of 1024 is far below. A power of two changes no digit.
SCALE = 2.0**16


@dataclass
class Stepper:
    """What a step needs, and how many were done."""

    method: Any
    state: Any
    config: TrainingOptions
    place: Place
    module: torch.nn.Module
    optimiser: torch.optim.Optimizer
    examples: Examples
    features: Features | None
    step: int = 0
    scale: float = 1.0  # of the loss while gradients are computed; halved where they overflow
    unread: dict[str, str] = field(default_factory=dict)  # key -> end of its text that is cut off

    def __post_init__(self) -> None:
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        self.weights: dict[str, float] = self.method.weights(self.config)
        self.trains = any(self.weights.values())  # else losses are measured, and nothing moves
        if self.method.has("compiled"):
            from socialcli.diffusion import lean_training

            for network in self.method.compiled(self.state):
                lean_training.attach(network)
        if self.scaled:
            self.scale = SCALE

    @property
    def scaled(self) -> bool:
        """Whether gradients pass through float16 networks."""
        return str(self.place.dtype) == "torch.float16"

    def go(
        self,
        stream: Iterator[list[Ready]],
        stop: Callable[[], bool],
        event: Callable[..., None],
    ) -> dict[str, float] | None:
        """One step; its numbers, or None when ``stop`` said so before it had changed anything.

        Raises:
            SocialcliError: a loss or the gradient is no number, or memory is too small.
        """
        import torch

        config, clock = self.config, self.place.clock
        rate = options.rate(config, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        self.optimiser.zero_grad(set_to_none=True)
        self.module.train()
        values: list[torch.Tensor] = []
        keys: list[str] = []
        for _ in self.examples.chunks():
            if stop():
                self.optimiser.zero_grad(set_to_none=True)
                return None
            with clock("data"):
                ready = next(stream)
            keys += [r.key for r in ready]
            try:
                values.append(self._micro_step(ready))
            except torch.OutOfMemoryError:
                raise SocialcliError(
                    f"out of memory with --micro-batch {config.micro_batch}: take a smaller one, "
                    "or --gradient-checkpointing; the result stays the same"
                ) from None
        each = torch.cat(values, 1).cpu() if values else torch.zeros(len(self.weights), 0)
        with clock("between processes"):
            _share(self.parameters, self.place)
        with clock("optimiser"):
            self._unscale()
            norm = self._norm()
            overflow = self.scale > 1 and not math.isfinite(norm)
            means = self._means(each, keys, 0.0 if overflow else norm, event)
            if overflow:
                self.scale, norm = self.scale / 2, 0.0
                event("overflow", scale=self.scale)
            elif self.trains:
                self.optimiser.step()
                self.method.after_step(self.state)
        self.step += 1
        epoch = self.step * config.batch_size / len(self.place.index)
        return {**means, "learning_rate": rate, "gradient_norm": norm, "epoch": epoch}

    def _micro_step(self, ready: list[Ready]) -> torch.Tensor:
        """Forward and backward of B samples; (losses, B), on the device."""
        import torch

        config, place = self.config, self.place
        draw = Draw(
            config.seed, self.step, [r.slot.position for r in ready], [r.key for r in ready],
            config.steps, [r.epoch for r in ready], [r.number for r in ready],
        )  # fmt: skip
        with place.clock("features"):
            batch = self._batch(ready)
        # Dropout and the like draw from the global generator: it starts anew every time.
        torch.manual_seed(seeded(config.seed, "global", self.step, draw.positions[0]))
        with precision.attention(config, place):
            with place.clock("forward"), precision.autocast(config, place):
                losses = self.method.losses(self.state, batch, draw)
            unknown = set(losses) - set(self.weights)
            assert not unknown, f"losses without a weight: {unknown}"
            total = torch.zeros((), device=place.device)
            for name, value in losses.items():
                assert value.shape == (len(ready),), f"{name}: one value per sample, {value.shape}"
                total = total + self.weights[name] * value.float().sum()
            with place.clock("backward"):
                if total.requires_grad and self.trains:
                    (total / config.batch_size * self.scale).backward()
        silent = torch.zeros(len(ready), device=place.device)
        return torch.stack([losses.get(n, silent).detach().float() for n in self.weights])

    def _batch(self, ready: list[Ready]) -> Any:
        import torch

        if self.features is not None:
            todo = [r for r in ready if r.features is None]
            # On the CPU one at a time: what a sample's features are must not depend on its
            # company, which after a restart is another.
            size = 1 if self.place.device.type == "cpu" else max(len(todo), 1)
            for at in range(0, len(todo), size):
                some = todo[at : at + size]
                with torch.no_grad():
                    computed = self.method.features(self.state, [r.example for r in some])
                for r, values in zip(some, computed, strict=True):
                    assert r.example is not None
                    values = {**values, UNREAD: self.method.unread(self.state, r.example)}
                    r.features = self.features.put(r.item, r.variant, values)
        elif self.method.has("unread"):
            for r in ready:
                assert r.example is not None
                if rest := self.method.unread(self.state, r.example):
                    self.unread[r.key] = rest
        chosen: list[Any] = [r.features if r.features is not None else r.example for r in ready]
        for at, r in enumerate(ready):
            if UNREAD in chosen[at]:
                chosen[at] = {k: v for k, v in chosen[at].items() if k != UNREAD}
                rest = (r.features or {})[UNREAD]
                if rest:
                    self.unread[r.key] = rest
        return self.method.collate(self.state, chosen)

    def _unscale(self) -> None:
        """Gradients as they are without `scale`."""
        for parameter in self.parameters if self.scale != 1 else ():
            if parameter.grad is not None:
                parameter.grad /= self.scale

    def _norm(self) -> float:
        """The gradient's norm before it is clipped."""
        import torch

        parameters = [p for p in self.parameters if p.grad is not None]
        if not parameters:
            return 0.0
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        limit = self.config.max_grad_norm or math.inf
        # What is short enough would be multiplied by 1, number by number.
        if not bool(limit / (norm + 1e-6) >= 1):
            torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        return float(norm)

    def _means(
        self, each: torch.Tensor, keys: list[str], norm: float, event: Callable[..., None]
    ) -> dict[str, float]:
        """Means of (losses, B) values over the global batch; stops where one is no number."""
        import torch

        finite = each.isfinite()
        broken = {
            key: [
                n for n, good in zip(self.weights, finite[:, i].tolist(), strict=True) if not good
            ]
            for i, key in enumerate(keys)
            if not bool(finite[:, i].all())
        }
        count = len(self.weights)
        sums = torch.cat([each.sum(1), (each != 0).float().sum(1), torch.tensor([len(broken)])])
        sums = summed(sums, self.place)
        if sums[-1] or not math.isfinite(norm):
            self._stop(dict(gathered(list(broken.items()), self.place)), keys, event)
        size = self.config.batch_size
        means: dict[str, float] = {"loss": 0.0}
        for at, (name, weight) in enumerate(self.weights.items()):
            means[f"loss/{name}"] = float(sums[at]) / size
            means[f"active/{name}"] = float(sums[count + at]) / size
            means["loss"] += weight * means[f"loss/{name}"]
        return means

    def _stop(
        self, broken: dict[str, list[str]], keys: list[str], event: Callable[..., None]
    ) -> None:
        what = sorted({name for names in broken.values() for name in names}) or ["the gradient"]
        bad_keys = sorted(broken) or sorted(set(gathered(keys, self.place)))
        event("not a number", what=what, keys=bad_keys)
        if not self.place.first:
            sys.exit(1)
        more = f" and {len(bad_keys) - NAMED} more" if len(bad_keys) > NAMED else ""
        raise SocialcliError(
            f"step {self.step + 1}: {', '.join(what)} is not a number for "
            f"{', '.join(bad_keys[:NAMED])}{more}; the weights are as before. Look at these "
            "samples, or lower --learning-rate"
        )


def optimiser(
    method: Any, state: Any, module: torch.nn.Module, config: TrainingOptions
) -> torch.optim.Optimizer:
    """The optimiser that the options name, fused into one kernel per step where torch can."""
    import torch

    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = method.groups(state)
    kinds = {p.device.type for p in parameters}
    fused = kinds <= {"cuda", "cpu"} and all(p.is_floating_point() for p in parameters)
    common: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=config.beta1, fused=fused, **common)
    kind = torch.optim.AdamW if config.optimiser == "adamw" else torch.optim.Adam
    return kind(
        groups, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=fused, **common
    )


def _share(parameters: list[torch.nn.Parameter], place: Place) -> None:
    """Sum the gradients over the processes; a parameter that has one anywhere gets one here."""
    import torch

    if place.processes == 1:
        return
    there = summed(torch.tensor([float(p.grad is not None) for p in parameters]), place)
    bucket: list[torch.Tensor] = []
    some = [p for p, count in zip(parameters, there.tolist(), strict=True) if count]
    for number, parameter in enumerate(some):
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter.grad)
        if number == len(some) - 1 or sum(g.numel() for g in bucket) >= BUCKET:
            flat = place.accelerator.reduce(torch.cat([g.reshape(-1) for g in bucket]), "sum")
            for gradient, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(part.view_as(gradient))
            bucket = []

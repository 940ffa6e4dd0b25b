"""How long each gradient is, and how much of it pictures agree on, at several timesteps.

``python -m socialcli.benchmarks.signals SHARDS`` prints Markdown. The gradient is that of one
picture in the cross-attention layers of the embedded SSR-Encoder. Its root mean square over
pictures says how loud a loss is in a step of few pictures; the agreement, whether there is anything
in it for the encoder to learn. `pipelines/table1-mini.mk` takes its weights from these lengths.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli.benchmarks import decoders, table

if TYPE_CHECKING:
    from torch import Tensor

STEPS = (50, 150, 300, 450, 600, 800)
DENOISE = "denoise"


@dataclass
class Gradients:
    """Of one loss at one timestep: the sums of every second picture's gradient, and of squares."""

    halves: list[Any] = field(default_factory=lambda: [0.0, 0.0])
    counts: list[int] = field(default_factory=lambda: [0, 0])
    squares: float = 0.0

    def add(self, gradient: Tensor) -> None:
        """One picture's gradient, (N,)."""
        half = sum(self.counts) % 2
        self.halves[half] = self.halves[half] + gradient
        self.counts[half] += 1
        self.squares += float(gradient.square().sum())

    @property
    def length(self) -> float:
        """Root mean square over pictures of a gradient's length."""
        return math.sqrt(self.squares / sum(self.counts))

    @property
    def pictures(self) -> float:
        """How many pictures a step needs before what they agree on is as long as what they do not;
        infinite where two halves of the pictures agree on nothing.

        The product of two independent means is an unbiased estimate of the squared length of what
        all agree on; a mean over n pictures adds the variance divided by n.
        """
        if 0 in self.counts:
            return math.inf
        one, other = (half / count for half, count in zip(self.halves, self.counts, strict=True))
        agreed = float((one * other).sum())
        return (self.length**2 - agreed) / agreed if agreed > 0 else math.inf


def measure(state: Any, examples: list[dict[str, Any]], step: int) -> dict[str, Gradients]:
    """Of denoising and of each feedback that has something to watch, in the encoder's layers.

    Args:
        state, examples: of `decoders.loaded`.
    """
    import torch

    parameters = [p for p in state.encoder.layers.parameters() if p.requires_grad]
    gradients: dict[str, Gradients] = {}
    for example in examples:
        denoise, latents = decoders.estimate(state, example, step)
        pictures = state.base.decode(latents)
        values = {DENOISE: denoise}
        for name, watch in state.watch.items():
            if any(part.startswith(f"{name}_") for part in example):
                values[name] = watch.values(pictures, [example]).sum()
        for name, value in values.items():
            if value.requires_grad:
                slopes = torch.autograd.grad(value, parameters, retain_graph=True)
                flat = torch.cat([slope.flatten() for slope in slopes])
                gradients.setdefault(name, Gradients()).add(flat)
    return gradients


def main(arguments: list[str]) -> int:
    """Print two tables: lengths, then pictures a step needs."""
    import torch

    parser = argparse.ArgumentParser(prog="signals")
    parser.add_argument("shards")
    parser.add_argument("--measured", type=int, default=32, help="pictures")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    state, examples = decoders.loaded(given.shards, given.measured)
    of_step = {step: measure(state, examples, step) for step in STEPS}
    head = ["gradient of", *(f"t = {step}" for step in STEPS)]
    for figure, shown in (("length", "{:.3f}"), ("pictures", "{:.0f}")):
        rows = [
            [name, *(shown.format(getattr(of_step[step][name], figure)) if name in of_step[step]
                     else "" for step in STEPS)]
            for name in (DENOISE, *state.watch)
        ]  # fmt: skip
        print(table(head, rows), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Randomness that depends on what it is for, never on what was drawn before.

Every number has an address: (seed, step, position in the global batch, name). The count of
processes, the micro-batch, a restart, or another loss being switched on move no number.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

GOLDEN = (5**0.5 - 1) / 2


def seeded(*address: object) -> int:
    """A seed in [0, 2^63) from an address of numbers and words."""
    text = "\x1f".join(map(str, address))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class Variant:
    """Which augmented version of a sample is wanted.

    ``number`` is below ``of`` where the run has so many versions of each sample (``of`` 0: one
    for each epoch, without end). The numbers drawn are the same whenever this version is made.
    """

    seed: int
    key: str
    number: int
    of: int = 0

    @property
    def random(self) -> random.Random:
        """A fresh generator: hash(seed, key, number)."""
        return random.Random(seeded(self.seed, "variant", self.key, self.number))


@dataclass(frozen=True)
class Draw:
    """The randomness of the B samples of one micro-batch in one step.

    Two draws of the same name give the same numbers, draws of different names independent ones.
    All are made on the CPU, so that every device sees the same.
    """

    seed: int
    step: int  # optimiser steps done before this one
    positions: list[int]  # of the samples in the global batch
    keys: list[str]  # of the samples
    steps: int = 0  # of the whole run
    epochs: list[int] = field(default_factory=list)  # how often each sample was used before
    numbers: list[int] = field(default_factory=list)  # of the samples in the run's index

    def generator(self, at: int, name: str) -> torch.Generator:
        """Of sample ``at`` (its place in this micro-batch)."""
        import torch

        address = (self.seed, "step", self.step, self.positions[at], name)
        return torch.Generator().manual_seed(seeded(*address))

    def random(self, at: int, name: str) -> random.Random:
        """The same for what is no tensor: a template, a reference, a word."""
        return random.Random(seeded(self.seed, "step", self.step, self.positions[at], name))

    def normal(self, name: str, *shape: int) -> torch.Tensor:
        """(B, *shape) float32, standard normal."""
        import torch

        each = range(len(self.positions))
        return torch.stack([torch.randn(shape, generator=self.generator(i, name)) for i in each])

    def uniform(self, name: str, *shape: int) -> torch.Tensor:
        """(B, *shape) float32 in [0, 1)."""
        import torch

        each = range(len(self.positions))
        return torch.stack([torch.rand(shape, generator=self.generator(i, name)) for i in each])

    def spread(self, name: str) -> torch.Tensor:
        """(B,) float64 in [0, 1), evenly spread over the positions of the global batch.

        Each number by itself is uniform, and steps are independent of each other. Within a step
        the numbers are one random offset plus multiples of the golden ratio, modulo 1: of any n
        successive positions n * p, up to a few, lie below p.
        """
        import torch

        offset = random.Random(seeded(self.seed, "step", self.step, name)).random()
        positions = torch.tensor(self.positions, dtype=torch.float64)
        return (offset + positions * GOLDEN) % 1.0

    def integers(self, name: str, below: int) -> torch.Tensor:
        """(B,) int64 in [0, below)."""
        import torch

        each = range(len(self.positions))
        numbers = [torch.randint(below, (), generator=self.generator(i, name)) for i in each]
        return torch.stack(numbers)

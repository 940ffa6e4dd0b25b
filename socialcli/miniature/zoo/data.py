"""Batches of scenes: training scenes are drawn as they are needed, never stored."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from socialcli.miniature.world import Scene, scene

if TYPE_CHECKING:
    import numpy
    import torch

SIZE = 96
TRAIN_SEED = 0
TEST_SEED = 0  # the test split has its own people, things and pairs whatever the seed
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def train_scenes(step: int, batch: int) -> list[Scene]:
    """The scenes of one training step; no scene comes twice."""
    return [scene(TRAIN_SEED, step * batch + i, SIZE, "train") for i in range(batch)]


@functools.cache
def test_scenes(count: int) -> tuple[Scene, ...]:
    """The first ``count`` scenes of the test split."""
    return tuple(scene(TEST_SEED, i, SIZE, "test") for i in range(count))


def rows(scenes: list[Scene]) -> numpy.ndarray:
    """(N, size, size, 3) uint8."""
    import numpy

    return numpy.stack([numpy.asarray(s.image) for s in scenes])


def pixels(scenes: list[Scene], mean_std=IMAGENET) -> torch.Tensor:
    """(N, 3, size, size) float32, normalised as the processors do."""
    return normalised(rows(scenes), mean_std)


def normalised(rows: numpy.ndarray, mean_std=IMAGENET) -> torch.Tensor:
    """`pixels` of pictures that are `rows` already."""
    import torch

    stacked = torch.from_numpy(rows).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in mean_std)
    return ((stacked - mean) / std).contiguous()

"""The soft argmax of gaze maps was not divided by the map's peak, as that of poses is: a blob of
height 0.3 at (0.2, 0.2) was read as (0.33, 0.33), drawn towards the middle of the picture."""

from __future__ import annotations

import math

import pytest
import torch

from socialcli.losses import pose
from socialcli.networks import gaze_geometry

SIDE = 64


def blob(height: float, x: float, y: float, sigma: float = 3.0) -> torch.Tensor:
    """A Gaussian about cell (x, y), as Sharingan's maps are trained."""
    at = torch.arange(SIDE, dtype=torch.float64)
    off = (at[None, :] - x) ** 2 + (at[:, None] - y) ** 2
    return height * torch.exp(-off / (2 * sigma**2))


def by_loop(heatmap: torch.Tensor, last: int) -> tuple[float, float]:
    """The mean cell in plain float64 numbers; cell i is coordinate i / last."""
    peak = max(0.1, max(max(row) for row in heatmap.tolist()))
    total = across = down = 0.0
    for row, values in enumerate(heatmap.tolist()):
        for column, value in enumerate(values):
            weight = math.exp(20 * value / peak)
            total += weight
            across += weight * column / last
            down += weight * row / last
    return across / total, down / total


@pytest.mark.parametrize("height", [1.0, 0.3, 0.12])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_point_stays_with_the_blob(height: float, dtype: torch.dtype) -> None:
    heatmap = blob(height, 0.2 * SIDE, 0.2 * SIDE)
    point = gaze_geometry.soft_argmax_point(heatmap.to(dtype)[None])[0].double()
    assert point.tolist() == pytest.approx([0.2, 0.2], abs=0.01)
    assert point.tolist() == pytest.approx(by_loop(heatmap, SIDE), abs=1e-5)
    keypoint = pose.points_of(heatmap.to(dtype)[None])[0].double()
    assert keypoint.tolist() == pytest.approx(by_loop(heatmap, SIDE - 1), abs=1e-5)


def test_a_map_without_a_blob_is_not_sharpened() -> None:
    noise = 0.02 * torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    point = gaze_geometry.soft_argmax_point(noise)
    assert point.tolist() == pytest.approx(by_loop(noise.double(), SIDE), abs=1e-5)
    assert (point - 0.5).abs().max() < 0.05


def test_gradients_reach_the_blob() -> None:
    heatmap = blob(0.3, 13, 40).float().requires_grad_()
    gaze_geometry.soft_argmax_point(heatmap)[0].backward()
    assert heatmap.grad is not None
    assert heatmap.grad[40, 15] > 0 > heatmap.grad[40, 11]

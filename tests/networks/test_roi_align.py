"""RoIAlign against its definition, point by point."""

from __future__ import annotations

import math

import torch
from torch.autograd import gradcheck

from socialcli.networks.roi_align import roi_align


def by_definition(features, box, size, scale):
    """Every cell of one box from its sampling points, each from its four neighbours."""
    channels, height, width = features.shape
    left, top, right, bottom = (float(v) * scale - 0.5 for v in box)
    down, across = (bottom - top) / size, (right - left) / size
    rows, columns = math.ceil(down), math.ceil(across)
    result = torch.zeros(channels, size, size, dtype=features.dtype)
    for p in range(size):
        for q in range(size):
            for i in range(rows):
                for j in range(columns):
                    y = top + p * down + (i + 0.5) * down / rows
                    x = left + q * across + (j + 0.5) * across / columns
                    if not (-1 <= y <= height and -1 <= x <= width):
                        continue
                    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
                    y0, x0 = min(int(y), height - 2), min(int(x), width - 2)
                    for dy, wy in ((0, 1 - (y - y0)), (1, y - y0)):
                        for dx, wx in ((0, 1 - (x - x0)), (1, x - x0)):
                            result[:, p, q] += wy * wx * features[:, y0 + dy, x0 + dx]
    return result / max(rows * columns, 1)


def test_every_kind_of_box_as_defined():
    torch.manual_seed(0)
    features = torch.randn(3, 9, 14, dtype=torch.float64)
    boxes = torch.tensor(
        [[0.1, 0.1, 0.6, 0.9], [0, 0, 1, 1], [0.31, 0.5, 0.33, 0.52], [-0.3, 0.5, 0.4, 1.4],
         [0.5, 0.5, 0.5, 0.5], [1.2, 0.1, 1.4, 0.3], [0.9, -0.2, 1.9, 2.1]], dtype=torch.float64,
    )  # fmt: skip
    for size in (1, 3, 7):
        got = roi_align(features, boxes, size, 14)
        wanted = torch.stack([by_definition(features, box, size, 14) for box in boxes])
        assert torch.allclose(got, wanted, atol=1e-12)
    assert roi_align(features, boxes[:0], 7, 14).shape == (0, 3, 7, 7)


def test_the_gradient_reaches_the_features():
    features = torch.randn(2, 5, 5, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0.1, 0.2, 0.7, 0.9], [0.4, 0.0, 1.1, 0.3]], dtype=torch.float64)
    assert gradcheck(lambda x: roi_align(x, boxes, 2, 5), (features,))

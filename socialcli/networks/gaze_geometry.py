"""Between pictures and a gaze network: head crops going in, points and vectors coming out.

Frames and ranges of Sharingan (`socialcli.networks.sharingan`)
    * The picture is squashed to 224x224 (aspect ratio not kept), so the network's own frame is the
      normalised one, and its vector is measured there: `to_pixel_frame` converts it.
    * Heads: box grown by 10 % a side and cut to the picture, then squared about its centre; what
      lies outside is black. `head_squares` computes the squares.
    * All RGB inputs: in [0, 1], then `MEAN` and `STD` (`normalise`).
    * Heat map: 64x64, raw numbers trained towards a Gaussian of height 1 and sigma 3 whose peak
      lies at index (64 x, 64 y): cell i stands for coordinate i/64.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from socialcli.networks.heatmaps import soft_argmax

MEAN = (0.44232, 0.40506, 0.36457)
STD = (0.28674, 0.27776, 0.27995)


def normalise(rgb: Tensor) -> Tensor:
    """RGB (..., 3, H, W) in [0, 1] -> what the network takes."""
    mean = torch.tensor(MEAN, dtype=rgb.dtype, device=rgb.device)[:, None, None]
    std = torch.tensor(STD, dtype=rgb.dtype, device=rgb.device)[:, None, None]
    return (rgb - mean).div_(std)


def head_squares(heads: Tensor, width: int, height: int, grow: float = 0.1) -> Tensor:
    """Normalised head boxes (..., 4) -> the crops' squares in pixels (may leave the picture).

    Each box grows by ``grow`` of its side on every side, is cut to the picture, then squared about
    its centre with the longer side.
    """
    scale = heads.new_tensor([width, height, width, height])
    left, top, right, bottom = (heads * scale).unbind(-1)
    across, down = (right - left) * grow, (bottom - top) * grow
    left, right = (left - across).clamp(min=0), (right + across).clamp(max=width)
    top, bottom = (top - down).clamp(min=0), (bottom + down).clamp(max=height)
    x, y = (left + right) / 2, (top + bottom) / 2
    half = torch.maximum(right - left, bottom - top) / 2
    return torch.stack([x - half, y - half, x + half, y + half], dim=-1)


def to_pixel_frame(vector: Tensor, width: int, height: int) -> Tensor:
    """Vectors (..., 2) of the squashed frame as vectors of length 1 in the picture's own frame."""
    return F.normalize(vector * vector.new_tensor([width, height]), dim=-1)


def argmax_point(heatmap: Tensor) -> Tensor:
    """Heat maps (..., 64, 64) -> normalised points (..., 2) of the highest cell; no gradient.

    Cell i is coordinate i / 64, as in the maps the network is trained on (the reference's demo adds
    one cell, and notes that it does better without).
    """
    rows, columns = heatmap.shape[-2:]
    index = heatmap.flatten(-2).argmax(-1)
    x, y = index % columns, torch.div(index, columns, rounding_mode="floor")
    return torch.stack([x / columns, y / rows], dim=-1)


def soft_argmax_point(heatmap: Tensor) -> Tensor:
    """Heat maps (..., 64, 64) -> normalised points (..., 2), differentiable."""
    rows, columns = heatmap.shape[-2:]
    x = torch.arange(columns, device=heatmap.device, dtype=heatmap.dtype) / columns
    y = torch.arange(rows, device=heatmap.device, dtype=heatmap.dtype) / rows
    return soft_argmax(heatmap, x, y)

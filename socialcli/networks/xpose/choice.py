"""Which of X-Pose's many boxes is the subject that is asked for: the one that overlaps its box and
is likely to be of its class."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from socialcli.networks.xpose.decoder import Seen

OVERLAP = 0.3  # IoU below which a box is somebody else's


class Chosen(NamedTuple):
    """numbers (B, m) of the chosen boxes; scores (B, m): probability of the subject's class, 0
    where no box overlaps the subject's."""

    numbers: Tensor
    scores: Tensor

    def of(self, values: Tensor) -> Tensor:
        """(B, N, ...) of all boxes -> (B, m, ...) of the chosen ones; differentiable."""
        rows = torch.arange(len(values), device=values.device)[:, None]
        return values[rows, self.numbers]


def choose(seen: Seen, boxes: Tensor, classes: Tensor) -> Chosen:
    """The box of each subject.

    Args:
        boxes: (B, m, 4) normalised xyxy. classes: (B, m) int64, numbers of the subjects' classes.
    """
    corners = xyxy(seen.boxes.detach())
    shared = overlaps(corners, boxes.to(corners))  # (B, N, m)
    likely = seen.logits.detach().sigmoid()
    likely = likely.gather(2, classes[:, None].expand(-1, likely.shape[1], -1))
    numbers = (shared * likely).argmax(1)
    here = numbers[:, None]
    enough = shared.gather(1, here)[:, 0] >= OVERLAP
    return Chosen(numbers, likely.gather(1, here)[:, 0] * enough)


def xyxy(boxes: Tensor) -> Tensor:
    """(..., 4) centre, width, height -> corners."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1)


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of (B, N, 4) and (B, m, 4) boxes, xyxy: (B, N, m)."""
    a, b = first[:, :, None], second[:, None]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(0)
    common = sides.prod(-1)
    whole = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - common
    return common / whole.clamp(min=1e-12)

"""The pose loss: the keypoints of each subject stay where they were.

Source: Social Context Feedback (arXiv 2507.16095), section 3D and Eq. 5: mean squared difference of
the (normalised)
keypoint coordinates that a frozen estimator finds in the subject's box, in x0 and in the estimate.
The paper's estimator is X-Pose, whose coordinates have a gradient as they are; the other one here
is one of heat maps (ViTPose), whose argmax has none, so that a soft one is taken. Coordinates are
normalised by the estimator's window around the subject, which makes a child and a grown-up count
alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from socialcli.losses import per_sample
from socialcli.networks.heatmaps import soft_argmax

MARGIN = 1.25  # the window is this much larger than the box, as in ViTPose's preprocessing


class Pose(NamedTuple):
    """points (N, K, 2): x, y in [0, 1] of the window; scores (N, K): how sure each of them is."""

    points: Tensor
    scores: Tensor


class Estimator(Protocol):
    """What finds keypoints; ``size`` is the (height, width) of its windows in pixels."""

    @property
    def size(self) -> tuple[int, int]: ...

    def poses(self, windows: Tensor, boxes: Tensor, kinds: Tensor | None) -> Pose:
        """Differentiable in ``windows`` (N, 3, *size), in [0, 1] and black outside the picture.

        ``boxes`` (N, 4) are the subjects', xyxy in [0, 1] of the windows; ``kinds`` (N,) int64 say
        what they are, None where the estimator knows one kind only.
        """
        ...


class HeatMaps(NamedTuple):
    """An `Estimator` of heat maps: ``maps`` takes windows and gives (N, K, h, w). Scores are the
    heights of the peaks."""

    maps: Callable[[Tensor], Tensor]
    size: tuple[int, int]

    def poses(self, windows: Tensor, boxes: Tensor, kinds: Tensor | None) -> Pose:
        maps = self.maps(windows)
        maps = maps.float() if maps.itemsize < 4 else maps
        return Pose(points_of(maps), maps.flatten(-2).amax(-1))


class Queries(NamedTuple):
    """An `Estimator` that is asked in words (X-Pose).

    ``look`` takes windows, boxes, the labels of the subjects and the name of their keypoint layout,
    and gives points (N, K, 2) and scores (N, K). ``kinds`` are pairs of label and layout, which the
    numbers in `poses` count; missing keypoints of the smaller layouts are (0, 0), scored 0.
    """

    look: Callable[[Tensor, Tensor, list[str], str], tuple[Tensor, Tensor]]
    size: tuple[int, int]
    kinds: list[tuple[str, str]]

    def poses(self, windows: Tensor, boxes: Tensor, kinds: Tensor | None) -> Pose:
        numbers = [0] * len(windows) if kinds is None else kinds.tolist()
        asked = [self.kinds[number] for number in numbers]
        rows, points, scores = [], [], []
        for layout in dict.fromkeys(layout for _, layout in asked):
            own = [n for n, (_, name) in enumerate(asked) if name == layout]
            at = torch.tensor(own, device=windows.device)
            estimated = self.look(windows[at], boxes[at], [asked[n][0] for n in own], layout)
            rows += own
            points.append(estimated[0])
            scores.append(estimated[1])
        widest = max(part.shape[1] for part in points)
        back = torch.tensor(rows, device=windows.device).argsort()
        padded = [F.pad(part, (0, 0, 0, widest - part.shape[1])) for part in points]
        sure = [F.pad(part, (0, widest - part.shape[1])) for part in scores]
        return Pose(torch.cat(padded)[back], torch.cat(sure)[back])


def loss(
    estimator: Estimator,
    pictures: Tensor,
    owners: Tensor,
    boxes: Tensor,
    targets: Tensor,
    weights: Tensor,
    kinds: Tensor | None = None,
) -> Tensor:
    """Mean squared distance of N subjects' keypoints, Eq. 5.

    Args:
        estimator: what finds keypoints in a window, `vitpose` for one.
        pictures: estimates (B, 3, H, W) in [-1, 1].
        owners: (N,) int64, the picture of each subject. boxes: (N, 4) normalised xyxy.
        targets: (N, K, 2), what `keypoints` found in the originals, or `to_window` of annotated
            ones. weights: (N, K) at least 0: 0 for keypoints that are not there to be seen.
        kinds: (N,) int64, what each subject is, for an estimator that knows several kinds.

    Returns:
        (B,): squared distance (x and y summed, in the window's [0, 1]), weighted mean over the
        keypoints, mean over the subjects that have any. 0 where nothing moved or nobody is there.
    """
    counted = (weights > 0).any(-1)
    if not counted.any():
        return per_sample.silent(pictures)
    owners, boxes = owners[counted], boxes[counted]
    kinds = None if kinds is None else kinds[counted]
    points = keypoints(estimator, pictures, owners, boxes, kinds).points
    most = points.shape[1]  # the counted subjects may have fewer keypoints than the others
    weights = weights[counted, :most].to(points.dtype)
    goal = torch.nan_to_num(targets[counted, :most].to(points.dtype)).detach()
    off = ((points - goal).square().sum(-1) * weights).sum(-1) / weights.sum(-1)
    return per_sample.mean(off, owners, len(pictures))


def keypoints(
    estimator: Estimator,
    pictures: Tensor,
    owners: Tensor,
    boxes: Tensor,
    kinds: Tensor | None = None,
) -> Pose:
    """What the estimator finds in N boxes, differentiable in the pixels; arguments as in `loss`."""
    height, width = pictures.shape[-2:]
    corners = to_window(boxes.unflatten(-1, (2, 2)), boxes, width, height, estimator.size)
    seen = cut((pictures + 1) / 2, owners, boxes, estimator.size)
    return estimator.poses(seen, corners.flatten(-2), kinds)


def windows(boxes: Tensor, width: int, height: int, size: tuple[int, int]) -> Tensor:
    """Boxes (N, 4), normalised xyxy -> (N, 4) windows in pixels: centre x, y, width, height.

    The box is widened or heightened to the window's proportions about its centre and then grown by
    a quarter, as ViTPose's image processor does.
    """
    left, top, right, bottom = (boxes * boxes.new_tensor([width, height] * 2)).unbind(-1)
    across, down = (right - left).clamp(min=1), (bottom - top).clamp(min=1)
    aspect = size[1] / size[0]
    wide = across > down * aspect
    grown = torch.where(wide, across, down * aspect), torch.where(wide, across / aspect, down)
    return torch.stack(
        [(left + right) / 2, (top + bottom) / 2, grown[0] * MARGIN, grown[1] * MARGIN], -1
    )


def cut(light: Tensor, owners: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Windows of N boxes: (N, 3, *size), in the range of ``light`` (B, 3, H, W), 0 outside.

    The first and last pixel of a window lie on its edges, and nothing is smoothed: again as
    ViTPose's image processor has it.
    """
    height, width = light.shape[-2:]
    at = windows(boxes.to(light.dtype), width, height, size)
    x, y = (
        at[:, None, axis] + torch.linspace(-0.5, 0.5, count).to(at) * at[:, None, 2 + axis]
        for axis, count in ((0, size[1]), (1, size[0]))
    )
    grid = torch.stack(
        [
            (2 * x / (width - 1) - 1)[:, None, :].expand(-1, size[0], -1),
            (2 * y / (height - 1) - 1)[:, :, None].expand(-1, -1, size[1]),
        ],
        -1,
    )
    return F.grid_sample(light[owners], grid, align_corners=True)


def to_window(points: Tensor, boxes: Tensor, width: int, height: int, size: tuple[int, int]):
    """Keypoints (N, K, 2), normalised to the picture -> [0, 1] of the windows of their boxes."""
    at = windows(boxes.to(points.dtype), width, height, size)[:, None]
    pixels = points * points.new_tensor([width, height])
    return (pixels - at[..., :2]) / at[..., 2:] + 0.5


def points_of(maps: Tensor) -> Tensor:
    """Heat maps (..., h, w) -> points (..., 2), x and y in [0, 1] between first and last cell."""
    height, width = maps.shape[-2:]
    return soft_argmax(
        maps, torch.linspace(0, 1, width).to(maps), torch.linspace(0, 1, height).to(maps)
    )


def vitpose(network: Any, processor: Any) -> HeatMaps:
    """An estimator from transformers' `VitPoseForPoseEstimation` and its image processor.

    Models with experts (ViTPose+) use COCO's. Gradients reach the windows, not the network if its
    parameters are frozen.
    """
    size = int(processor.size["height"]), int(processor.size["width"])
    parameter = next(network.parameters())
    experts = getattr(network.config.backbone_config, "num_experts", 1) > 1
    mean = torch.tensor(processor.image_mean).to(parameter)[:, None, None]
    std = torch.tensor(processor.image_std).to(parameter)[:, None, None]

    def maps(light: Tensor) -> Tensor:
        feed = {"pixel_values": (light.to(parameter.dtype) - mean) / std}
        if experts:
            feed["dataset_index"] = torch.zeros(len(light), dtype=torch.long, device=light.device)
        return network(**feed).heatmaps

    return HeatMaps(maps, size)

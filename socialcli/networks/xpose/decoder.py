"""X-Pose's decoder: queries become boxes, the best boxes become boxes with keypoints.

The first layers refine a box for each of many queries. The likeliest of them go on as groups: the
box's query and one query for each keypoint, which begins as the words of that keypoint. Groups do
not see each other, so that each is a row of a batch and no mask is needed (the official code masks
one long row, and fills every group up to 68 keypoints that nothing looks at).
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from socialcli.networks.xpose.deformable import DeformableAttention, Shapes
from socialcli.networks.xpose.encoder import waves

GROUPS = 50  # boxes that get keypoints
BODY = 17  # keypoints whose sizes lie in `hw`, those after them in `hw_append`
EDGE = 1e-3  # distance from 0 and 1 at which `logit` stops


class Seen(NamedTuple):
    """What X-Pose sees; N is `GROUPS`, or fewer in a tiny picture.

    logits (B, N, n) of the classes; boxes (B, N, 4), cx cy w h; keypoints (B, N, K, 2), x y; all
    coordinates in [0, 1] of the picture. queries (B, N, 1 + K, C): what was known of each box and
    of its keypoints in the end.
    """

    logits: Tensor
    boxes: Tensor
    keypoints: Tensor
    queries: Tensor


class MLP(nn.Module):
    def __init__(self, inner: int, hidden: int, outer: int, depth: int) -> None:
        super().__init__()
        sizes = [inner, *[hidden] * (depth - 1), outer]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


class Heads(nn.Module):
    """Small networks that read corrections off the queries, one for each layer; ``pose_embed`` has
    one more, that places the keypoints of a new group."""

    def __init__(self, width: int, depth: int, box_layers: int) -> None:
        super().__init__()
        poses = depth - box_layers
        self.bbox_embed = nn.ModuleList(MLP(width, width, 4, 3) for _ in range(depth))
        self.pose_embed = nn.ModuleList(MLP(width, width, 2, 3) for _ in range(poses + 1))
        self.pose_hw_embed = nn.ModuleList(MLP(width, width, 2, 3) for _ in range(poses))


class Decoder(nn.Module):
    """Layers named as the official checkpoints name them."""

    def __init__(
        self, width: int, depth: int, levels: int, heads: int, points: int, hidden: int,
        keypoints: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.layers = nn.ModuleList(
            Layer(width, levels, heads, points, hidden) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.ref_point_head = MLP(2 * width, width, width, 2)
        self.hw = nn.Embedding(BODY, 2)
        self.hw_append = nn.Embedding(keypoints - BODY, 2)

    def forward(
        self, queries: Tensor, boxes: Tensor, memory: Tensor, shapes: Shapes, words: Tensor,
        names: Tensor, heads: Heads,
    ) -> Seen:  # fmt: skip
        """From the encoder's proposals to `Seen`.

        Args:
            queries: (B, Q, C). boxes: (B, Q, 4), where they begin. memory, shapes: the maps.
            words: (B, n, C) of the classes. names: (K, C), of the keypoints.
        """
        box_layers = len(heads.bbox_embed) - len(heads.pose_hw_embed)
        for number in range(box_layers):
            queries = self._layer(number, queries, boxes.detach(), memory, shapes, words)
            boxes = moved(boxes.detach(), heads.bbox_embed[number](queries))
        groups, places = self._groups(queries, boxes, words, names, heads)
        for number in range(box_layers, len(self.layers)):
            start = places.detach()
            groups = self._layer(number, groups, start, memory, shapes, words)
            if number < len(self.layers) - 1:
                places = refined(groups, start, heads, number, number - box_layers)
        last = self.norm(groups)
        logits = last[:, :, 0] @ words.transpose(1, 2)
        final = moved(places[:, :, 0], heads.bbox_embed[-1](last[:, :, 0]))
        shift = heads.pose_embed[len(self.layers) - 1 - box_layers](last[:, :, 1:])
        return Seen(logits, final, moved(places[:, :, 1:, :2], shift), last)

    def _layer(
        self, number: int, queries: Tensor, boxes: Tensor, memory: Tensor, shapes: Shapes,
        words: Tensor,
    ) -> Tensor:  # fmt: skip
        where = self.ref_point_head(box_code(boxes, queries.shape[-1] // 2))
        return self.layers[number](queries, where, boxes, memory, shapes, words)

    def _groups(
        self, queries: Tensor, boxes: Tensor, words: Tensor, names: Tensor, heads: Heads
    ) -> tuple[Tensor, Tensor]:
        """The likeliest boxes with their keypoints' queries: (B, N, 1 + K, C) and their boxes."""
        likely = (queries @ words.transpose(1, 2)).amax(-1)
        best = likely.topk(min(GROUPS, likely.shape[1]), 1).indices[..., None]
        boxes = boxes.gather(1, best.expand(-1, -1, 4))
        chosen = queries.gather(1, best.expand(-1, -1, queries.shape[-1]))
        centres = moved(boxes[:, :, None, :2], heads.pose_embed[-1](names))
        sizes = torch.cat([self.hw.weight, self.hw_append.weight])[: len(names)].sigmoid()
        small = torch.cat([centres, sizes * boxes[:, :, None, 2:]], -1)
        points = names.expand(*chosen.shape[:2], -1, -1)
        return torch.cat([chosen[:, :, None], points], 2), torch.cat([boxes[:, :, None], small], 2)


class Layer(nn.Module):
    """Queries look at those of their group, at the words, and at the maps where their boxes are."""

    def __init__(self, width: int, levels: int, heads: int, points: int, hidden: int) -> None:
        super().__init__()
        self.cross_attn = DeformableAttention(width, levels, heads, points)
        self.norm1 = nn.LayerNorm(width)
        self.ca_text = nn.MultiheadAttention(width, heads, batch_first=True)
        self.catext_norm = nn.LayerNorm(width)
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm3 = nn.LayerNorm(width)

    def forward(
        self, queries: Tensor, where: Tensor, boxes: Tensor, memory: Tensor, shapes: Shapes,
        words: Tensor,
    ) -> Tensor:  # fmt: skip
        """(B, Q, C), all in one group, or (B, N, G, C), in N groups; ``where`` and ``boxes`` are
        their position codes and boxes."""
        shape = queries.shape
        x, code = queries.reshape(-1, *shape[-2:]), where.reshape(-1, *shape[-2:])
        at = x + code
        x = self.norm2(x + self.self_attn(at, at, x, need_weights=False)[0])
        x, code = x.reshape(len(words), -1, shape[-1]), code.reshape(len(words), -1, shape[-1])
        x = self.catext_norm(x + self.ca_text(x + code, words, words, need_weights=False)[0])
        seen = self.cross_attn(x + code, boxes.reshape(len(words), -1, 4), memory, shapes)
        x = self.norm1(x + seen)
        x = self.norm3(x + self.linear2(self.linear1(x).relu()))
        return x.reshape(shape)


def refined(groups: Tensor, places: Tensor, heads: Heads, box: int, pose: int) -> Tensor:
    """Boxes and keypoints (B, N, 1 + K, 4), moved by what their queries say."""
    whole = moved(places[:, :, :1], heads.bbox_embed[box](groups[:, :, :1]))
    points = groups[:, :, 1:]
    by = torch.cat([heads.pose_embed[pose](points), heads.pose_hw_embed[pose](points)], -1)
    return torch.cat([whole, moved(places[:, :, 1:], by)], 2)


def moved(places: Tensor, by: Tensor) -> Tensor:
    """Coordinates in [0, 1], moved by an amount in logits."""
    return (logit(places) + by).sigmoid()


def logit(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    return (x.clamp(min=EDGE) / (1 - x).clamp(min=EDGE)).log()


def box_code(boxes: Tensor, width: int) -> Tensor:
    """(..., 4), cx cy w h in [0, 1] -> (..., 4 width): sines and cosines of cy, cx, w, h."""
    step = 2 * (torch.arange(width, device=boxes.device) // 2) / width
    angles = boxes[..., [1, 0, 2, 3], None] * 2 * math.pi / 10000**step
    return waves(angles).flatten(-2)

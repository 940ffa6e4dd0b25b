"""X-Pose: keypoints of anything, for classes and keypoints that are named in words.

Own implementation (Yang, Zeng, Zhang and Zhang, "X-Pose: Detecting Any Keypoints", ECCV 2024), with
the parameter names of the official checkpoints. Pictures of one batch have one size, so that no
part of a map is padding; only the classes and keypoints that are asked for are computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from socialcli.networks.xpose.decoder import MLP, Decoder, Heads, Seen
from socialcli.networks.xpose.deformable import Shapes
from socialcli.networks.xpose.encoder import Encoder, cell_centres, flatten, position_code
from socialcli.networks.xpose.swin import Swin

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
NORM_GROUPS = 32  # of the group norms before the encoder
SMALLEST = 0.05  # side of a proposal of the first level; each level after it has twice as much
INNER = (0.01, 0.99)  # a proposal that reaches beyond is none


@dataclass(frozen=True)
class Sizes:
    """Everything that the shapes of the weights say; the defaults are the official Swin-T's.

    ``heads`` alone is said by no shape.
    """

    swin_width: int = 96
    swin_depths: tuple[int, ...] = (2, 2, 6, 2)
    swin_heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    out: tuple[int, ...] = (1, 2, 3)  # stages of Swin that are looked at
    width: int = 256
    heads: int = 8
    levels: int = 4
    encoder_points: int = 4
    decoder_points: int = 4
    encoder_depth: int = 6
    decoder_depth: int = 6
    box_layers: int = 2  # of the decoder, before there are keypoints
    hidden: int = 2048
    fusion: int = 1024
    queries: int = 900
    keypoints: int = 68
    words: int = 512  # channels of CLIP's text features


class XPose(Heads):
    """The whole network but for CLIP's text tower, whose features it is given."""

    def __init__(self, sizes: Sizes) -> None:
        s = sizes
        super().__init__(s.width, s.decoder_depth, s.box_layers)
        self.sizes = s
        swin = Swin(s.swin_width, s.swin_depths, s.swin_heads, s.window, s.out)
        self.backbone = nn.ModuleList([swin])
        below = [swin.widths[stage] for stage in s.out]
        further = [below[-1], *[s.width] * s.levels][: s.levels - len(below)]
        self.input_proj = nn.ModuleList(
            [_input(inner, s.width, 1) for inner in below]
            + [_input(inner, s.width, 3) for inner in further]
        )
        self.projection = MLP(s.words, s.width, s.width, 3)
        self.projection_kpt = MLP(s.words, s.width, s.width, 3)
        self.transformer = Transformer(s)

    def forward(self, pictures: Tensor, classes: Tensor, keypoints: Tensor) -> Seen:
        """What is seen of these classes, with these keypoints.

        Args:
            pictures: (B, 3, H, W) as `prepare` makes them.
            classes: (n, W) CLIP features of "a photo of CLASS", not normalised.
            keypoints: (K, W), the same of the keypoints' names; at most ``sizes.keypoints``.
        """
        maps = self.backbone[0](pictures)
        levels = [project(x) for project, x in zip(self.input_proj, maps, strict=False)]
        for project in list(self.input_proj)[len(maps) :]:
            levels.append(project(maps[-1] if len(levels) == len(maps) else levels[-1]))
        words = self.projection(classes).expand(len(pictures), -1, -1)
        return self.transformer(levels, words, self.projection_kpt(keypoints), self)


class Transformer(nn.Module):
    """Encoder, the choice of proposals, decoder."""

    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.level_embed = nn.Parameter(torch.zeros(s.levels, s.width))
        self.tgt_embed = nn.Embedding(s.queries, s.width)
        self.encoder = Encoder(
            s.width, s.encoder_depth, s.levels, s.heads, s.encoder_points, s.hidden, s.fusion
        )
        self.enc_output = nn.Linear(s.width, s.width)
        self.enc_output_norm = nn.LayerNorm(s.width)
        self.enc_out_bbox_embed = MLP(s.width, s.width, 4, 3)
        self.decoder = Decoder(
            s.width, s.decoder_depth, s.levels, s.heads, s.decoder_points, s.hidden, s.keypoints
        )

    def forward(self, levels: list[Tensor], words: Tensor, names: Tensor, heads: Heads) -> Seen:
        memory, shapes = flatten(levels)
        code = torch.cat(
            [
                position_code(high, wide, memory.shape[-1], memory.device) + own
                for (high, wide), own in zip(shapes, self.level_embed, strict=True)
            ]
        )
        memory, words = self.encoder(memory, code[None], shapes, words)
        boxes = self._proposals(memory, shapes, words)
        queries = self.tgt_embed.weight[: boxes.shape[1]].expand(len(memory), -1, -1)
        return self.decoder(queries, boxes, memory, shapes, words, names, heads)

    def _proposals(self, memory: Tensor, shapes: Shapes, words: Tensor) -> Tensor:
        """(B, Q, 4): boxes of the cells that are likeliest to hold a class, without gradient."""
        proposals = cell_boxes(shapes, memory.device)
        inside = ((proposals > INNER[0]) & (proposals < INNER[1])).all(-1)[:, None]
        start = (proposals / (1 - proposals)).log().masked_fill(~inside, float("inf"))
        held = self.enc_output_norm(self.enc_output(memory.masked_fill(~inside, 0.0)))
        likely = (held @ words.transpose(1, 2)).amax(-1)
        best = likely.topk(min(len(self.tgt_embed.weight), likely.shape[1]), 1).indices
        chosen = held.gather(1, best[..., None].expand(-1, -1, held.shape[-1]))
        return (start[best] + self.enc_out_bbox_embed(chosen)).sigmoid().detach()


def cell_boxes(shapes: Shapes, device: torch.device) -> Tensor:
    """(S, 4): a box about each cell's centre, cx cy w h, larger in the coarser levels."""
    sides = [SMALLEST * 2.0**level for level in range(len(shapes))]
    size = torch.cat(
        [torch.full((high * wide, 2), s) for s, (high, wide) in zip(sides, shapes, strict=True)]
    )
    return torch.cat([cell_centres(shapes, device), size.to(device)], -1)


def prepare(rgb: Tensor) -> Tensor:
    """RGB (B, 3, H, W) in [0, 1] -> as the network takes it; differentiable."""
    mean, std = (rgb.new_tensor(v)[:, None, None] for v in (MEAN, STD))
    return (rgb - mean) / std


def _input(inner: int, outer: int, kernel: int) -> nn.Sequential:
    reach = kernel // 2  # the larger kernel halves the map
    convolution = nn.Conv2d(inner, outer, kernel, 1 + reach, reach)
    return nn.Sequential(convolution, nn.GroupNorm(NORM_GROUPS, outer))

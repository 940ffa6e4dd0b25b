"""Multi-scale deformable attention (Zhu et al., "Deformable DETR", ICLR 2021), in plain torch.

A query looks at a few places of each feature map, which it names itself as offsets from a
reference point or box. Maps are read with `grid_sample`, so that gradients reach maps and places
alike and no compiled operator is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

Shapes = Sequence[tuple[int, int]]  # height and width of each level's map


class DeformableAttention(nn.Module):
    """Parameters as the original code names them.

    Args:
        width: channels. levels: of the pyramid. heads: of attention. points: that a head of a
            query looks at in each level.
    """

    def __init__(self, width: int, levels: int, heads: int, points: int) -> None:
        super().__init__()
        self.levels, self.heads, self.points = levels, heads, points
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)

    def forward(self, query: Tensor, references: Tensor, memory: Tensor, shapes: Shapes) -> Tensor:
        """What the queries read.

        Args:
            query: (B, Q, C). references: (B, Q, 2) points or (B, Q, 4) boxes, cx cy w h, in [0, 1].
            memory: (B, S, C), all maps, flattened row by row, one level behind the other.
            shapes: of the levels.

        Returns:
            (B, Q, C).
        """
        split = (self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).unflatten(-1, (*split, 2))
        weights = self.attention_weights(query).unflatten(-1, (self.heads, -1)).softmax(-1)
        weights = weights.unflatten(-1, split[1:])
        centre = references[:, :, None, None, None, :2]
        if references.shape[-1] == 2:
            sizes = query.new_tensor([(wide, high) for high, wide in shapes])[:, None]
            places = centre + offsets / sizes
        else:
            size = references[:, :, None, None, None, 2:]
            places = centre + offsets / self.points * size * 0.5
        value = self.value_proj(memory).unflatten(-1, (self.heads, -1))
        parts = value.split([high * wide for high, wide in shapes], 1)
        read = [
            look(part, shape, places[..., level, :, :], weights[..., level, :])
            for level, (part, shape) in enumerate(zip(parts, shapes, strict=True))
        ]
        return self.output_proj(sum(read[1:], read[0]))


def look(value: Tensor, shape: tuple[int, int], places: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of one map at some places.

    Args:
        value: (B, h w, M, D), M heads. shape: (h, w). places: (B, Q, M, P, 2), x and y in [0, 1]
            from edge to edge; 0 is read outside. weights: (B, Q, M, P).

    Returns:
        (B, Q, M D).
    """
    maps = value.permute(0, 2, 3, 1).flatten(0, 1).unflatten(-1, shape)
    grid = (2 * places - 1).transpose(1, 2).flatten(0, 1)  # (B M, Q, P, 2)
    seen = F.grid_sample(maps, grid, align_corners=False)  # (B M, D, Q, P)
    seen = (seen * weights.transpose(1, 2).flatten(0, 1)[:, None]).sum(-1)
    return seen.unflatten(0, (-1, value.shape[2])).flatten(1, 2).transpose(1, 2)

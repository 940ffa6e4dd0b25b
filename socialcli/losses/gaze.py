"""The gaze loss: everybody still looks where they looked.

Source: Social Context Feedback (arXiv 2507.16095), section 3C and Eq. 4: the squared distance
between gaze targets
plus one minus the cosine between gaze vectors, as a frozen estimator sees them in the estimate.
The paper's Sharingan gives its target as an argmax, which has no gradient. Two terms in its place:
    * ``point``: the heat map's soft argmax, so that Eq. 4 stays as it is written;
    * ``heatmap``: the squared difference of the heat maps over the energy of the target's, 0 where
      they agree, 1 for an empty map, 2 for a blob elsewhere.
An estimator says itself how it sees pictures differentiably: `look` of its file in
`socialcli.backends.gaze`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from socialcli.errors import UsageError
from socialcli.losses import per_sample
from socialcli.networks import gaze_geometry

FORMS = ("point", "heatmap")
SIGMA = 3.0  # of a target's blob, heat map cells


# Pictures (B, 3, H, W) in [-1, 1] and head boxes (B, n, 4), normalised xyxy -> gaze vectors
# (B, n, 2) of length 1 in the pixel frame, and heat maps (B, n, 64, 64); differentiable.
Look = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Seen(NamedTuple):
    """What the network says of N people: vector (N, 2), length 1, in the picture's pixel frame;
    heatmap (N, 64, 64)."""

    vector: Tensor
    heatmap: Tensor


class Targets(NamedTuple):
    """What N people look at; NaN where it is not known or, for points, outside the picture.

    point (N, 2) normalised; vector (N, 2) in the pixel frame; heatmap (N, 64, 64) or None, used by
    the "heatmap" term (None: a blob at ``point``).
    """

    point: Tensor
    vector: Tensor
    heatmap: Tensor | None = None


def loss(
    look: Look,
    pictures: Tensor,
    owners: Tensor,
    heads: Tensor,
    targets: Targets,
    form: str = "point",
) -> Tensor:
    """Distance of targets plus angle between vectors, Eq. 4.

    Args:
        look: how a frozen estimator sees pictures.
        pictures: estimates (B, 3, H, W) in [-1, 1].
        owners: (N,) int64, the picture of each person. heads: (N, 4) tight head boxes, normalised
            xyxy. People of one picture see each other, so give also those without a target.
        targets: of the N people. form: "point" or "heatmap", see above.

    Returns:
        (B,), the mean over a picture's people with a target or a vector; 0 where they agree and
        where there are none. The target term is at most 2 ("point"), the vector term too.

    Raises:
        UsageError: unknown ``form``.
    """
    if form not in FORMS:
        raise UsageError(f"no gaze term '{form}'; there are {', '.join(FORMS)}")
    aimed = targets.point.isfinite().all(-1)
    directed = targets.vector.isfinite().all(-1)
    asked = torch.zeros(len(pictures), dtype=torch.bool, device=owners.device)
    asked[owners[aimed | directed]] = True
    rows = asked[owners]  # pictures nobody asks about are not looked at
    if not rows.any():
        return per_sample.silent(pictures)
    aimed, directed = aimed[rows], directed[rows]
    seen = watch(look, pictures, owners[rows], heads[rows])
    goal = torch.nan_to_num(targets.point[rows].to(seen.vector.dtype))
    if form == "point":
        off = (gaze_geometry.soft_argmax_point(seen.heatmap) - goal).square().sum(-1)
    else:
        given = targets.heatmap
        maps = blobs(goal, seen.heatmap.shape[-1]) if given is None else given[rows]
        maps = maps.to(seen.heatmap.dtype).detach()
        energy = maps.square().flatten(1).sum(1).clamp(min=1e-6)
        off = (seen.heatmap - maps).square().flatten(1).sum(1) / energy
    direction = torch.nan_to_num(targets.vector[rows].to(seen.vector.dtype))
    turned = 1 - F.cosine_similarity(seen.vector, direction, dim=-1)
    values = torch.where(aimed, off, 0) + torch.where(directed, turned, 0)
    counted = aimed | directed
    return per_sample.mean(values[counted], owners[rows][counted], len(pictures))


def watch(look: Look, pictures: Tensor, owners: Tensor, heads: Tensor) -> Seen:
    """What an estimator sees of N people, in their order; arguments as in `loss`. N at least 1.

    Pictures with the same number of people run together: a missing person cannot be filled in,
    because the others would see it.
    """
    count = torch.bincount(owners, minlength=len(pictures))
    order = owners.argsort(stable=True)
    start = count.cumsum(0) - count
    places, vectors, maps = [], [], []
    for people in count.unique().tolist():
        if people == 0:
            continue
        which = (count == people).nonzero()[:, 0]
        rows = order[start[which][:, None] + torch.arange(people, device=owners.device)]
        vector, heatmap = look(pictures[which], heads[rows])
        places.append(rows.flatten())
        vectors.append(_wide(vector).flatten(0, 1))
        maps.append(_wide(heatmap).flatten(0, 1))
    back = torch.cat(places).argsort()
    return Seen(torch.cat(vectors)[back], torch.cat(maps)[back])


def blobs(points: Tensor, cells: int, sigma: float = SIGMA) -> Tensor:
    """Normalised points (N, 2) -> heat maps (N, cells, cells): Gaussians of height 1 about the
    cell of each point, cut off at three sigma, as Sharingan is trained on."""
    steps = torch.arange(cells, device=points.device, dtype=points.dtype)
    centre = (points * cells).floor().clamp(0, cells - 1)
    x, y = steps - centre[:, :1], steps - centre[:, 1:]
    near = (x.abs() <= 3 * sigma)[:, None, :] & (y.abs() <= 3 * sigma)[:, :, None]
    bumps = torch.exp(-(x.square()[:, None, :] + y.square()[:, :, None]) / (2 * sigma**2))
    return bumps * near


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.itemsize < 4 else values

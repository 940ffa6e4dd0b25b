"""The boundary loss: around the subjects' outlines, second derivatives agree.

Source: Social Context Feedback (arXiv 2507.16095), section 3A and Eq. 2: the Laplacians of x0 and
of its estimate,
both multiplied with the boundary map, which is the morphological gradient (dilation minus erosion)
of the subjects' mask. Neither the kernel, nor the thickness, nor what the squared norm is divided
by is said; `docs/feedback.md` tells what was chosen.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from socialcli.errors import UsageError

KERNELS = {
    "4": ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0)),
    "8": ((1.0, 1.0, 1.0), (1.0, -8.0, 1.0), (1.0, 1.0, 1.0)),
}
MEANS = ("boundary", "picture")


def loss(
    estimate: Tensor,
    truth: Tensor,
    mask: Tensor,
    thickness: int = 3,
    kernel: str = "4",
    over: str = "boundary",
) -> Tensor:
    """Squared difference of the Laplacians on the boundary, Eq. 2.

    Args:
        estimate: the estimated picture (B, 3, H, W) in [-1, 1]. truth: the picture itself.
        mask: (B, 1, H, W), 1 on the subjects and 0 elsewhere. thickness, see `boundary_map`.
        kernel: neighbours of the Laplacian, "4" or "8".
        over: the mean is taken over the boundary's pixels ("boundary", so that neither the size
            of the picture nor the length of the outline matters) or over all ("picture").

    Returns:
        (B,); 0 where both pictures agree on the boundary, and where there is no boundary (no
        subject, or nothing but subject).

    Raises:
        UsageError: unknown ``kernel`` or ``over``, or an even thickness.
    """
    if over not in MEANS:
        raise UsageError(f"no boundary mean over '{over}'; there are {', '.join(MEANS)}")
    estimate = estimate.float() if estimate.itemsize < 4 else estimate
    edge = boundary_map(mask, thickness).to(estimate.dtype)
    # The Laplacian is linear, so that one convolution does for both.
    change = laplacian(estimate - truth.to(estimate.dtype), kernel)
    total = (change * edge).square().flatten(1).sum(1)
    if over == "picture":
        return total / change[0].numel()
    return total / (edge.flatten(1).sum(1) * change.shape[1]).clamp(min=1)


def laplacian(pictures: Tensor, kernel: str = "4") -> Tensor:
    """(B, C, H, W) -> the same shape, each channel by itself; the frame's pixels are repeated
    outside it, so that the frame is no edge.

    Raises:
        UsageError: unknown ``kernel``.
    """
    if kernel not in KERNELS:
        raise UsageError(f"no Laplacian with '{kernel}' neighbours; there are 4 and 8")
    channels = pictures.shape[1]
    weight = pictures.new_tensor(KERNELS[kernel]).expand(channels, 1, 3, 3)
    return F.conv2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), weight, groups=channels)


def boundary_map(mask: Tensor, thickness: int = 3) -> Tensor:
    """Morphological gradient of a binary mask: dilation minus erosion with a square.

    Args:
        mask: (B, 1, H, W), bool or numbers; over 0.5 is in.
        thickness: side of the square, odd, in pixels; the band is one less wide.

    Returns:
        (B, 1, H, W) float32 of 0 and 1. A subject cut off by the frame has no boundary there.

    Raises:
        UsageError: an even or too small thickness.
    """
    if thickness < 3 or thickness % 2 == 0:
        raise UsageError(f"the boundary's thickness must be odd and at least 3, not {thickness}")
    inside = (mask > 0.5).to(torch.float32)
    # max_pool2d pads with minus infinity: pixels beyond the frame neither grow nor shrink a mask.
    grown = F.max_pool2d(inside, thickness, 1, thickness // 2)
    shrunk = -F.max_pool2d(-inside, thickness, 1, thickness // 2)
    return grown - shrunk

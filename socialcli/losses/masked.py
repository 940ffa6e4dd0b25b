"""The denoising loss inside a mask: L_sub and L_bg of the background attractor.

Source: Towards More Accurate Personalized Image Generation, Eq. 4:
L_sub = || M_s o eps - M_s o eps_theta ||^2, and L_bg with M_b. What lies outside the mask has no
part in the value, and no gradient.

What the paper leaves open is how a mask of the picture becomes one of the latents, which are eight
times smaller, and over what the square is averaged.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from socialcli.errors import UsageError

RESIZES = ("area", "nearest", "any", "whole")
MEANS = ("mask", "picture")


def loss(predicted: Tensor, target: Tensor, mask: Tensor, over: str = "mask") -> Tensor:
    """Mean squared error of each sample inside its mask.

    Args:
        predicted: (B, C, h, w), what the UNet says. target: the same shape, what it should say.
        mask: (B, h, w), weights in [0, 1]; where one is 0 the sample may hold anything, NaN too.
        over: "mask": divided by what the mask covers, so that a small subject weighs as much as a
            large one. "picture": divided by all latents, which is Eq. 4 with a mean for its norm.

    Returns:
        (B,), float32 or wider; 0 where both are equal inside the mask, or the mask is empty.

    Raises:
        UsageError: no such ``over``, or shapes that do not fit.
    """
    if over not in MEANS:
        raise UsageError(f"no mean over '{over}' of a masked loss; there are {', '.join(MEANS)}")
    if predicted.shape != target.shape or mask.shape != (len(predicted), *predicted.shape[2:]):
        raise UsageError(
            f"a masked loss needs (B, C, h, w) twice and a mask (B, h, w), not "
            f"{tuple(predicted.shape)}, {tuple(target.shape)} and {tuple(mask.shape)}"
        )
    wide = predicted.float() if predicted.itemsize < 4 else predicted
    weight = mask.to(wide.dtype)[:, None]
    inside = (weight > 0).expand_as(wide)
    # Eq. 4 squares the masked difference, so a half covered latent weighs a quarter.
    error = torch.where(inside, wide - target.to(wide.dtype), wide.new_zeros(()))
    square = (weight * error).square().flatten(1).sum(1)
    cover = weight.square().expand_as(wide).flatten(1).sum(1)
    if over == "picture":
        return square / predicted[0].numel()
    return torch.where(cover > 0, square / cover.clamp(min=1e-12), 0 * square)


def to_latents(mask: Tensor, size: tuple[int, int], how: str = "area") -> tuple[Tensor, Tensor]:
    """A mask of the picture as one of the latents, and that of all else.

    Args:
        mask: (B, H, W) bool or in [0, 1], of the pictures' pixels. size: (h, w) of the latents.
        how: "area": the share of a latent's pixels that it covers; the two masks add up to 1.
            "nearest": the pixel at each latent's middle decides. "any": every latent that the mask
            (or all else) touches; the two overlap along the edge. "whole": only latents that lie in
            it as a whole; the edge belongs to neither.

    Returns:
        Two (B, h, w) float32 in [0, 1].

    Raises:
        UsageError: no such way.
    """
    if how not in RESIZES:
        raise UsageError(f"no way '{how}' to resize a mask; there are {', '.join(RESIZES)}")
    inside = mask.to(torch.float32)[:, None]
    if how == "nearest":
        rows, columns = (_middles(n, m) for n, m in zip(inside.shape[2:], size, strict=True))
        covered = inside[:, 0][:, rows.to(mask.device)][:, :, columns.to(mask.device)]
        return covered, 1 - covered
    if how == "area":
        covered = F.adaptive_avg_pool2d(inside, size)[:, 0]
        return covered, 1 - covered
    most, least = (F.adaptive_max_pool2d(sign * inside, size)[:, 0] * sign for sign in (1, -1))
    return (most, 1 - least) if how == "any" else (least, 1 - most)


def _middles(pixels: int, latents: int) -> Tensor:
    """(latents,) the pixel in which each latent's middle lies."""
    return ((torch.arange(latents) + 0.5) * pixels / latents).long().clamp(max=pixels - 1)

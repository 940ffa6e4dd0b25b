"""From SAM's low-resolution logits to one scored mask: what both SAM backends share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.backends.roles import Segment

if TYPE_CHECKING:
    from torch import Tensor

STABILITY_OFFSET = 1.0  # the original's default


def upscale(
    logits: Tensor, padded: tuple[int, int], resized: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Logits of the padded square at low resolution -> logits of the picture's own pixels.

    Args:
        logits: (height, width) for the padded input.
        padded: (height, width) of that input. resized: of the picture within it (top left).
        size: (height, width) of the picture.

    Returns:
        (height, width) float32.
    """
    import torch.nn.functional as F

    full = F.interpolate(logits.float()[None, None], padded, mode="bilinear", align_corners=False)
    inside = full[..., : resized[0], : resized[1]]
    return F.interpolate(inside, size, mode="bilinear", align_corners=False)[0, 0]


def stability_score(logits: Tensor, threshold: float, offset: float = STABILITY_OFFSET) -> float:
    """How little a mask changes when its threshold does.

    The overlap (IoU) of the masks at ``threshold + offset`` and ``threshold - offset``, the first
    of which lies inside the second: 1 is a cliff, 0 a mask that vanishes. SAM defines it on the
    logits at the picture's resolution (Kirillov et al., Segment Anything, section 5).
    """
    inner = int((logits > threshold + offset).sum())
    outer = int((logits > threshold - offset).sum())
    return inner / outer if outer else 0.0


def best(
    logits: Tensor,
    scores: Tensor,
    threshold: float,
    padded: tuple[int, int],
    resized: tuple[int, int],
    size: tuple[int, int],
) -> Segment:
    """The mask that the network itself rates highest among its proposals for one box.

    Args:
        logits: (proposals, height, width). scores: (proposals,) predicted IoU.
        threshold: a pixel is in where its logit is above it.
        padded, resized, size: as in `upscale`.
    """
    chosen = int(scores.float().argmax())
    full = upscale(logits[chosen], padded, resized, size)
    score = float(scores[chosen])
    return Segment(
        mask=(full > threshold).cpu().numpy(),
        iou=min(max(score, 0.0), 1.0) if score == score else score,
        stability=stability_score(full, threshold),
    )

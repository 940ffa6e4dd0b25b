"""The interaction loss: the recogniser sees the annotated interactions in the estimate.

Source: Social Context Feedback (arXiv 2507.16095), section 3E and Eq. 6: focal loss between the
interaction labels of
x0 and the logits for the estimate. As in CMMP (and UPT before it), the recogniser's logits are
joined with a prior, the detector's confidence in human and object for the verbs that the object
allows: the score is sigmoid(logit) * prior, and classes whose prior is 0 are left out. That is why
the paper's loss falls silent where noise makes the detected objects wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from socialcli.losses import per_sample

ALPHA, GAMMA = 0.5, 0.2  # CMMP's defaults
OVERLAP = 0.5  # IoU of both boxes from which a detected pair is an annotated one


def loss(
    logits: Tensor,
    targets: Tensor,
    prior: Tensor,
    owners: Tensor,
    count: int,
    alpha: float = ALPHA,
    gamma: float = GAMMA,
) -> Tensor:
    """Focal loss of P human-object pairs over C classes, Eq. 6.

    Args:
        logits: (P, C). targets: (P, C) of 0 and 1: the classes that are annotated for each pair.
        prior: (P, C) in [0, 1]: how sure pair and object are, 0 for impossible classes. With
            annotated pairs it is a mask of 0 and 1.
        owners: (P,) int64, the picture of each pair, of ``count`` pictures.
        alpha: weight of a positive; a negative has 1 - alpha. gamma: focus on what is wrong.

    Returns:
        (count,): the sum over a picture's pairs and possible classes, divided by its annotated and
        possible ones. 0 for pictures without such, and for a recogniser that is surely right.
    """
    logits = logits.float() if logits.itemsize < 4 else logits
    targets, prior = targets.to(logits.dtype), prior.to(logits.dtype)
    possible = prior > 0
    scores = joined(logits, torch.where(possible, prior, 1))
    wrong = (targets - scores.sigmoid()).abs() + 1e-6  # a gradient where nothing is wrong
    entropy = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    focal = (1 - targets - alpha).abs() * wrong**gamma * entropy
    total = torch.where(possible, focal, 0).sum(-1)
    positives = torch.where(possible, targets, 0).sum(-1)
    values = logits.new_zeros(count).index_add(0, owners, total)
    number = logits.new_zeros(count).index_add(0, owners, positives)
    return torch.where(number > 0, values / number.clamp(min=1), 0)


def joined(logits: Tensor, prior: Tensor) -> Tensor:
    """The logit of sigmoid(logit) * prior: log(prior / (1 - prior + exp(-logit))), rearranged so
    that no exponential overflows. ``prior`` in (0, 1]; at 1 it is the logit itself."""
    doubt = torch.log((1 - prior).clamp(min=torch.finfo(logits.dtype).tiny))
    return prior.log() + logits - F.softplus(logits + doubt)


def labels_of(pairs: Tensor, annotated: Tensor, verbs: Tensor, least: float = OVERLAP) -> Tensor:
    """Which verbs are true of detected pairs, as UPT and CMMP train: those of every annotated pair
    that a detected one overlaps, person by person and object by object, by ``least``.

    Args:
        pairs: (P, 2, 4) detected, annotated: (A, 2, 4): person and object box, normalised xyxy.
        verbs: (A, V) of 0 and 1.

    Returns:
        (P, V) of 0 and 1.
    """
    low = torch.maximum(pairs[:, None, :, :2], annotated[None, :, :, :2])
    high = torch.minimum(pairs[:, None, :, 2:], annotated[None, :, :, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (pairs, annotated)]
    overlap = common / (areas[0][:, None] + areas[1] - common).clamp(min=1e-12)
    same = (overlap >= least).all(-1)  # (P, A)
    return (same.to(verbs.dtype) @ verbs).clamp(max=1)


def of_detections(
    recogniser: Any,
    pictures: Tensor,
    pairs: list[Tensor],
    verbs: list[Tensor],
    alpha: float = ALPHA,
    gamma: float = GAMMA,
) -> Tensor:
    """`loss` of the pairs that a recogniser's own detector finds in estimated pictures.

    Args:
        recogniser: has ``detected(pixels)``: pictures (B, 3, H, W) in [0, 1] -> per picture the
            boxes of its pairs (P, 2, 4), their verb logits (P, V) and prior (P, V).
        pictures: estimates (B, 3, H, W) in [-1, 1].
        pairs: per picture (n, 2, 4) annotated boxes, normalised xyxy. verbs: per picture (n, V).

    Returns:
        (B,), 0 for pictures in which no annotated pair is found with an object that allows its
        verb, which is why this loss falls silent where noise makes the detected objects wrong.
    """
    shown = [number for number, annotated in enumerate(pairs) if len(annotated)]
    if not shown:
        return per_sample.silent(pictures)
    chosen = torch.tensor(shown, device=pictures.device)
    seen = recogniser.detected((pictures[chosen] + 1) / 2)
    labels = [
        labels_of(boxes, pairs[n].to(boxes), verbs[n].to(boxes))
        for n, (boxes, _, _) in zip(shown, seen, strict=True)
    ]
    owners = torch.cat(
        [torch.full((len(detected[0]),), n) for n, detected in zip(shown, seen, strict=True)]
    ).to(pictures.device)
    return loss(
        torch.cat([logits for _, logits, _ in seen]), torch.cat(labels),
        torch.cat([prior for _, _, prior in seen]), owners, len(pictures), alpha, gamma,
    )  # fmt: skip


def of_pictures(
    recogniser: Any,
    pictures: Tensor,
    pairs: list[Tensor],
    objects: list[list[str]],
    targets: list[Tensor],
    priors: list[Tensor],
    alpha: float = ALPHA,
    gamma: float = GAMMA,
) -> Tensor:
    """`loss` of what a recogniser says about annotated pairs in estimated pictures.

    Args:
        recogniser: has ``logits(pixels, pairs, objects)``: pictures (B, 3, H, W) in [0, 1] and,
            per picture, its pairs and the objects' names -> per picture (n, C) logits.
        pictures: estimates (B, 3, H, W) in [-1, 1].
        pairs: per picture (n, 2, 4): human and object box, normalised xyxy.
        objects: per picture n names. targets, priors: per picture (n, C), as in `loss`.

    Returns:
        (B,), 0 for pictures without a pair; they are not shown to the recogniser.
    """
    shown = [number for number, picture_pairs in enumerate(pairs) if len(picture_pairs)]
    if not shown:
        return per_sample.silent(pictures)
    chosen = torch.tensor(shown, device=pictures.device)
    ask: Callable[..., list[Tensor]] = recogniser.logits
    logits = torch.cat(
        ask((pictures[chosen] + 1) / 2, [pairs[n] for n in shown], [objects[n] for n in shown])
    )
    owners = torch.cat([torch.full((len(pairs[n]),), n) for n in shown]).to(logits.device)
    return loss(
        logits,
        torch.cat([targets[n] for n in shown]).to(logits.device),
        torch.cat([priors[n] for n in shown]).to(logits.device),
        owners,
        len(pictures),
        alpha,
        gamma,
    )

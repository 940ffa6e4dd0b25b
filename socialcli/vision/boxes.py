"""Boxes as arrays: conversion, clipping, overlap and non-maximum suppression.

Every box is ``xyxy`` (left, top, right, bottom), normalised to the upright picture
(`socialcli.records`), unless a function says otherwise. Overlap is the same in any unit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

    from socialcli.records import XYXY


def from_cxcywh(boxes: numpy.ndarray) -> numpy.ndarray:
    """(N, 4) boxes as centre x, centre y, width, height -> (N, 4) xyxy, same unit."""
    import numpy

    boxes = numpy.asarray(boxes).reshape(-1, 4)
    half = boxes[:, 2:] / 2
    return numpy.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def clip(box: XYXY) -> XYXY:
    """The part of a normalised box that lies in the picture; zero area if none does."""
    left, top, right, bottom = (min(max(float(value), 0.0), 1.0) for value in box)
    return left, top, max(left, right), max(top, bottom)


def in_picture(box: XYXY) -> XYXY | None:
    """`clip`, None where no area is left that the six decimals of a record can tell."""
    left, top, right, bottom = clip(box)
    some = round(left, 6) < round(right, 6) and round(top, 6) < round(bottom, 6)
    return (left, top, right, bottom) if some else None


def area(box: XYXY) -> float:
    """Area of one box; a box turned inside out has none."""
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def iou(first: numpy.ndarray, second: numpy.ndarray) -> numpy.ndarray:
    """Intersection over union of every pair.

    Args:
        first: (N, 4) xyxy. second: (M, 4) xyxy in the same unit.

    Returns:
        (N, M) in [0, 1]; two boxes without area overlap by 0.
    """
    import numpy

    first = numpy.asarray(first, dtype=numpy.float64).reshape(-1, 1, 4)
    second = numpy.asarray(second, dtype=numpy.float64).reshape(1, -1, 4)
    low = numpy.maximum(first[..., :2], second[..., :2])
    high = numpy.minimum(first[..., 2:], second[..., 2:])
    common = numpy.clip(high - low, 0, None).prod(axis=-1)
    areas = [numpy.clip(b[..., 2:] - b[..., :2], 0, None).prod(axis=-1) for b in (first, second)]
    union = areas[0] + areas[1] - common
    return numpy.divide(common, union, out=numpy.zeros_like(common), where=union > 0)


def nms(boxes: numpy.ndarray, scores: numpy.ndarray, threshold: float) -> list[int]:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4) xyxy. scores: (N,).
        threshold: a box goes if a better one overlaps it by more than this IoU; 1 keeps all.

    Returns:
        Indices of the boxes kept, best score first; equal scores keep their order.
    """
    import numpy

    boxes = numpy.asarray(boxes, dtype=numpy.float64).reshape(-1, 4)
    order = numpy.argsort(-numpy.asarray(scores, dtype=numpy.float64), kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = int(order[0]), order[1:]
        kept.append(best)
        order = order[iou(boxes[best], boxes[order])[0] <= threshold]
    return kept

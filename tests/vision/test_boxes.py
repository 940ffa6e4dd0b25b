"""Boxes by hand and against pixels: area, clipping, overlap, suppression."""

from __future__ import annotations

import numpy
import pytest

from socialcli.vision import boxes


def pixels(box: tuple[int, ...], side: int = 40) -> numpy.ndarray:
    """A box of whole pixels as a mask."""
    mask = numpy.zeros((side, side), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def test_area_and_clipping_by_hand() -> None:
    assert boxes.area((0.25, 0.5, 1.0, 0.75)) == pytest.approx(0.1875)
    assert boxes.area((0.75, 0.5, 0.25, 1.0)) == boxes.area((0.25, 1.0, 0.75, 0.5)) == 0.0
    assert boxes.clip((-0.5, 0.25, 0.5, 1.5)) == (0.0, 0.25, 0.5, 1.0)
    assert boxes.clip((1.25, -1.0, 2.0, -0.5)) == (1.0, 0.0, 1.0, 0.0)
    assert boxes.clip((0.75, 0.8, 0.25, 0.2)) == (0.75, 0.8, 0.75, 0.8)
    assert boxes.from_cxcywh(numpy.array([4.0, 3, 2, 6])).tolist() == [[3.0, 0.0, 5.0, 6.0]]


def test_overlap_is_that_of_the_pixels() -> None:
    rng = numpy.random.default_rng(0)
    corners = rng.integers(0, 41, (2, 6, 2, 2))
    first, second = numpy.sort(corners, axis=2).reshape(2, 6, 4)
    first[0] = (7, 7, 7, 7)  # no area
    second[0] = (7, 7, 7, 7)
    for a, row in zip(first, boxes.iou(first, second), strict=True):
        for b, value in zip(second, row, strict=True):
            union = (pixels(a) | pixels(b)).sum()
            assert value == pytest.approx((pixels(a) & pixels(b)).sum() / union if union else 0.0)


def test_suppression_keeps_the_best_of_those_that_overlap_more() -> None:
    given = numpy.array([(0, 0, 10, 10), (0, 0, 10, 5), (20, 20, 30, 30), (0, 0, 10, 10)])
    scores = numpy.array([0.5, 0.9, 0.4, 0.5])
    assert boxes.nms(given, scores, 0.5) == [1, 0, 2]  # 0.5 is not more than 0.5; the copy goes
    assert boxes.nms(given, scores, 0.4) == [1, 2]
    assert boxes.nms(given, scores, 1.0) == [1, 0, 3, 2]  # equal scores keep their order
    assert boxes.nms(numpy.zeros((0, 4)), numpy.zeros(0), 0.5) == []

"""Aligned faces of batches, and landmarks that no similarity brings onto the template."""

from __future__ import annotations

import numpy
import pytest
from PIL import Image

from socialcli.records import Face
from socialcli.vision import faces

MARKS = [(0.35, 0.4), (0.65, 0.4), (0.5, 0.55), (0.4, 0.7), (0.6, 0.7)]


def test_faces_of_a_batch_are_cut_out_in_order_and_dealt_out_again():
    rng = numpy.random.default_rng(0)
    pixels = [rng.integers(0, 255, (40, 60, 3), dtype=numpy.uint8) for _ in range(3)]
    images = [Image.fromarray(p) for p in pixels]
    moved = [(x + 0.1, y) for x, y in MARKS]
    faces_of = [
        [Face((0, 0, 1, 1), 1.0, MARKS), Face((0, 0, 1, 1), 1.0, moved)],
        [],
        [Face((0, 0, 1, 1), 1.0, MARKS)],
    ]
    crops = faces.crop_all(images, faces_of, 24)
    assert crops.shape == (3, 24, 24, 3)
    for crop, (number, marks) in zip(crops, [(0, MARKS), (0, moved), (2, MARKS)], strict=True):
        assert numpy.array_equal(crop, faces.crop(pixels[number], numpy.array(marks), 24))
    rows = numpy.arange(6.0).reshape(3, 2)
    dealt = faces.deal_out(rows, faces_of)
    assert [part.tolist() for part in dealt] == [[[0, 1], [2, 3]], [], [[4, 5]]]
    assert all(part.dtype == numpy.float32 for part in dealt)
    assert faces.crop_all(images, [[], [], []], 24).shape == (0, 24, 24, 3)
    assert faces.deal_out(rows, []) == []
    with pytest.raises(ValueError, match="without landmarks cannot be aligned"):
        faces.crop_all(images[:1], [[Face((0, 0, 1, 1), 1.0)]])


def test_landmarks_that_turn_into_nothing_are_refused():
    """They do not coincide, but every turn of them is as far from the template as any other."""
    template = numpy.array(faces.TEMPLATE)
    w = (template - template.mean(0)) @ numpy.array([1, 1j])
    z = numpy.array([3, 1 + 1j, 2j, -4, -1j])
    z = z - z.mean()
    z = z - (numpy.conj(w) @ z) / (numpy.conj(w) @ w) * w
    points = numpy.stack([z.real, z.imag], 1) * 5 + 20
    assert abs(points - points.mean(0)).max() > 5
    assert not faces.alignable(points)
    assert faces.alignable(template)
    assert not faces.alignable(numpy.full((5, 2), numpy.nan))
    with pytest.raises(ValueError, match="the face's landmarks coincide"):
        faces.crop(numpy.zeros((40, 40, 3)), points / 40)


def test_a_face_far_beyond_the_picture_is_black():
    white = numpy.full((20, 30, 3), 255, numpy.uint8)
    for shift in (-1e6, -5.0, 5.0, 1e6):
        assert not faces.crop(white, numpy.array(MARKS) + shift, 16).any()


def test_edges_of_the_picture_are_sampled_half():
    """A crop that is the picture itself, moved by half a pixel: its first column is half black."""
    picture = numpy.ones((112, 112, 3), numpy.float32)
    template = numpy.array(faces.TEMPLATE)
    for shift, first, last in ((-0.5, 0.5, 1.0), (0.5, 1.0, 0.5), (0.0, 1.0, 1.0)):
        crop = faces.crop(picture, (template + numpy.array([shift, 0])) / 112)
        assert crop[50, [0, -1], 0] == pytest.approx([first, last], abs=1e-4)
        crop = faces.crop(picture, (template + numpy.array([0, shift])) / 112)
        assert crop[[0, -1], 50, 0] == pytest.approx([first, last], abs=1e-4)

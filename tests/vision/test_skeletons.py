"""Skeletons in OpenPose's drawing: every joint in its place and colour, nothing made up."""

from __future__ import annotations

import colorsys
import math

import numpy
import pytest

from socialcli import records
from socialcli.vision import skeletons

# OpenPose's own names, in its order; "neck" is not in COCO.
NAMES = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
    "left_wrist", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip
# A person seen from the front, arms and legs apart: no two joints within a dot of each other.
STANDING = {
    "nose": (0.5, 0.16), "left_eye": (0.53, 0.13), "right_eye": (0.47, 0.13),
    "left_ear": (0.57, 0.15), "right_ear": (0.43, 0.15), "left_shoulder": (0.62, 0.28),
    "right_shoulder": (0.38, 0.28), "left_elbow": (0.72, 0.4), "right_elbow": (0.28, 0.4),
    "left_wrist": (0.8, 0.52), "right_wrist": (0.2, 0.52), "left_hip": (0.57, 0.55),
    "right_hip": (0.43, 0.55), "left_knee": (0.6, 0.75), "right_knee": (0.4, 0.75),
    "left_ankle": (0.62, 0.95), "right_ankle": (0.38, 0.95),
}  # fmt: skip


def person(**hidden):
    return [(*STANDING[n], hidden.get(n, 2)) for n in records.COCO_KEYPOINTS]


def where(name):
    if name == "neck":
        pair = STANDING["left_shoulder"], STANDING["right_shoulder"]
        return tuple(sum(axis) / 2 for axis in zip(*pair, strict=True))
    return STANDING[name]


def at(picture, xy):
    width, height = picture.size
    return picture.getpixel((round(xy[0] * width), round(xy[1] * height)))


@pytest.mark.parametrize("size", [(512, 512), (400, 640)])
def test_every_joint_has_its_place_and_its_hue(size):
    picture = skeletons.draw([person()], size)
    for number, name in enumerate(NAMES):
        red, green, blue = (c / 255 for c in at(picture, where(name)))
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        # The rainbow in steps of a twelfth's half; its last goes back towards red.
        assert hue * 360 == pytest.approx(number * 20, abs=1.5), name
        assert saturation == value == 1, name


def test_limbs_are_darker_and_as_wide_as_they_should_be():
    picture = numpy.asarray(skeletons.draw([person()], (512, 512)))
    upper, lower = (numpy.array(where(n)) * 512 for n in ("left_hip", "left_knee"))
    middle = (upper + lower) / 2
    assert picture[round(middle[1]), round(middle[0])].max() == 153  # six tenths of 255
    row = picture[round(middle[1]), round(middle[0]) - 20 : round(middle[0]) + 20].max(1) > 0
    slope = math.cos(math.atan2(lower[0] - upper[0], lower[1] - upper[1]))
    assert row.sum() == pytest.approx(8 / slope, abs=1.5)


def test_what_is_not_known_is_not_drawn():
    whole = numpy.asarray(skeletons.draw([person()], (512, 512))).any(-1).sum()
    no_wrist = skeletons.draw([person(left_wrist=0)], (512, 512))
    assert at(no_wrist, where("left_wrist")) == (0, 0, 0)
    between = [(a + b) / 2 for a, b in zip(where("left_wrist"), where("left_elbow"), strict=True)]
    assert at(no_wrist, between) == (0, 0, 0)
    assert at(no_wrist, where("left_elbow")) != (0, 0, 0)
    # Without a shoulder there is no neck to hang hips and head on.
    no_neck = skeletons.joints(person(right_shoulder=0))
    assert [n for n, j in zip(NAMES, no_neck, strict=True) if j is None] == [
        "neck", "right_shoulder",
    ]  # fmt: skip
    nobody = skeletons.draw([person(**dict.fromkeys(records.COCO_KEYPOINTS, 0))], (512, 512))
    assert not numpy.asarray(nobody).any() and whole > 1000


def test_many_people_off_the_edge_and_on_one_spot():
    spot = [(0.5, 0.5, 1.0)] * 17
    beyond = [(x + 0.9, y, v) for x, y, v in person()]
    picture = skeletons.draw([spot, beyond, *[person()] * 40], (96, 64))
    assert picture.size == (96, 64) and numpy.asarray(picture).any()


@pytest.mark.parametrize("visibility", [1, 0.3])
def test_hidden_and_unsure_joints_are_drawn(visibility):
    whole, hidden = (skeletons.draw([person(left_wrist=v)], (512, 512)) for v in (2, visibility))
    assert hidden.tobytes() == whole.tobytes()


@pytest.mark.parametrize("end", [(40.0, 10.0), (10.0, 50.0), (34.0, -8.0)])
def test_a_limb_is_an_ellipse_whichever_way_it_points(end):
    start, half = numpy.array([10.0, 10.0]), 4.0
    outline = numpy.array(skeletons._ellipse(tuple(start), end, half))
    length = math.dist(start, end)
    along = (numpy.array(end) - start) / length
    seen = outline - (start + end) / 2
    a, b = seen @ along / (length / 2), seen @ [-along[1], along[0]] / half
    assert numpy.allclose(a**2 + b**2, 1)
    assert (a.min(), a.max()) == pytest.approx((-1, 1), abs=0.01)
    assert (b.min(), b.max()) == pytest.approx((-1, 1), abs=0.01)

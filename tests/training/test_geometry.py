"""Resize, crop and flip: pixels and records must tell the same story afterwards."""

from __future__ import annotations

import random

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from socialcli import records
from socialcli.errors import SampleFailed, UsageError
from socialcli.records import Box, Face, Gaze, Keypoints, Person
from socialcli.training import geometry
from socialcli.training.geometry import Frame

PLAIN = Frame(64, 64, 0, 0, 64)
MIRROR = Frame(64, 64, 0, 0, 64, flip=True)
RIGHT = Frame(128, 64, 64, 0, 64)  # the right half of a wide picture


def spots(width: int, height: int, points: list[tuple[float, float]]) -> Image.Image:
    """Black with a soft white spot at each normalised point."""
    rows, columns = numpy.mgrid[:height, :width]
    light = numpy.zeros((height, width))
    for x, y in points:
        away = (columns + 0.5 - x * width) ** 2 + (rows + 0.5 - y * height) ** 2
        light += 255 * numpy.exp(-away / (2 * (min(width, height) / 25) ** 2))
    return Image.fromarray(light.clip(0, 255).astype(numpy.uint8)).convert("RGB")


def brightest(pixels: numpy.ndarray) -> tuple[float, float]:
    """Normalised place of the one spot."""
    light = pixels[..., 0].astype(float) ** 2
    rows, columns = numpy.mgrid[: light.shape[0], : light.shape[1]] + 0.5
    total = light.sum()
    return (
        (columns * light).sum() / total / light.shape[1],
        (rows * light).sum() / total / light.shape[0],
    )


# --- pixels and points agree ----------------------------------------------------------------------


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(40, 400), st.integers(40, 400), st.booleans(), st.floats(0, 0.99),
    st.floats(0.35, 0.65), st.floats(0.35, 0.65),
)  # fmt: skip
def test_a_point_goes_where_its_pixel_goes(width, height, flip, place, x, y):
    rng = random.Random(str(place))
    frame = geometry.choose(width, height, 64, rng, flip=float(flip))
    assert frame.flip == flip
    there = frame.point((x, y))
    if not all(0.15 < v < 0.85 for v in there):
        return  # its spot is cut
    pixels = frame.picture(spots(width, height, [(x, y)]))
    assert pixels.shape == (64, 64, 3) and pixels.dtype == numpy.uint8
    assert brightest(pixels) == pytest.approx(there, abs=0.02)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(30, 300), st.integers(30, 300), st.booleans(), st.integers(0, 99))
def test_a_mask_goes_where_its_box_goes(width, height, flip, seed):
    frame = geometry.choose(width, height, 64, random.Random(seed), flip=float(flip))
    x0, y0, x1, y1 = 0.2, 0.3, 0.7, 0.9
    mask = numpy.zeros((height, width), bool)
    mask[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)] = True
    square = frame.mask(mask)
    assert square.shape == (64, 64) and square.dtype == bool
    box = frame.box((x0, y0, x1, y1), keep=0.0)
    if box is None or not square.any():
        return
    rows, columns = numpy.nonzero(square)
    edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    pixel = 64 / min(width, height) + 1  # rounding of the drawn mask, and of the sampling
    assert numpy.abs(numpy.array(edges) - numpy.array(box) * 64).max() <= pixel


def test_masks_of_another_size_than_the_picture():
    """A segmenter may have worked at its own resolution: only proportions count."""
    small = numpy.zeros((4, 8), bool)
    small[:, 4:6] = True
    assert RIGHT.mask(small)[:, :32].all() and not RIGHT.mask(small)[:, 32:].any()


def test_the_square_is_taken_from_where_it_says():
    pixels = numpy.zeros((64, 128, 3), numpy.uint8)
    pixels[:, 64:] = 200
    image = Image.fromarray(pixels)
    assert (RIGHT.picture(image) == 200).all()
    assert (Frame(128, 64, 0, 0, 64).picture(image)[:, :62] == 0).all()
    assert numpy.array_equal(PLAIN.picture(image.crop((0, 0, 64, 64))), pixels[:, :64])


# --- choosing -------------------------------------------------------------------------------------


def test_crops_are_uniform_and_reach_both_ends():
    frames = [geometry.choose(200, 100, 50, random.Random(n)) for n in range(600)]
    lefts = numpy.array([f.left for f in frames])
    assert {f.top for f in frames} == {0} and {(f.width, f.height) for f in frames} == {(100, 50)}
    assert lefts.min() == 0 and lefts.max() == 50
    assert abs(lefts.mean() - 25) < 2 and 0.42 < numpy.mean([f.flip for f in frames]) < 0.58
    assert not any(geometry.choose(20, 20, 8, random.Random(n), flip=0).flip for n in range(50))


def test_the_centre_crop():
    frame = geometry.choose(300, 100, 50, random.Random(1), crop="centre", flip=1.0)
    assert (frame.left, frame.top, frame.flip) == (50, 0, True)
    tall = geometry.choose(100, 300, 50, random.Random(1), crop="centre", flip=0.0)
    assert (tall.left, tall.top, tall.flip) == (0, 50, False)
    assert frame.point((0.5, 0.5)) == (0.5, 0.5)
    with pytest.raises(UsageError, match="--crop middle"):
        geometry.choose(300, 100, 50, random.Random(1), crop="middle")


def test_options_do_not_shift_the_random_numbers():
    one, other = random.Random(7), random.Random(7)
    geometry.choose(300, 100, 50, one, crop="centre", flip=0.0)
    geometry.choose(50, 300, 50, other)
    assert one.random() == other.random()


def test_tiny_and_extreme_pictures():
    for width, height in ((1, 1), (1, 500), (3, 2), (2000, 3)):
        frame = geometry.choose(width, height, 16, random.Random(3))
        image = Image.new("RGB", (width, height), (9, 9, 9))
        assert (frame.picture(image) == 9).all()
        assert frame.mask(numpy.ones((height, width), bool)).all()


# --- boxes ----------------------------------------------------------------------------------------


def test_boxes_are_moved_cut_and_dropped():
    boxes = RIGHT.boxes(
        [
            Box(1, (0.6, 0.1, 0.8, 0.5), "dog"),  # inside
            Box(2, (0.4, 0.0, 0.8, 1.0), "man"),  # three quarters stay
            Box(3, (0.1, 0.0, 0.55, 1.0), "cat"),  # a ninth stays
            Box(4, (0.0, 0.0, 0.2, 0.2)),  # left
            Box(5, (0.7, 0.5, 0.7, 0.9)),  # no area
        ]
    )
    assert [b.id for b in boxes] == [1, 2] and boxes[0].label == "dog"
    assert boxes[0].xyxy == pytest.approx((0.2, 0.1, 0.6, 0.5))
    assert boxes[1].xyxy == pytest.approx((0.0, 0.0, 0.6, 1.0))


def test_a_mirrored_box_keeps_left_before_right():
    assert MIRROR.box((0.1, 0.2, 0.4, 0.5)) == pytest.approx((0.6, 0.2, 0.9, 0.5))


# --- people ---------------------------------------------------------------------------------------


def test_mirrored_keypoints_change_their_names():
    points = [(n / 20, n / 40, 2.0) for n in range(17)]
    scores = [float(n) for n in range(17)]
    mirrored = MIRROR.keypoints(Keypoints(points, scores))
    for name in records.COCO_KEYPOINTS:
        other = {"left": "right", "right": "left"}.get(name.split("_")[0])
        twin = name if other is None else f"{other}_{name.split('_')[1]}"
        mirrored_point = mirrored.points[records.COCO_KEYPOINTS.index(name)]
        theirs = points[records.COCO_KEYPOINTS.index(twin)]
        assert mirrored_point == pytest.approx((1 - theirs[0], theirs[1], 2.0))
        assert mirrored.scores[records.COCO_KEYPOINTS.index(name)] == scores[
            records.COCO_KEYPOINTS.index(twin)
        ]  # fmt: skip
    with pytest.raises(SampleFailed, match="openpose18"):
        MIRROR.keypoints(Keypoints(points, None, "openpose18"))
    assert PLAIN.keypoints(Keypoints(points[:3], None, "openpose18")).points == points[:3]


def test_a_mirrored_animal_in_its_box():
    """Its keypoints move with the box, and left legs are right ones."""
    points = [(0.1 + n / 40, n / 40, 2.0) for n in range(17)]
    dog = Box(2, (0.1, 0.0, 0.5, 0.4), "dog", keypoints=Keypoints(points, None, "animal"))
    [moved] = MIRROR.boxes([dog])
    assert moved.xyxy == pytest.approx((0.5, 0.0, 0.9, 0.4))
    elbow, other = 6, 9  # left and right
    assert moved.keypoints.points[elbow] == pytest.approx(
        (1 - points[other][0], *points[other][1:])
    )
    assert moved.keypoints.points[2] == pytest.approx((1 - points[2][0], *points[2][1:]))  # nose


def test_mirrored_twice_is_as_before():
    person = Person(
        1, 1, 1, (0.1, 0.1, 0.6, 0.9), (0.2, 0.1, 0.4, 0.3),
        Face((0.22, 0.15, 0.36, 0.29), 0.9,
             [(0.25, 0.2), (0.33, 0.2), (0.29, 0.23), (0.26, 0.26), (0.32, 0.26)]),
        Keypoints([(0.1 + n / 40, n / 20, float(n % 3)) for n in range(17)]),
        Gaze((0.7, 0.4), (0.8, 0.6), True),
    )  # fmt: skip
    twice = MIRROR.person(MIRROR.person(person))
    assert records.dump(records.People(1, 1, [twice])) == records.dump(
        records.People(1, 1, [person])
    )


def test_keypoints_that_leave_are_not_labelled():
    cut = RIGHT.keypoints(Keypoints([(0.25, 0.5, 2.0), (0.75, 0.5, 1.0), (0.9, 1.2, 2.0)]))
    assert [p[2] for p in cut.points] == [0, 1, 0]
    assert cut.points[1][:2] == pytest.approx((0.5, 0.5))


def test_a_faces_landmarks_stay_the_viewers_left_and_right():
    five = [(0.2, 0.2), (0.3, 0.21), (0.25, 0.3), (0.21, 0.4), (0.29, 0.41)]
    face = MIRROR.face(Face((0.1, 0.1, 0.4, 0.5), 0.8, five))
    assert face.landmarks[0] == pytest.approx((0.7, 0.21))
    assert face.landmarks[0][0] < face.landmarks[2][0] < face.landmarks[1][0]
    assert face.landmarks[3][0] < face.landmarks[4][0] and face.score == 0.8


def test_a_cut_face_is_dropped():
    whole = Face((0.55, 0.1, 0.75, 0.4), 1.0, [(0.6, 0.2)] * 5)
    cut = Face((0.45, 0.1, 0.75, 0.4), 1.0, None)
    stray = Face((0.5, 0.1, 0.75, 0.4), 1.0, [(0.49, 0.2)] + [(0.6, 0.2)] * 4)
    assert RIGHT.face(whole) is not None
    assert RIGHT.face(cut) is None and RIGHT.face(stray) is None


def test_gaze_follows_and_loses_its_target():
    inside = RIGHT.gaze(Gaze((0.75, 0.25), (0.6, 0.8), True, 0.7, [(0.75, 0.25), (0.2, 0.5)]))
    assert inside.point == pytest.approx((0.5, 0.25)) and inside.inside is True
    assert inside.points == [pytest.approx((0.5, 0.25))]
    gone = RIGHT.gaze(Gaze((0.25, 0.25), (-0.6, 0.8), True))
    assert gone == Gaze(None, (-0.6, 0.8), False)
    mirrored = MIRROR.gaze(Gaze((0.2, 0.3), (0.6, 0.8), True))
    assert mirrored.point == pytest.approx((0.8, 0.3)) and mirrored.vector == (-0.6, 0.8)


def test_the_gaze_vector_still_points_to_the_target():
    """In pixels of the square: from the head's middle to the point, whatever the crop and flip."""
    width, height = 300, 200
    head, target = (0.4, 0.3), (0.62, 0.8)
    off = numpy.array([(target[0] - head[0]) * width, (target[1] - head[1]) * height])
    vector = tuple(off / numpy.linalg.norm(off))
    for seed in range(6):
        frame = geometry.choose(width, height, 64, random.Random(seed))
        moved = frame.gaze(Gaze(target, vector, True))
        if moved.point is None:
            continue
        there = numpy.array(moved.point) - numpy.array(frame.point(head))
        assert numpy.allclose(there / numpy.linalg.norm(there), moved.vector, atol=5e-3)


def test_gaze_goes_with_the_head():
    person = Person(3, head=(0.4, 0.1, 0.55, 0.3), gaze=Gaze((0.8, 0.5), (1.0, 0.0), True))
    cut = RIGHT.person(person)
    assert cut.id == 3 and cut.head is None and cut.gaze is None
    kept = RIGHT.person(Person(4, head=(0.6, 0.1, 0.7, 0.3), gaze=person.gaze))
    assert kept.head is not None and kept.gaze.point == pytest.approx((0.6, 0.5))
    assert person.head == (0.4, 0.1, 0.55, 0.3)  # what came in is left as it was

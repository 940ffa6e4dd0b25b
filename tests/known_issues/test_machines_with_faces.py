"""With the offline profile a garage with a motorcycle got a face, and the face a gaze."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from socialcli import backends
from socialcli.vision import close_ups

skimage = pytest.importorskip("skimage")
pytest.importorskip("mediapipe")
DATA = Path(skimage.__file__).parent / "data"


@pytest.mark.parametrize(
    ("picture", "faces"),
    [
        ("motorcycle_left.png", 0), ("motorcycle_right.png", 0), ("hubble_deep_field.jpg", 0),
        ("rocket.jpg", 0), ("coffee.png", 0), ("astronaut.png", 1), ("camera.png", 1),
    ],
)  # fmt: skip
def test_photographs_that_packages_ship(picture, faces):
    detector = backends.load(backends.ModelSpec("face", "mediapipe"))
    image = Image.open(DATA / picture).convert("RGB")
    assert len(close_ups.detect(detector, [image])[0]) == faces


def test_a_lower_threshold_lets_them_in():
    spec = backends.ModelSpec("face", "mediapipe", options={"threshold": 0.4})
    image = Image.open(DATA / "motorcycle_left.png").convert("RGB")
    assert len(backends.load(spec).detect([image])[0]) == 1


def test_a_photographed_face_that_fills_its_picture():
    detector = backends.load(backends.ModelSpec("face", "mediapipe"))
    image = Image.open(DATA / "astronaut.png").convert("RGB")
    ((face,),) = detector.detect([image])
    left, top, right, bottom = (v * 512 for v in face.xyxy)
    crop = image.crop((int(left), int(top), int(right), int(bottom)))
    assert detector.detect([crop]) == [[]]
    ((seen,),) = close_ups.detect(detector, [crop])
    assert seen.xyxy == pytest.approx((0, 0, 1, 1), abs=0.1) and len(seen.landmarks) == 5

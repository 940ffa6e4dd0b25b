"""A face that fills its picture was found in 0 of 47 crops, and in 47 with grey about them.

Where the detector did see something, it was an eye.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from socialcli import backends, shards
from socialcli.records import Face
from socialcli.vision import boxes, close_ups

PACK = Path(__file__).parents[2] / "socialcli" / "miniature" / "weights" / "face"


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """(crop about a face of the rendered world, the face's box in it) of 8 scenes."""
    import io

    place = tmp_path_factory.mktemp("world")
    line = ["import", "world", "test", "--scenes", "8", "--size", "192", "-o", str(place)]
    subprocess.run([sys.executable, "-m", "socialcli", *line, "--quiet"], check=True)
    cut = []
    for sample in shards.read(str(place / "000000.tar")):
        image = Image.open(io.BytesIO(sample.picture())).convert("RGB")
        for person in json.loads(sample.members["people.json"])["people"]:
            if "face" not in person:
                continue
            left, top, right, bottom = (
                v * s for v, s in zip(person["face"]["xyxy"], image.size * 2, strict=True)
            )
            w, h = right - left, bottom - top
            x, y = round(max(left - w / 2, 0)), round(max(top - h / 2, 0))
            crop = image.crop((x, y, round(right + w / 2), round(bottom + h / 2)))
            truth = (left - x) / crop.width, (top - y) / crop.height
            truth += (right - x) / crop.width, (bottom - y) / crop.height
            cut.append((crop, truth))
    return cut


def test_most_are_found_and_where_they_are(crops):
    detector = backends.load(backends.ModelSpec("face", "insightface", str(PACK)))
    pictures = [crop for crop, _ in crops]

    def right(detected):
        """In how many crops there is a face, and where it should be."""
        return sum(
            bool(faces) and float(boxes.iou(faces[0].xyxy, [truth])[0][0]) > 0.5
            for faces, (_, truth) in zip(detected, crops, strict=True)
        )

    assert right(close_ups.detect(detector, pictures, margin=0)) <= 0.2 * len(crops)
    detected = close_ups.detect(detector, pictures)
    assert right(detected) >= 0.9 * len(crops)
    for faces, (crop, _) in zip(detected, crops, strict=True):
        for face in faces:
            assert all(0 <= v <= 1 for v in face.xyxy)
            nose = face.landmarks[2]
            assert face.xyxy[0] < nose[0] < face.xyxy[2] and face.xyxy[1] < nose[1] < face.xyxy[3]
            assert min(crop.size) > 0


class Detector:
    """Sees one face: this many pixels large, in the middle, in pictures larger than 100 pixels."""

    def __init__(self, side: float) -> None:
        self.side, self.seen = side, []

    def detect(self, images):
        self.seen += [image.size for image in images]
        return [self._one(image) if image.width > 100 else [] for image in images]

    def _one(self, image):
        x, y = self.side / image.width / 2, self.side / image.height / 2
        return [Face((0.5 - x, 0.5 - y, 0.5 + x, 0.5 + y), 0.9, [(0.5, 0.5)] * 5)]


def test_the_second_look_in_numbers():
    small, large = Image.new("RGB", (80, 60)), Image.new("RGB", (200, 100))
    detector = Detector(side=50)
    first, second = close_ups.detect(detector, [small, large])
    assert detector.seen == [(80, 60), (200, 100), (160, 140)]  # only the one without a face
    left, top, right, bottom = first[0].xyxy
    assert (left, right) == pytest.approx((15 / 80, 65 / 80))
    assert (top, bottom) == pytest.approx((5 / 60, 55 / 60))
    assert first[0].landmarks[0] == pytest.approx((0.5, 0.5)) and first[0].score == 0.9
    assert second[0].xyxy == pytest.approx((0.375, 0.25, 0.625, 0.75))
    assert close_ups.detect(Detector(side=20), [small]) == [[]]  # would have been seen at first
    detector = Detector(side=50)
    assert close_ups.detect(detector, [small], margin=0) == [[]] and len(detector.seen) == 1


def test_an_eye_that_was_taken_for_a_face_gives_way():
    class Unsure(Detector):
        def detect(self, images):
            eye = Face((0.4, 0.4, 0.5, 0.5), 0.6)
            elsewhere = Face((0.0, 0.0, 0.1, 0.1), 0.6)
            return [self._one(i) if i.width > 100 else [eye, elsewhere] for i in images]

    ((face, other),) = close_ups.detect(Unsure(side=50), [Image.new("RGB", (80, 60))])
    assert face.score == 0.9 and other.xyxy == (0.0, 0.0, 0.1, 0.1)

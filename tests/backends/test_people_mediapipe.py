"""People's boxes and masks by MediaPipe on real photographs: what is in them, seen by eye."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest

from socialcli import backends
from socialcli.backends import ModelSpec

pytest.importorskip("mediapipe")


def photograph(name):
    from PIL import Image

    if name == "t1":
        import insightface

        file = Path(insightface.__file__).parent / "data/images/t1.jpg"
        return Image.open(file).convert("RGB")
    data = pytest.importorskip("skimage.data")
    return Image.fromarray(getattr(data, name)()).convert("RGB")


@pytest.fixture(scope="module")
def grounder():
    return backends.load(ModelSpec("ground", "mediapipe"))


@pytest.fixture(scope="module")
def segmenter():
    return backends.load(ModelSpec("segment", "mediapipe"))


# Noses, read off the pictures by hand.
NOSES = {
    "t1": [(0.10, 0.38), (0.26, 0.25), (0.39, 0.39), (0.61, 0.46), (0.74, 0.15), (0.91, 0.41)],
    "astronaut": [(0.45, 0.25)],
    "camera": [(0.47, 0.30)],
}


@pytest.mark.parametrize("name", NOSES)
def test_everybody_has_a_box_and_a_mask_that_hold_the_nose(grounder, segmenter, name):
    image = photograph(name)
    [detections] = grounder.ground([image], [["person"]], 0.35, 0.25)
    assert len(detections) == len(NOSES[name])
    [masks] = segmenter.segment([image], [[d.xyxy for d in detections]])
    taken = set()
    for x, y in NOSES[name]:
        # The box whose middle is nearest, among those that hold the nose.
        holding = [
            i
            for i, d in enumerate(detections)
            if d.xyxy[0] < x < d.xyxy[2] and d.xyxy[1] < y < d.xyxy[3] and i not in taken
        ]
        assert holding, (x, y)
        best = min(
            holding, key=lambda i: abs((detections[i].xyxy[0] + detections[i].xyxy[2]) / 2 - x)
        )
        taken.add(best)
        assert masks[best].mask.shape == (image.height, image.width)
        assert masks[best].mask[int(y * image.height), int(x * image.width)]
    for detection, segment in zip(detections, masks, strict=True):
        rows, columns = numpy.nonzero(segment.mask)
        left, top, right, bottom = detection.xyxy
        assert columns.min() >= int(left * image.width)
        assert columns.max() <= right * image.width
        assert rows.min() >= int(top * image.height)
        assert rows.max() <= bottom * image.height
        assert (segment.iou, segment.stability) == (None, None)
        inside = (right - left) * (bottom - top)
        assert 0.3 < segment.mask.mean() / inside < 0.98


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
def test_nobody_is_seen_where_nobody_is(grounder, name):
    assert grounder.ground([photograph(name)], [["person"]], 0.35, 0.25) == [[]]


def test_the_trunk_of_the_astronaut_reaches_the_lower_edge(grounder):
    [[woman]] = grounder.ground([photograph("astronaut")], [["person"]], 0.35, 0.25)
    assert woman.xyxy[3] == 1.0
    assert woman.xyxy[0] < 0.1
    assert woman.xyxy[2] > 0.6
    assert woman.xyxy[1] < 0.06

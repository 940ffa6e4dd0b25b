"""`import gazefollow` on a fixture in the official format; every number is worked out by hand."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from parts import part

from socialcli.errors import SampleFailed, UsageError

gazefollow = part("importers", "gazefollow")

DATA = Path(__file__).parents[1] / "data/gazefollow"
KEYS = ["train/00000000/00000001", "train/00000000/00000002", "test2/00000000/00000003"]


def run(source=DATA, **options):
    config = gazefollow.Config(str(source), **options)
    imported = {}
    for entry in gazefollow.entries(config):
        try:
            members = gazefollow.build(config, entry)
        except SampleFailed as error:
            imported[entry.key] = str(error)
            continue
        imported[entry.key] = {
            suffix: json.loads(body) if suffix.endswith("json") else body
            for suffix, body in members.items()
        }
    return imported


def direction(across: float, down: float) -> list[float]:
    """Of length 1, with six decimals, as records have it."""
    length = math.hypot(across, down)
    return [round(across / length, 6), round(down / length, 6)]


@pytest.fixture(scope="module")
def imported():
    return run()


def test_rows_of_one_picture_are_one_sample(imported):
    assert list(imported) == KEYS
    assert imported[KEYS[0]]["jpg"] == (DATA / f"{KEYS[0]}.jpg").read_bytes()
    assert [len(s["people.json"]["people"]) for s in imported.values()] == [3, 1, 2]
    assert [s["meta.json"]["split"] for s in imported.values()] == ["train", "train", "test"]
    assert list(run(split="test")) == KEYS[2:]


def test_a_person_who_looks_into_the_picture(imported):
    person = imported[KEYS[0]]["people.json"]["people"][0]
    # Head 24,20 to -8,4 in 64x48: both ends swapped, the left one outside.
    assert person["head"] == [0.0, 0.083333, 0.375, 0.416667]
    assert person["box"] == 1
    # Body x, y, w, h 0.25, 0.5, 0.5, 0.6 hangs over the lower edge.
    assert imported[KEYS[0]]["boxes.json"]["boxes"][0] == {
        "id": 1, "xyxy": [0.25, 0.5, 0.75, 1.0], "label": "person", "source": "annotation",
    }  # fmt: skip
    # From the head's centre at (12, 12) pixels to (32, 24), not from the eye at (16, 12).
    assert person["gaze"] == {
        "point": [0.5, 0.5], "vector": direction(20, 12), "inside": True, "source": "annotation",
    }  # fmt: skip


def test_targets_outside_and_invalid_rows(imported):
    outside, invalid = imported[KEYS[0]]["people.json"]["people"][1:]
    assert outside["gaze"] == {"inside": False, "source": "annotation"}
    assert "gaze" not in invalid
    assert "box" not in invalid  # its body has no width
    assert "head" not in invalid
    assert imported[KEYS[0]]["meta.json"]["extra"] == {
        "eyes": {"1": [0.25, 0.25], "2": [0.75, 0.25], "3": [0.8, 0.25]},
        "rows": {"1": ["7"], "2": ["9"], "3": ["10"]},
        "origin": "places_top",
        "dropped": [
            {"person": 3, "what": "body", "why": "its box has no area"},
            {"person": 3, "what": "head", "why": "its box has no area"},
            {"person": 3, "what": "gaze", "why": "marked invalid"},
        ],
    }


def test_annotators_of_one_person_are_gathered(imported):
    first, second = imported[KEYS[2]]["people.json"]["people"]
    assert first["gaze"] == {
        "point": [0.8, 0.5], "points": [[0.7, 0.5], [0.9, 0.5], [0.8, 0.5]],
        "vector": direction(51.2 - 24, 24 - 18), "inside": True, "source": "annotation",
    }  # fmt: skip
    assert second["gaze"] == {
        "point": [0.125, 0.9], "vector": direction(8 - 24, 43.2 - 18), "inside": True,
        "source": "annotation",
    }  # fmt: skip
    assert imported[KEYS[2]]["meta.json"]["extra"]["rows"] == {"1": ["1", "2", "4"], "2": ["3"]}


def rewritten(tmp_path, line: str, orientation: int = 1) -> Path:
    """A copy of the fixture whose training file is this one line."""
    from PIL import Image

    copy = tmp_path / "gazefollow"
    shutil.copytree(DATA, copy)
    (copy / "train_annotations_release.txt").write_text(line + "\n")
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = copy / "train/00000000/00000001.jpg"
    Image.new("RGB", (64, 48)).save(picture, exif=exif.tobytes())
    return copy


def test_rotated_pictures_turn_with_their_gaze(tmp_path):
    line = "train/00000000/00000001.jpg,1,0,0,0.5,0.5,0.25,0.25,0.5,0.5,8,6,24,18,1,coco,False"
    sample = run(rewritten(tmp_path, line, 6), split="train")[KEYS[0]]
    (person,) = sample["people.json"]["people"]
    # (x, y) -> (1 - y, x); the upright picture is 48x64 pixels.
    assert sample["meta.json"]["extra"]["eyes"] == {"1": [0.75, 0.25]}
    assert person["head"] == [0.625, 0.125, 0.875, 0.375]
    assert person["gaze"]["point"] == [0.5, 0.5]
    assert person["gaze"]["vector"] == [-0.6, 0.8]  # 12 pixels left, 16 down
    upright = run(tmp_path / "gazefollow", split="train", frame="upright")[KEYS[0]]
    assert upright["people.json"]["people"][0]["gaze"]["point"] == [0.5, 0.5]
    assert upright["meta.json"]["extra"]["eyes"] == {"1": [0.25, 0.25]}


def test_without_a_head_the_gaze_starts_at_the_eye(tmp_path):
    line = "train/00000000/00000001.jpg,1,0,0,0.5,0.5,0.25,0.25,0.5,0.5,8,6,8,18,1,coco,False"
    (person,) = run(rewritten(tmp_path, line), split="train")[KEYS[0]]["people.json"]["people"]
    assert "head" not in person
    assert person["gaze"]["vector"] == [0.8, 0.6]  # from (16, 12) to (32, 24)


def test_without_an_eye_the_gaze_starts_at_the_head(tmp_path):
    line = "train/00000000/00000001.jpg,1,0,0,0.5,0.5,-1,-1,0.5,0.75,8,6,24,18,1,coco,False,"
    sample = run(rewritten(tmp_path, line), split="train")[KEYS[0]]
    (person,) = sample["people.json"]["people"]
    # Head centre (16, 12); target (32, 36): 16 across, 24 down.
    length = math.hypot(16, 24)
    assert person["gaze"]["vector"] == pytest.approx([16 / length, 24 / length], abs=1e-6)
    assert sample["meta.json"]["extra"]["eyes"] == {}


def test_empty_fields_cost_the_field_not_the_run(tmp_path):
    line = "train/00000000/00000001.jpg,1,0,0,,0.5,0.25,0.25,,0.75,8,6,24,18,1,coco,False"
    (person,) = run(rewritten(tmp_path, line), split="train")[KEYS[0]]["people.json"]["people"]
    assert person["gaze"] == {"inside": False, "source": "annotation"}
    assert "box" not in person


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg,1,2", "line 1 has 3 columns"),
        ("a.jpg,1,x,0,1,1,0,0,0,0,0,0,1,1,1,coco,False", "line 1: could not convert"),
    ],
)
def test_other_files_are_refused(tmp_path, line, message):
    with pytest.raises(UsageError, match=message):
        run(rewritten(tmp_path, line))


def test_where_the_files_are(tmp_path):
    with pytest.raises(UsageError, match="--annotations"):
        run(tmp_path)
    with pytest.raises(UsageError, match="--split"):
        run(split="val")
    imported = run(annotations=str(DATA / "test_annotations_release.txt"))
    assert list(imported) == KEYS[2:]
    assert imported[KEYS[2]]["meta.json"]["split"] == "test"
    copy = rewritten(tmp_path, "train/9/9.jpg,1,0,0,1,1,0,0,0,0,0,0,1,1,1,coco,False")
    assert "no such file" in run(copy)["train/9/9"]
    copy = rewritten(tmp_path / "b", "../../x.jpg,1,0,0,1,1,0,0,0,0,0,0,1,1,1,coco,False")
    assert "unsafe" in run(copy)["x"]

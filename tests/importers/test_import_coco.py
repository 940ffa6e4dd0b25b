"""`import coco` on a fixture in COCO's own format; every number is worked out by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy
import pytest
from parts import part

from socialcli import records
from socialcli.errors import SampleFailed, UsageError
from socialcli.vision import masks as rle

coco = part("importers", "coco")

DATA = Path(__file__).parents[1] / "data/coco"
KEYS = [f"{number:012d}" for number in (139, 285, 632, 724, 776)]
ANNOTATED = {"source": "annotation"}
TRUTH = {"backend": "ground-truth", "model": "", "role": "", "options": {}}


def run(source=DATA, **options):
    """Key -> members with the JSON parsed, or the reason it failed."""
    config = coco.Config(str(source), **options)
    imported = {}
    for entry in coco.entries(config):
        try:
            members = coco.build(config, entry)
        except SampleFailed as error:
            imported[entry.key] = str(error)
            continue
        imported[entry.key] = {
            suffix: json.loads(body) if suffix.endswith("json") else body
            for suffix, body in members.items()
        }
    return imported


@pytest.fixture(scope="module")
def imported():
    return run()


def test_every_picture_comes_in_order(imported):
    assert list(imported) == KEYS
    assert imported[KEYS[3]] == f"000000000724.jpg: no such file under {DATA / 'val2017'}"
    for key in (KEYS[0], KEYS[1], KEYS[2], KEYS[4]):
        assert imported[key]["jpg"] == (DATA / "val2017" / f"{key}.jpg").read_bytes()


def test_meta(imported):
    # 1003 has a polygon of two points: its mask goes, its box stays. 1002 has a box of width 0.
    assert imported[KEYS[0]]["meta.json"] == {
        "schema": 1, "width": 64, "height": 48, "orientation": 1, "source": "000000000139.jpg",
        "split": "val2017", "license": "Attribution-NonCommercial-NoDerivs License (http://l/3)",
        "extra": {
            "image_id": 139,
            "annotations": {"1": 1001, "2": 900100000139, "4": 1003},
            "crowd_boxes": [2],
            "dropped": [
                {"annotation": 1002, "what": "all", "why": "its box has no area"},
                {"annotation": 1003, "what": "mask", "why": "a polygon of 4 numbers"},
            ],
            "url": "http://images.cocodataset.org/val2017/000000000139.jpg",
        },
    }  # fmt: skip


def test_boxes_are_normalised_xyxy_and_clipped(imported):
    # xywh 8,0,16,24 in 64x48 -> 8/64, 0, 24/64, 24/48. 48,36,32,12 hangs over the right edge.
    assert imported[KEYS[0]]["boxes.json"] == {
        "schema": 1, "width": 64, "height": 48, "model": TRUTH,
        "boxes": [
            {"id": 1, "xyxy": [0.125, 0.0, 0.375, 0.5], "label": "person"} | ANNOTATED,
            {"id": 2, "xyxy": [0.15625, 0.0, 0.21875, 1.0], "label": "person"} | ANNOTATED,
            {"id": 4, "xyxy": [0.75, 0.75, 1.0, 1.0], "label": "dog"} | ANNOTATED,
        ],
    }  # fmt: skip


def test_masks_from_polygons_and_from_run_lengths(imported):
    masks = imported[KEYS[0]]["masks.json"]["masks"]
    assert [(m["id"], m["box"]) for m in masks] == [(1, 1), (2, 2)]
    person = numpy.zeros((48, 64), bool)
    person[0:24, 8:24] = True
    crowd = numpy.zeros((48, 64), bool)
    crowd[:, 10:14] = True
    assert numpy.array_equal(rle.decode(masks[0]["rle"]), person)
    assert numpy.array_equal(rle.decode(masks[1]["rle"]), crowd)


def test_people_link_to_their_boxes_and_a_crowd_is_no_person(imported):
    people = imported[KEYS[0]]["people.json"]
    assert people["models"] == {"pose": TRUTH}
    (person,) = people["people"]
    assert (person["id"], person["box"]) == (1, 1)
    points = person["keypoints"]["points"]
    assert person["keypoints"]["layout"] == "coco17"
    assert points[0] == [0.25, 0.125, 2.0]  # nose at 16, 6
    assert points[1] == [0.3125, 0.083333, 1.0]  # left eye at 20, 4, hidden
    assert points[2:] == [[0.0, 0.0, 0.0]] * 15


def test_captions(imported):
    assert imported[KEYS[0]]["caption.json"] == {
        "schema": 1, "text": "A person stands beside a dog.", "others": ["Someone with a dog"],
        "model": TRUTH, "source": "annotation",
    }  # fmt: skip
    assert "caption.json" not in imported[KEYS[4]]


def test_rotated_pictures_in_either_frame(imported):
    # Orientation 6: (x, y) stored -> (1 - y, x) upright. Stored box 0,0 to 32,12 of 64x48.
    stored, upright = imported[KEYS[1]], imported[KEYS[2]]
    for sample in (stored, upright):
        assert (sample["meta.json"]["width"], sample["meta.json"]["height"]) == (48, 64)
        assert sample["meta.json"]["orientation"] == 6
    assert stored["boxes.json"]["boxes"][0]["xyxy"] == [0.75, 0.0, 1.0, 0.5]
    mask = numpy.zeros((64, 48), bool)
    mask[0:32, 36:48] = True
    assert numpy.array_equal(rle.decode(stored["masks.json"]["masks"][0]["rle"]), mask)
    # Annotated as 48x64, so 0,0 to 24,16 is upright already.
    assert upright["boxes.json"]["boxes"][0]["xyxy"] == [0.0, 0.0, 0.5, 0.25]
    mask = numpy.zeros((64, 48), bool)
    mask[0:16, 0:24] = True
    assert numpy.array_equal(rle.decode(upright["masks.json"]["masks"][0]["rle"]), mask)


def test_a_picture_without_annotations_has_empty_records(imported):
    assert imported[KEYS[4]]["boxes.json"]["boxes"] == []
    assert imported[KEYS[4]]["masks.json"]["masks"] == []
    assert imported[KEYS[4]]["people.json"]["people"] == []


def test_mirrored_pictures_swap_left_and_right(tmp_path):
    from PIL import Image

    copy = tmp_path / "coco"
    shutil.copytree(DATA, copy)
    exif = Image.Exif()
    exif[0x0112] = 2
    Image.new("RGB", (64, 48)).save(copy / "val2017/000000000139.jpg", exif=exif.tobytes())
    points = run(copy)[KEYS[0]]["people.json"]["people"][0]["keypoints"]["points"]
    assert points[0] == [0.75, 0.125, 2.0]
    assert points[1] == [0.0, 0.0, 0.0]
    assert points[2] == [0.6875, 0.083333, 1.0]  # the mirror's right eye
    names = records.COCO_KEYPOINTS
    for i, j in enumerate(coco._MIRROR):
        swapped = names[i].replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")
        assert names[j] == swapped


def edited(tmp_path, **changes) -> Path:
    """A copy of the fixture whose first annotation and image are changed."""
    copy = tmp_path / "coco"
    shutil.copytree(DATA, copy)
    file = copy / "annotations/instances_val2017.json"
    body = json.loads(file.read_text())
    for name, value in changes.items():
        target = body["images"][0] if name in body["images"][0] else body["annotations"][0]
        target[name] = value
    file.write_text(json.dumps(body))
    return copy


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [48, 64], "counts": [10**9]},
        {"size": [48, 64], "counts": [-5, 3077]},
        {"size": [48, 64], "counts": "not a code \u00e9"},
        {"size": [9, 9], "counts": [81]},
        [[0, 0, 1e9, 0, 1e9, 1e9]],
        [[0, 0, float("inf"), 0, 3, 3]],
        [["a", "b", "c", "d", "e", "f"]],
        [3, 4],
    ],
)
def test_hostile_segmentations_lose_only_the_mask(tmp_path, segmentation):
    imported = run(edited(tmp_path, segmentation=segmentation))[KEYS[0]]
    assert [m["box"] for m in imported["masks.json"]["masks"]] == [2]
    assert imported["meta.json"]["extra"]["dropped"][0]["annotation"] == 1001
    assert [b["id"] for b in imported["boxes.json"]["boxes"]] == [1, 2, 4]


def test_compressed_run_lengths(tmp_path):
    mask = numpy.zeros((48, 64), bool)
    mask[5:9, 20:40] = True
    imported = run(edited(tmp_path, segmentation=rle.encode(mask)))[KEYS[0]]
    assert numpy.array_equal(rle.decode(imported["masks.json"]["masks"][0]["rle"]), mask)


def test_a_resized_copy_keeps_its_annotations(tmp_path):
    from PIL import Image

    copy = tmp_path / "coco"
    shutil.copytree(DATA, copy)
    Image.new("RGB", (32, 24)).save(copy / "val2017/000000000139.jpg")
    imported = run(copy)[KEYS[0]]
    assert imported["boxes.json"]["boxes"][0]["xyxy"] == [0.125, 0.0, 0.375, 0.5]
    mask = numpy.zeros((24, 32), bool)
    mask[0:12, 4:12] = True
    assert numpy.array_equal(rle.decode(imported["masks.json"]["masks"][0]["rle"]), mask)
    assert imported["meta.json"]["extra"]["annotated_size"] == [64, 48]
    Image.new("RGB", (48, 48)).save(copy / "val2017/000000000139.jpg")
    assert "not the same picture" in run(copy)[KEYS[0]]


def test_file_names_cannot_leave_the_folder(tmp_path):
    imported = run(edited(tmp_path, file_name="../../../../etc/passwd"))
    assert "unsafe" in imported["etc/passwd"]


def test_the_layout_is_found_or_asked_for(tmp_path):
    copy = tmp_path / "coco"
    shutil.copytree(DATA, copy)
    (copy / "images").mkdir()
    (copy / "val2017").rename(copy / "images/val2017")
    assert isinstance(run(copy)[KEYS[0]], dict)
    (copy / "images/val2017").rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="--images"):
        run(copy)
    assert isinstance(run(copy, images=str(tmp_path / "elsewhere"))[KEYS[0]], dict)
    second = copy / "annotations/instances_train2017.json"
    shutil.copy(copy / "annotations/instances_val2017.json", second)
    with pytest.raises(UsageError, match="--split: train2017, val2017"):
        run(copy, images=str(tmp_path / "elsewhere"))
    (copy / "annotations/instances_val2017.json").write_text("[1]")
    with pytest.raises(UsageError, match="not COCO JSON"):
        run(copy, split="val2017")
    with pytest.raises(UsageError, match="--annotations"):
        run(tmp_path)
    with pytest.raises(UsageError, match="--frame"):
        run(frame="sideways")


def test_boxes_from_masks_where_a_tool_wrote_none(tmp_path):
    imported = run(edited(tmp_path, bbox=None))[KEYS[0]]
    assert imported["boxes.json"]["boxes"][0]["xyxy"] == [0.125, 0.0, 0.375, 0.5]

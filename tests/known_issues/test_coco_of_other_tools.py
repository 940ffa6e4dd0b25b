"""COCO files that other tools write lost their annotations or their pictures.

Ids as text in one place and as numbers in another, sizes of -1 (VIA) and backslashes (Windows)
ended in "0 annotations", "not the same picture" and "none of the pictures found"; annotations
without a category or of unknown pictures vanished.
"""

from __future__ import annotations

import json

import pytest
from conftest import members, picture

from socialcli.errors import UsageError
from socialcli.importers import coco

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}]


def image(number=9, name="9.jpg", **more):
    return {"id": number, "file_name": name, "width": 16, "height": 12, **more}


def box(number=1, of=9, category=18, **more):
    return {"id": number, "image_id": of, "category_id": category, "bbox": [2, 2, 8, 6], **more}


def data_set(tmp_path, images, annotations, files=("9.jpg",), **more):
    (tmp_path / "c/val").mkdir(parents=True)
    for file in files:
        (tmp_path / "c/val" / file).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "c/val" / file).write_bytes(picture(1))
    body = {"images": images, "annotations": annotations, "categories": CATEGORIES, **more}
    (tmp_path / "c/instances_val.json").write_text(json.dumps(body))
    return tmp_path / "c"


@pytest.fixture
def imported(tmp_path, run_cli):
    """(boxes.json, meta.json, what was said) of the one picture."""

    def run(images, annotations, **more):
        folder = data_set(tmp_path, images, annotations, **more)
        done = run_cli("import", "coco", folder, "-o", tmp_path / "o")
        (sample,) = members(tmp_path / "o").values()
        boxes = json.loads(sample["boxes.json"]).get("boxes", [])
        return boxes, json.loads(sample["meta.json"]), done.stderr.decode()

    return run


@pytest.mark.parametrize(
    "images, annotations",
    [
        ([image(9)], [box(of="9")]),
        ([image("9")], [box(of=9)]),
        ([image(9)], [box(of=9.0, category="18")]),
        ([image(9)], [box(category=18.0)]),
        ([image("a-uuid")], [box(of="a-uuid")]),
        ([image(9, width=-1, height=-1)], [box()]),
        ([image(9, width=0, height=0)], [box()]),
        ([image(9, width="16", height="12")], [box()]),
        ([image(9, width=16.0, height=12.0)], [box()]),
        ([image(9, width=None)], [box()]),
        ([image(9)], [box(None), box(None)]),
    ],
)
def test_ids_and_sizes_in_any_spelling(imported, images, annotations):
    boxes, meta, warnings = imported(images, annotations)
    assert [b["label"] for b in boxes] == ["dog"] * len(annotations)
    assert boxes[0]["xyxy"] == [0.125, 0.166667, 0.625, 0.666667]
    assert "warning" not in warnings and "annotated_size" not in meta.get("extra", {})


@pytest.mark.parametrize(
    "name, file",
    [
        ("sub\\9.jpg", "sub/9.jpg"),
        (".\\9.jpg", "9.jpg"),
        ("9.JPG", "9.jpg"),
        ("Sub/9.jpg", "Sub/9.JPG"),
        ("C:\\photos\\9.jpg", "9.jpg"),
        ("/home/her/photos/9.jpg", "9.jpg"),
        ("../media/upload/9.jpg", "9.jpg"),
        ("https://host/9.jpg?w=3", "9.jpg"),
    ],
)
def test_pictures_are_found_however_their_place_is_written(imported, name, file):
    boxes, _, _ = imported([image(9, name)], [box()], files=(file,))
    assert len(boxes) == 1


def test_a_name_that_leads_out_of_the_folder_reads_nothing_there(tmp_path, run_cli):
    folder = data_set(tmp_path, [image(9), image(2, "../../secret.jpg")], [box()])
    (tmp_path / "secret.jpg").write_bytes(picture(2))
    run_cli("import", "coco", folder, "-o", tmp_path / "o", "--max-error-rate", 1)
    assert "unsafe" in (tmp_path / "o/000000.errors.jsonl").read_text()


def test_boxes_without_a_known_category_are_kept_and_listed(imported):
    nameless = box(2)
    del nameless["category_id"]
    boxes, meta, _ = imported([image(9)], [box(1), nameless, box(3, category=99)])
    assert [b["label"] for b in boxes] == ["dog", "", ""]
    why = {one["annotation"]: one["why"] for one in meta["extra"]["dropped"]}
    assert why == {2: "no category", 3: "no category has the id 99"}


def test_annotations_of_unknown_pictures_are_counted(imported):
    no_picture = box(3)
    del no_picture["image_id"]
    boxes, _, warnings = imported([image(9)], [box(1), box(2, of=12345), no_picture])
    assert len(boxes) == 1
    assert "warning: " in warnings and "2 of its 3 instances annotations are left out" in warnings
    assert "12345" in warnings


def test_a_file_of_another_set_of_pictures_is_refused(tmp_path, run_cli):
    folder = data_set(tmp_path, [image(9)], [box(1, of=7), box(2, of=8)])
    done = run_cli("import", "coco", folder, "-o", tmp_path / "o", code=2)
    assert b"2 of its 2 instances annotations belong to a picture that it does not" in done.stderr


def test_annotations_of_nothing_are_none(imported):
    boxes, _, _ = imported([image(9)], None, licenses=None)
    assert boxes == []


def test_keypoints_in_other_capitals_are_coco_s(tmp_path, run_cli):
    from socialcli import records

    names = [name.replace("_", " ").title() for name in records.COCO_KEYPOINTS]
    people = [{"id": 1, "name": "person", "keypoints": names, "skeleton": []}]
    folder = data_set(
        tmp_path, [image(9)], [box(category=1, keypoints=[4, 4, 2] * 17)], categories=people
    )
    run_cli("import", "coco", folder, "-o", tmp_path / "o")
    (sample,) = members(tmp_path / "o").values()
    assert len(json.loads(sample["people.json"])["people"][0]["keypoints"]["points"]) == 17


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"annotations": {"a": 1}}, "annotations is an object, not a list"),
        ({"annotations": ["x"]}, "annotations[0] is a text, not an object"),
        ({"categories": {"1": "dog"}}, "categories is an object, not a list"),
        ({"categories": [{"name": "dog"}]}, "categories[0] lacks id"),
        ({"licenses": "CC0"}, "licenses is a text, not a list"),  # a traceback
        ({"images": [{"id": 1}]}, "images[0] lacks file_name"),
        ({"images": [None]}, "images[0] is null, not an object"),
        ({"annotations": [box(category=[1])]}, "an id is a number or text, not [1]"),
    ],
)
def test_other_types_are_told_in_the_words_of_json(tmp_path, changed, says):
    """They were told as an AttributeError and its like."""
    folder = data_set(tmp_path, **{"images": [image()], "annotations": [box()], **changed})
    with pytest.raises(UsageError) as error:
        coco._load(folder / "instances_val.json")
    assert str(error.value).endswith(f"not COCO JSON ({says})")

"""Fields of annotation files that are null, text or of another kind than usual.

A caption or a name of null became the word "None", a licence that is an object or a file without
pictures ended in a traceback, one malformed mask or keypoint failed its whole picture, and
keypoints of a file that numbers its annotations by itself went to whatever had the same number.
"""

from __future__ import annotations

import json

import conftest
import pytest
from conftest import members, picture
from parts import part

from socialcli import records
from socialcli.errors import UsageError
from socialcli.pipeline import run
from socialcli.pipeline.run import RunOptions

PERSON = {"id": 1, "name": "person", "keypoints": list(records.COCO_KEYPOINTS)}
CATEGORIES = [PERSON, {"id": 18, "name": "dog"}]
IMAGE = {"id": 9, "file_name": "9.jpg", "width": 16, "height": 12}


def box(number=1, category=1, at=(2, 2, 8, 6), **more):
    return {"id": number, "image_id": 9, "category_id": category, "bbox": list(at), **more}


@pytest.fixture
def imported(tmp_path):
    """Key -> members of what files called instances, person_keypoints and captions become."""

    def do(**bodies):
        (tmp_path / "val").mkdir()
        (tmp_path / "val" / "9.jpg").write_bytes(picture(1))
        for name, body in bodies.items():
            body = {"images": [IMAGE], "annotations": [], "categories": CATEGORIES, **body}
            (tmp_path / f"{name}_val.json").write_text(json.dumps(body))
        importer = part("importers", "coco")
        config = vars(importer.config_type(source=str(tmp_path), images=str(tmp_path / "val")))
        options = RunOptions(quiet=True, max_error_rate=1)
        run.run_stage("importers", "coco", config, [], str(tmp_path / "out"), options)
        return members(tmp_path / "out")

    return do


def test_null_is_no_caption_and_no_name(imported):
    texts = [{"id": 1, "image_id": 9, "caption": None}, {"id": 2, "image_id": 9, "caption": "yes"}]
    named = [{"id": 18, "name": None}]
    sample = imported(
        instances={"annotations": [box(category=18)], "categories": named},
        captions={"annotations": texts},
    )["9"]
    assert json.loads(sample["caption.json"])["text"] == "yes"
    assert json.loads(sample["boxes.json"])["boxes"][0]["label"] == ""
    assert json.loads(sample["meta.json"])["extra"]["dropped"][0]["what"] == "label"


def test_a_picture_without_a_name_fails_alone(imported, tmp_path):
    found = imported(instances={"images": [IMAGE, {"id": 10, "file_name": None}]})
    assert list(found) == ["9"]
    (line,) = (tmp_path / "out" / "000000.errors.jsonl").read_text().splitlines()
    assert "no file_name" in json.loads(line)["reason"]


@pytest.mark.parametrize(
    ("stated", "wanted"), [("4", "CC BY"), (4.0, "CC BY"), ({"name": "x"}, ""), ([4], "")]
)
def test_licences_in_any_spelling(imported, stated, wanted):
    body = {"images": [{**IMAGE, "license": stated}], "licenses": [{"id": 4, "name": "CC BY"}]}
    assert json.loads(imported(instances=body)["9"]["meta.json"])["license"] == wanted


def test_a_file_without_pictures_is_told(imported):
    with pytest.raises(UsageError, match="its list of images is empty"):
        imported(instances={"images": [], "annotations": [box()]})


@pytest.mark.parametrize(
    ("what", "odd"),
    [
        ("mask", {"segmentation": {"size": None, "counts": [1]}}),
        ("mask", {"segmentation": {"size": 5, "counts": [1]}}),
        ("mask", {"segmentation": [[10**400, 1, 1, 1, 1, 1]]}),
        ("all", {"bbox": [1, 1, 10**400, 1]}),
        ("keypoints", {"keypoints": [4, 4, 3] * 17}),  # OCHuman's visibility of what others hide
        ("keypoints", {"keypoints": [4, 4, -1] * 17}),
        ("keypoints", {"keypoints": [4, None, 2] * 17}),
        ("keypoints", {"keypoints": [float("nan"), 4, 2] * 17}),
        ("keypoints", {"keypoints": [4, 4, 2] * 16}),
    ],
)
def test_only_what_is_odd_is_dropped(imported, what, odd):
    sample = imported(instances={"annotations": [box(**odd), box(2, category=18)]})["9"]
    labels = [b["label"] for b in json.loads(sample["boxes.json"])["boxes"]]
    assert labels == (["dog"] if what == "all" else ["person", "dog"])
    (dropped,) = json.loads(sample["meta.json"])["extra"]["dropped"]
    assert (dropped["annotation"], dropped["what"]) == (1, what)


def test_keypoints_as_text_are_numbers(imported):
    sample = imported(instances={"annotations": [box(keypoints=["4", "3", "2"] * 17)]})["9"]
    (person,) = json.loads(sample["people.json"])["people"]
    assert person["keypoints"]["points"][0] == [0.25, 0.25, 2.0]


@pytest.mark.parametrize("numbers", [{}, {"id": 18}])
def test_files_that_number_their_annotations_by_themselves(imported, numbers):
    """As CVAT writes them: number 1 of the one is a dog, of the other a person."""
    people = {"annotations": [box(1, **({"category": 18} if numbers else {}), at=(0, 0, 4, 4),
              keypoints=[1, 1, 2] * 17)], "categories": [{**PERSON, **numbers}]}  # fmt: skip
    sample = imported(
        instances={"annotations": [box(1, category=18), box(2)]}, person_keypoints=people
    )["9"]
    boxes = {b["id"]: b["label"] for b in json.loads(sample["boxes.json"])["boxes"]}
    assert boxes == {1: "dog", 2: "person", 3: "person"}
    found = {p["box"]: "keypoints" in p for p in json.loads(sample["people.json"])["people"]}
    assert found == {2: False, 3: True}


def test_keypoints_of_the_same_annotation_are_its_own(imported):
    people = {"annotations": [box(1, at=(2, 2, 8.4, 6), keypoints=[4, 4, 2] * 17)]}
    sample = imported(instances={"annotations": [box(1)]}, person_keypoints=people)["9"]
    (person,) = json.loads(sample["people.json"])["people"]
    assert "keypoints" in person


def test_a_class_of_null_is_no_word_in_prompts(tmp_path):
    item = {"instance_data_dir": "./x", "class_prompt": None, "instance_prompt": "a",
            "prompt_filename": "prompts/x.txt"}  # fmt: skip
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "x.txt").write_text("a {}")
    (tmp_path / "dataset.json").write_text(json.dumps([item]))
    with pytest.raises(UsageError, match="null is no text"):
        part("importers", "concept101").concepts(tmp_path)


def test_sizes_as_text_are_numbers(tmp_path):
    annotation = {"hoi": [], "boxes_h": [], "boxes_o": []}
    body = {"correspondence": [], "filenames": ["x_test2015_1.jpg"], "size": [["16", "12"]],
            "annotation": [annotation]}  # fmt: skip
    file = tmp_path / "instances_test2015.json"
    for folder in ("images", "images/test2015"):
        (tmp_path / folder).mkdir()
    (tmp_path / "images/test2015/x_test2015_1.jpg").write_bytes(conftest.picture(1))
    file.write_text(json.dumps(body))
    importer = part("importers", "hico-det")
    config = importer.config_type(source=str(tmp_path), split="test")
    (entry,) = importer.entries(config)
    assert "meta.json" in importer.build(config, entry)
    file.write_text(json.dumps({**body, "size": [None]}))
    with pytest.raises(UsageError, match="not HICO-DET's instances JSON"):
        list(importer.entries(config))

"""`import hico-det` on fixtures in the official formats; every number is worked out by hand.

The fixture's boxes, counted from 1 with both ends inside: left (1, 1, 32, 48) is pixels 0 to 32 of
64 across and 0 to 48 of 48 down; right (33, 1, 64, 48); below (17, 25, 64, 48).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy
import pytest
from parts import part

from socialcli.errors import SampleFailed, SampleFiltered, UsageError

hico_det = part("importers", "hico-det")

DATA = Path(__file__).parents[1] / "data/hico_det"
LEFT, RIGHT, BELOW = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0], [0.25, 0.5, 1.0, 1.0]
TRAIN = [f"HICO_train2015_0000000{n}" for n in (1, 2, 3)]
TEST = [f"HICO_test2015_0000000{n}" for n in (1, 2)]


def run(source=DATA, **options):
    """Key -> members with the JSON parsed, or the reason it has none."""
    config = hico_det.Config(str(source), **options)
    imported = {}
    for entry in hico_det.entries(config):
        try:
            members = hico_det.build(config, entry)
        except (SampleFailed, SampleFiltered) as error:
            imported[entry.key] = f"{type(error).__name__}: {error}"
            continue
        imported[entry.key] = {
            suffix: json.loads(body) if suffix.endswith("json") else body
            for suffix, body in members.items()
        }
    return imported


def boxes(sample):
    return [(b["id"], b["label"], b["xyxy"]) for b in sample["boxes.json"]["boxes"]]


def people(sample):
    return [(p["id"], p["box"]) for p in sample["people.json"]["people"]]


@pytest.fixture(scope="module")
def imported():
    return run()


def test_both_splits_in_the_files_order(imported):
    assert list(imported) == TRAIN + TEST
    path = DATA / "images/train2015/HICO_train2015_00000001.jpg"
    assert imported[TRAIN[0]]["jpg"] == path.read_bytes()
    assert imported[TRAIN[0]]["meta.json"] == {
        "schema": 1, "width": 64, "height": 48, "orientation": 1,
        "source": "train2015/HICO_train2015_00000001.jpg", "split": "train", "license": "",
        "extra": {},
    }  # fmt: skip
    assert list(run(split="test")) == TEST


def test_one_hoi_of_one_pair_collapsed_to_scalars(imported):
    sample = imported[TRAIN[0]]
    assert boxes(sample) == [(1, "person", LEFT), (2, "motorcycle", BELOW)]
    assert people(sample) == [(1, 1)]
    # Class 153 counted from 1 is "race motorcycle" (152 in the JSON files).
    assert sample["interactions.json"]["interactions"] == [
        {"id": 1, "verb": "race", "subject": 1, "subject_box": 1, "object": 2,
         "object_label": "motorcycle", "hoi": 153, "source": "annotation"},
    ]  # fmt: skip
    assert sample["interactions.json"]["model"]["backend"] == "ground-truth"


def test_equal_boxes_are_one_and_invisible_classes_are_noted(imported):
    sample = imported[TRAIN[1]]
    assert boxes(sample) == [(1, "person", LEFT), (2, "dog", BELOW), (3, "person", RIGHT)]
    assert people(sample) == [(1, 1), (2, 3)]
    interactions = sample["interactions.json"]["interactions"]
    assert [(i["verb"], i["subject"], i["subject_box"], i["object"]) for i in interactions] == [
        ("walk", 1, 1, 2), ("walk", 2, 3, 2), ("no interaction", 1, 1, 2),
    ]  # fmt: skip
    hug_dog = next(c for c in hico_det.classes() if c[1:3] == ("hug", "dog"))
    assert sample["meta.json"]["extra"] == {"invisible_hoi": [hug_dog.number]}


def test_exif_rotation(imported):
    # Stored 64x48, orientation 6: (x, y) -> (1 - y, x). Human 1,1,16,12 is 0..1/4 across and
    # 0..1/4 down; horse 1,1,70,24 hangs over the right edge and is 0..1 across, 0..1/2 down.
    sample = imported[TRAIN[2]]
    assert (sample["meta.json"]["width"], sample["meta.json"]["height"]) == (48, 64)
    assert boxes(sample) == [(1, "person", [0.75, 0.0, 1.0, 0.25]), (2, "horse", [0.5, 0, 1, 1])]


def test_a_person_as_object_is_a_person_too(imported):
    sample = imported[TEST[0]]
    assert boxes(sample) == [(1, "person", LEFT), (2, "person", RIGHT)]
    assert people(sample) == [(1, 1), (2, 2)]
    (act,) = sample["interactions.json"]["interactions"]
    assert (act["verb"], act["subject"], act["object"], act["object_person"]) == (
        "hug", 1, 2, 2,
    )  # fmt: skip


def test_pictures_without_pairs_are_kept_or_filtered(imported):
    sample = imported[TEST[1]]
    fly_kite = next(c for c in hico_det.classes() if c[1:3] == ("fly", "kite"))
    assert sample["boxes.json"]["boxes"] == sample["interactions.json"]["interactions"] == []
    assert sample["meta.json"]["extra"] == {"invisible_hoi": [fly_kite.number]}
    assert run(empty=False)[TEST[1]] == "SampleFiltered: no annotated pair"


@pytest.mark.parametrize("order", ["", "_coco_order"])
def test_json_in_either_object_order_says_what_the_mat_file_says(imported, order):
    from_json = run(annotations=str(DATA / f"instances_test2015{order}.json"))
    assert list(from_json) == TEST
    assert from_json[TEST[0]] == imported[TEST[0]]
    assert from_json[TEST[1]]["meta.json"]["extra"] == {}  # JSON knows nothing of invisible ones


def test_json_is_found_in_the_folder(tmp_path):
    shutil.copytree(DATA / "images", tmp_path / "images")
    shutil.copy(DATA / "instances_test2015.json", tmp_path)
    assert list(run(tmp_path, split="test")) == TEST
    with pytest.raises(UsageError, match=r"instances_train2015\.json"):
        run(tmp_path)


def test_lists_in_another_order_than_the_numbers_are_refused(tmp_path):
    """CMMP's numbers with upstream's list of names: every object would be mislabelled."""
    body = json.loads((DATA / "instances_test2015.json").read_text())
    other = json.loads((DATA / "instances_test2015_coco_order.json").read_text())
    body["objects"] = other["objects"]
    file = tmp_path / "instances_test2015.json"
    file.write_text(json.dumps(body))
    with pytest.raises(UsageError, match="class 1 is 'board person', HICO-DET's is 'board air"):
        run(annotations=str(file))


def test_files_of_another_kind_are_refused(tmp_path):
    from scipy.io import savemat

    bad = tmp_path / "a.mat"
    for content in (b"nonsense", b"", b"MATLAB 5.0 MAT-file" + bytes(200)):
        bad.write_bytes(content)
        with pytest.raises(UsageError, match=r"a\.mat"):
            run(annotations=str(bad))
    savemat(bad, {"bbox_train": numpy.zeros(3)})
    with pytest.raises(UsageError, match="not HICO-DET's"):
        run(annotations=str(bad))
    wrong = tmp_path / "a.json"
    for text in ("{}", "[", '{"correspondence": [[999, 0, 0]], "verbs": ["a"], "objects": ["b"]}'):
        wrong.write_text(text)
        with pytest.raises(UsageError, match="not HICO-DET's"):
            run(annotations=str(wrong))
    with pytest.raises(UsageError, match="no such file"):
        run(annotations=str(tmp_path / "none.mat"))
    with pytest.raises(UsageError, match="--images"):
        run(tmp_path)
    with pytest.raises(UsageError, match="--split"):
        run(split="val")


def test_boxes_without_area_drop_their_pair_and_wrong_sizes_fail(tmp_path):
    body = json.loads((DATA / "instances_test2015.json").read_text())
    body["annotation"][0]["boxes_o"] = [[65, 1, 70, 48]]  # beyond the right edge
    file = tmp_path / "instances_test2015.json"
    file.write_text(json.dumps(body))
    sample = run(annotations=str(file))[TEST[0]]
    assert sample["interactions.json"]["interactions"] == []
    assert sample["meta.json"]["extra"]["dropped"][0]["pair"] == 1
    body["size"][0] = [48, 48]
    file.write_text(json.dumps(body))
    assert "not the same picture" in run(annotations=str(file))[TEST[0]]


def test_the_classes():
    classes = hico_det.classes()
    assert len(classes) == 600
    assert [c.number for c in classes] == list(range(1, 601))
    assert sum(c.rare for c in classes) == 138
    assert sum(c.verb == "no interaction" for c in classes) == 80
    assert len({c.verb for c in classes}) == 117
    assert len({c.object for c in classes}) == 80
    assert classes[0][1:3] == ("board", "airplane")
    assert [c.number for c in classes if c.rare][:3] == [9, 23, 28]

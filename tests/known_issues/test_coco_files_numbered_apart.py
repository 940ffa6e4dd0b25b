"""What joins COCO's files was taken for one numbering where tools number each file by itself.

Captions and keypoints went to the picture that had their picture's number in the instances' file; a
person whose annotation had another number there was two people; keypoints without a category
vanished; ``"iscrowd": "0"`` was a crowd. And `annotate-pose` made a person of each crowd region.
"""

from __future__ import annotations

import json

import pytest
from conftest import picture
from parts import part

from socialcli import records
from socialcli.shards import Sample
from socialcli.stages import _people
from socialcli.stages.annotate_pose import AnnotatePoseStage, Config, Loaded

PERSON = {"id": 1, "name": "person", "keypoints": list(records.COCO_KEYPOINTS)}
AT = {"left": (0, 0, 6, 12), "right": (8, 0, 8, 12)}


def image(number, name):
    return {"id": number, "file_name": name, "width": 16, "height": 12}


def box(number, of, at="left", category=1, **more):
    return {"id": number, "image_id": of, "category_id": category, "bbox": AT[at], **more}


def said(**texts):
    """Captions ``of_b="1"``: "of b", of picture number 1."""
    return [
        {"id": n, "image_id": int(of), "caption": text.replace("_", " ")}
        for n, (text, of) in enumerate(texts.items())
    ]


def skeleton(x):
    return [x, 3, 2] * 17


@pytest.fixture
def imported(tmp_path):
    """(key -> members, parsed; what was remarked) of files called instances, captions..."""

    def do(files=("a.jpg", "b.jpg"), **bodies):
        for name in files:
            (tmp_path / "val" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "val" / name).write_bytes(picture(1))
        for name, (images, stated) in bodies.items():
            body = {"images": images, "annotations": stated, "categories": [PERSON]}
            (tmp_path / f"{name}_val.json").write_text(json.dumps(body))
        importer = part("importers", "coco")
        config = importer.config_type(source=str(tmp_path), images=str(tmp_path / "val"))
        entries = list(importer.entries(config))
        made = {}
        for entry in entries:
            members = importer.build(config, entry)
            made[entry.key] = {k: json.loads(v) for k, v in members.items() if k.endswith("json")}
        return made, list(importer.remarks)

    return do


def texts(made):
    return {k: m["caption.json"]["text"] if "caption.json" in m else None for k, m in made.items()}


def noses(sample):
    """Box -> where across the nose of its person is, None without keypoints."""
    people = sample["people.json"]["people"]
    found = {p["box"]: p.get("keypoints", {}).get("points") for p in people}
    return {box: points and points[0][0] for box, points in found.items()}


@pytest.mark.parametrize(
    "names",
    [
        ("a.jpg", "b.jpg"),
        ("val/a.jpg", "val/b.jpg"),
        ("a.png", "b.png"),
        ("C:\\x\\A.JPG", "./b.jpg"),
    ],
)
def test_pictures_are_joined_by_their_names(imported, names):
    own = [image(1, "a.jpg"), image(2, "b.jpg")]
    other = [image(2, names[0]), image(1, names[1])]
    made, remarks = imported(
        instances=(own, [box(1, 1), box(2, 2)]),
        captions=(other, said(of_a=2, of_b=1)),
        person_keypoints=(
            other,
            [box(1, 2, keypoints=skeleton(2)), box(2, 1, keypoints=skeleton(4))],
        ),
    )
    assert texts(made) == {"a": "of a", "b": "of b"}
    assert (noses(made["a"]), noses(made["b"])) == ({1: 0.125}, {1: 0.25})
    assert remarks == []


def test_what_is_of_a_picture_that_the_instances_lack_is_left_out(imported):
    made, (remark,) = imported(
        instances=([image(1, "a.jpg"), image(2, "b.jpg")], []),
        captions=([image(1, "zebra.jpg")], said(of_a_zebra=1)),
    )
    assert texts(made) == {"a": None, "b": None}
    assert "1 of its 1 captions annotations are left out" in remark and "'zebra.jpg'" in remark


@pytest.mark.parametrize(
    "other",
    [
        [image(1, "x/1.jpg"), image(2, "y/1.jpg")],
        [image(1, "1.jpg"), image(2, "1.jpg")],  # nothing but the number tells them apart
        [image(1, None), image(2, "")],
    ],
)
def test_the_same_numbering_stays(imported, other):
    made, remarks = imported(
        files=("x/1.jpg", "y/1.jpg"),
        instances=([image(1, "x/1.jpg"), image(2, "y/1.jpg")], []),
        captions=(other, said(of_1=1, of_2=2)),
    )
    assert list(texts(made).values()) == ["of 1", "of 2"] and remarks == []


def test_two_files_of_one_name_but_for_the_suffix(imported):
    own = [image(1, "a.jpg"), image(2, "a.png")]
    other = [image(2, "a.jpg"), image(1, "a.png")]
    made, _ = imported(
        files=("a.jpg", "a.png"), instances=(own, []), captions=(other, said(of_jpg=2, of_png=1))
    )
    assert list(texts(made).values()) == ["of jpg", "of png"]


@pytest.mark.parametrize("numbers", [(2, 1), (77, 78), (None, None)])
@pytest.mark.parametrize("category", [1, None])
def test_a_person_of_another_number_is_no_second_one(imported, numbers, category):
    people = [
        box(numbers[0], 1, "left", category, keypoints=skeleton(2)),
        box(numbers[1], 1, "right", category, keypoints=skeleton(12)),
    ]
    one = [image(1, "a.jpg")]
    made, _ = imported(
        instances=(one, [box(1, 1, "left"), box(2, 1, "right")]), person_keypoints=(one, people)
    )
    assert noses(made["a"]) == {1: 0.125, 2: 0.75}


@pytest.mark.parametrize("written", [0, "0", 0.0, "0.0", False, None, "", "false"])
def test_what_is_no_crowd(imported, written):
    made, _ = imported(instances=([image(1, "a.jpg")], [box(1, 1, iscrowd=written)]))
    assert list(noses(made["a"])) == [1]


@pytest.mark.parametrize("written", [1, "1", 1.0, True, "true"])
def test_a_crowd_region_is_nobody_to_annotate_pose(imported, written):
    annotations = [box(1, 1), box(2, 1, "right", iscrowd=written)]
    made, _ = imported(instances=([image(1, "a.jpg")], annotations))
    assert list(noses(made["a"])) == [1]
    members = {name: json.dumps(body).encode() for name, body in made["a"].items()}
    for without in ((), ("people.json",)):
        shown = {n: b for n, b in members.items() if n not in without}
        sample = Sample("a", {"jpg": picture(1), **shown})
        work = AnnotatePoseStage().prepare(Config(), sample)
        (scene,) = _people.scenes(Config(), set(), Loaded(), [work])
        assert [person.box for person in scene.people] == [1]

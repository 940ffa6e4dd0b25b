"""annotate-pose --pose-backend xpose: people, animals and things get keypoints, by the real CLI."""

from __future__ import annotations

import dataclasses
import json

import pytest
import scenes
from conftest import members
from tiny import people as tiny
from tiny import xpose

from socialcli import records, shards

SIZE = (240, 30)  # of the pictures: X-Pose looks at them in 1333 x 166 pixels
# All large: the tiny network's boxes are random, and large.
PLACES = {
    1: (0.0, 0.0, 0.6, 1.0), 2: (0.1, 0.1, 0.9, 0.95), 3: (0.4, 0.0, 1.0, 1.0),
    9: (0.05, 0.15, 0.95, 1.0),
}  # fmt: skip
SPOT = (0.5, 0.25, 2.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    xpose.xpose(folder / "xpose")
    tiny.insightface_pack(folder / "pack", recogniser=False)
    tiny.vitpose(folder / "vitpose")
    return folder


def sample(annotated=False):
    """A woman, a man, a dog and a chair; the dog's keypoints are annotated if wanted."""
    by_suffix = scenes.all_records(SIZE)
    for name in ("people.json", "interactions.json", "masks.json", "layout.json"):
        del by_suffix[name]
    listed = by_suffix["boxes.json"]
    chair = records.Box(9, PLACES[9], "a wooden chair", None, 0.5)
    boxes = [
        dataclasses.replace(box, xyxy=PLACES.get(box.id, box.xyxy))
        for box in (*listed.boxes, chair)
    ]
    if annotated:
        known = records.Keypoints([SPOT] * 17, None, "animal", "annotation")
        boxes[1] = dataclasses.replace(boxes[1], keypoints=known)
    by_suffix["boxes.json"] = dataclasses.replace(listed, boxes=boxes)
    dumped = {name: records.dump(record) for name, record in by_suffix.items()}
    return {"jpg": scenes.picture(size=SIZE), **dumped}


@pytest.fixture
def annotate(models, tmp_path, run_cli):
    def run(source, *more, backend="xpose"):
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        options = ["--with", "pose", "--face-model", models / "pack", "--pose-backend", backend,
                   "--pose-model", models / backend, "--device", "cpu"]  # fmt: skip
        run_cli("annotate-pose", source, "-o", out, *options, *more)
        return out, members(out)["a"]

    return run


def boxes_of(result):
    return {b.id: b for b in records.load(records.Boxes, result["boxes.json"]).boxes}


def test_everybody_and_everything_gets_keypoints(annotate, tmp_path):
    shards.write(tmp_path / "some.tar", [("a", given := sample())])
    out, result = annotate(tmp_path / "some.tar")
    people = records.load(records.People, result["people.json"])
    assert [p.keypoints.layout for p in people.people] == ["coco17", "coco17"]
    assert people.models["pose"].backend == "xpose"
    boxes, before = boxes_of(result), boxes_of(given)
    layouts = {n: b.keypoints.layout for n, b in boxes.items() if b.keypoints is not None}
    assert layouts == {2: "animal", 9: "chair"}
    assert {boxes[n].keypoints.source for n in layouts} == {"xpose"}
    assert all(dataclasses.replace(b, keypoints=None) == before[n] for n, b in boxes.items())
    listed = records.load(records.Boxes, result["boxes.json"])
    assert list(records.sources.parts(listed)).count(("poses", "xpose")) == 2
    _, again = annotate(out)
    assert again["boxes.json"] == result["boxes.json"]


def test_annotated_keypoints_of_things_stay(annotate, tmp_path):
    shards.write(tmp_path / "some.tar", [("a", given := sample(annotated=True))])
    _, result = annotate(tmp_path / "some.tar", "--replace")
    dog, chair = (boxes_of(result)[n].keypoints for n in (2, 9))
    assert dog.source == "annotation" and dog.points[0] == SPOT and chair.source == "xpose"
    annotated = [dataclasses.replace(b, source="annotation") for b in boxes_of(result).values()]
    listed = records.Boxes(*SIZE, annotated)
    kept = records.sources.only(listed, True).boxes
    assert [box.id for box in kept if box.keypoints is not None] == [2]
    _, other = annotate(tmp_path / "some.tar", "--replace", backend="vitpose")
    assert other["boxes.json"] == given["boxes.json"]


def test_keypoints_of_boxes_are_counted():
    body = json.loads(sample(annotated=True)["boxes.json"])
    body["boxes"][1]["keypoints"]["scores"] = [0.5]
    with pytest.raises(records.Refused, match="box 2: 1 scores for 17 keypoints"):
        records.load(records.Boxes, json.dumps(body).encode())
    body["boxes"][1]["keypoints"] = {"points": [[0.5, 0.5, 2]] * 16, "layout": "animal"}
    with pytest.raises(records.Refused, match="box 2: 16 keypoints, animal has 17"):
        records.load(records.Boxes, json.dumps(body).encode())

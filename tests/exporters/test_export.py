"""`socialcli export`: what pycocotools reads is what the records say, in pixels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy
import pytest
import scenes
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from typer.testing import CliRunner

from socialcli import records, shards
from socialcli.cli import app
from socialcli.exporters import coco
from socialcli.vision import masks as rle

FIXTURE = Path(__file__).parents[1] / "data" / "coco"


@dataclass
class Done:
    returncode: int
    stdout: bytes
    stderr: bytes


def run(*arguments, check: bool = False) -> Done:
    """The command line, in this process: what a subprocess spends on starting adds up."""
    result = CliRunner().invoke(app.app, [str(a) for a in arguments])
    done = Done(result.exit_code, result.stdout_bytes, result.stderr.encode())
    assert done.returncode == 0 or not check, done.stderr
    return done


def exported(tmp_path, *arguments, samples=None) -> dict:
    """The JSON of an export of ``samples`` (by default two whole ones)."""
    samples = samples or [("a/k0", scenes.members(0)), ("a/k1", scenes.members(1))]
    shards.write(tmp_path / "in.tar", samples)
    done = run("export", tmp_path / "in.tar", "-o", tmp_path / "out.json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "out.json").read_text())


def test_pycocotools_reads_what_the_records_say(tmp_path):
    exported(tmp_path)
    api = COCO(tmp_path / "out.json")
    assert sorted(api.imgs) == [1, 2]
    assert api.imgs[2]["file_name"] == "a/k1.jpg"
    assert (api.imgs[2]["width"], api.imgs[2]["height"]) == (scenes.WIDTH, scenes.HEIGHT)
    annotations = api.loadAnns(api.getAnnIds(imgIds=[2]))
    assert len(annotations) == 4
    by_box = {a["ids"]["box"]: a for a in annotations}
    assert by_box[1]["ids"] == {"box": 1, "mask": 1, "person": 1, "entity": 1}
    for box, xyxy in ((1, scenes.WOMAN), (2, scenes.DOG)):
        mask = scenes.mask(xyxy)
        assert numpy.array_equal(api.annToMask(by_box[box]).astype(bool), mask)
        assert by_box[box]["area"] == mask.sum()
        left, top, right, bottom = xyxy
        expected = [left * 120, top * 80, (right - left) * 120, (bottom - top) * 80]
        assert numpy.allclose(by_box[box]["bbox"], expected, atol=0.011)
    assert "segmentation" not in by_box[7] and by_box[7]["area"] == pytest.approx(120 * 8)
    names = {c["id"]: c["name"] for c in api.dataset["categories"]}
    assert {box: names[a["category_id"]] for box, a in by_box.items()} == {
        1: "person", 2: "dog", 3: "person", 7: "floor",
    }  # fmt: skip
    groups = {c["name"]: c["supercategory"] for c in api.dataset["categories"]}
    assert groups == {"person": "person", "dog": "animal", "floor": "object"}
    assert by_box[1]["label"] == "A woman in red"
    assert len({a["id"] for a in api.dataset["annotations"]}) == 8
    assert len(api.getAnnIds(catIds=[1], areaRng=[0, 1e9], iscrowd=False)) == 4
    assert api.dataset["licenses"] == [{"id": 1, "name": "CC0", "url": ""}]
    assert api.dataset["info"]["models"]["boxes"] == [
        {"backend": "grounding-dino", "model": "tiny", "revision": "abc123"}
    ]


def test_keypoints_are_pixels_and_zero_where_not_labelled(tmp_path):
    body = exported(tmp_path)
    woman = next(a for a in body["annotations"] if a["ids"].get("box") == 1)
    flat = numpy.reshape(woman["keypoints"], (17, 3))
    expected = numpy.array(scenes.keypoints(scenes.WOMAN).points)
    assert flat[15].tolist() == [0, 0, 0]
    assert woman["num_keypoints"] == 16
    assert flat[:, 2].tolist() == expected[:, 2].tolist()
    seen = expected[:, 2] > 0
    assert numpy.allclose(flat[seen, :2], (expected[:, :2] * [120, 80])[seen], atol=0.006)
    person = body["categories"][0]
    assert (person["id"], person["keypoints"]) == (1, list(records.COCO_KEYPOINTS))
    assert [6, 12] in person["skeleton"] and numpy.min(person["skeleton"]) == 1


def test_keypoints_of_animals_are_those_of_their_category(tmp_path):
    """Of the first layout that a dog has; a dog's face beside them has others, and is left out."""
    from socialcli.records import keypoint_layouts

    animal, face = (keypoint_layouts.layout(name) for name in ("animal", "animal_face"))

    def with_points(name, layout):
        points = [(0.5, 0.25, 2 if n else 0) for n in range(len(layout.names))]
        return records.Keypoints(points, layout=name, source="xpose")

    members = scenes.all_records()
    boxes = members["boxes.json"]
    boxes.boxes[1].keypoints = with_points("animal", animal)
    boxes.boxes.append(records.Box(8, (0.1, 0.1, 0.3, 0.3), "dog", None, 0.5))
    boxes.boxes[-1].keypoints = with_points("animal_face", face)
    body = exported(tmp_path, samples=[("one", scenes.members(0, {"boxes.json": boxes}))])
    by_box = {a["ids"].get("box"): a for a in body["annotations"]}
    dog = by_box[2]
    assert dog["keypoints"][:6] == [0, 0, 0, 60.0, 20.0, 2]
    assert dog["num_keypoints"] == len(animal.names) - 1 == len(dog["keypoints"]) // 3 - 1
    assert dog["sources"]["keypoints"] == "xpose"
    assert "keypoints" not in by_box[8] and "keypoints" not in by_box[8]["sources"]
    known = {c["name"]: c for c in body["categories"]}
    assert [n.replace("_", " ") for n in known["dog"]["keypoints"]] == list(animal.names)
    assert known["dog"]["skeleton"] == [[a + 1, b + 1] for a, b in animal.limbs]
    assert "keypoints" not in known["floor"] and len(known["person"]["keypoints"]) == 17


def test_results_load_and_score_perfectly(tmp_path):
    """The export evaluated against itself as detections: every average precision is 1."""
    body = exported(tmp_path)
    truth = COCO(tmp_path / "out.json")
    results = [
        {**{k: a[k] for k in ("image_id", "category_id", "segmentation")}, "score": 0.9}
        for a in body["annotations"]
        if "segmentation" in a
    ]
    kept = [a["id"] for a in body["annotations"] if "segmentation" in a]
    truth.dataset["annotations"] = truth.loadAnns(kept)
    truth.createIndex()
    detections = truth.loadRes(results)
    assert sorted(a["area"] for a in detections.dataset["annotations"]) == sorted(
        a["area"] for a in truth.dataset["annotations"]
    )
    evaluation = COCOeval(truth, detections, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == 1.0

    people = [a for a in body["annotations"] if a.get("num_keypoints")]
    truth.dataset["annotations"] = people
    truth.createIndex()
    poses = [{k: a[k] for k in ("image_id", "category_id", "keypoints")} for a in people]
    evaluation = COCOeval(truth, truth.loadRes([{**p, "score": 0.9} for p in poses]), "keypoints")
    evaluation.params.kptOksSigmas = numpy.full(17, 0.05)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == 1.0


def test_folder_gives_three_files_that_each_load(tmp_path):
    shards.write(tmp_path / "in.tar", [("k0", scenes.members(0)), ("k1", scenes.members(1))])
    done = run("export", tmp_path / "in.tar", "-o", tmp_path / "coco", "--name", "val")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path / "coco")) == [
        "captions_val.json", "instances_val.json", "person_keypoints_val.json",
    ]  # fmt: skip
    captions = COCO(tmp_path / "coco" / "captions_val.json")
    texts = [a["caption"] for a in captions.loadAnns(captions.getAnnIds(imgIds=[1]))]
    assert texts == [scenes.TEXT, "Two people."]
    people = COCO(tmp_path / "coco" / "person_keypoints_val.json")
    loaded = people.loadAnns(people.getAnnIds(imgIds=[1], catIds=[1]))
    # The man's pose is not known: none of his keypoints is labelled, as COCO has it.
    assert [(a["num_keypoints"], len(a["keypoints"])) for a in loaded] == [(16, 51), (0, 51)]
    assert [c["name"] for c in people.dataset["categories"]] == ["person"]


def test_people_and_masks_without_a_box_are_exported_too(tmp_path):
    people = scenes.all_records()["people.json"]
    for person in people.people:
        person.box = person.entity = None
    people.people[1].xyxy = scenes.MAN
    people.people.append(records.Person(3, face=records.Face((0.1, 0.1, 0.2, 0.2))))
    masks = scenes.all_records()["masks.json"]
    masks.masks = masks.masks[:1]
    masks.masks[0].box = None
    changed = {"boxes.json": None, "people.json": people, "masks.json": masks}
    body = exported(tmp_path, samples=[("k", scenes.members(0, changed))])
    mask, pose, standing = body["annotations"]
    rows, columns = scenes.mask(scenes.WOMAN).nonzero()
    extent = [columns.min(), rows.min(), numpy.ptp(columns) + 1, numpy.ptp(rows) + 1]
    assert mask["bbox"] == extent
    points = [p for p in scenes.keypoints(scenes.WOMAN).points if p[2]]
    assert pose["bbox"][0] == pytest.approx(min(p[0] for p in points) * 120, abs=0.01)
    assert pose["num_keypoints"] == 16
    assert standing["bbox"] == pytest.approx([84, 12, 24, 60], abs=0.02)


def test_coco_goes_in_and_comes_out(tmp_path):
    """The official layout imported and exported again: boxes, masks, keypoints, crowds, texts."""
    run("import", "coco", FIXTURE, "-o", tmp_path / "shards", "--max-error-rate", "1", check=True)
    official = FIXTURE / "annotations" / "instances_val2017.json"
    arguments = ("-o", tmp_path / "out", "--name", "val2017", "--categories", official)
    done = run("export", tmp_path / "shards", *arguments)
    assert done.returncode == 0, done.stderr
    before = COCO(official)
    after = COCO(tmp_path / "out" / "instances_val2017.json")
    names = {c["name"]: c["id"] for c in after.dataset["categories"]}
    assert {c["name"]: c["id"] for c in before.dataset["categories"]}.items() <= names.items()
    compared = masks = 0
    for sample in shards.read(str(tmp_path / "shards" / "000000.tar")):
        meta = sample.record(records.Meta)
        if meta.orientation != 1:
            continue  # turned pictures: the numbers are of the upright one
        image = next(i for i in after.dataset["images"] if i["key"] == sample.key)
        for returned in after.loadAnns(after.getAnnIds(imgIds=[image["id"]])):
            original = before.anns[meta.extra["annotations"][str(returned["ids"]["box"])]]
            assert returned["category_id"] == original["category_id"]
            assert returned["iscrowd"] == original["iscrowd"]
            size = (meta.width, meta.height)
            if "annotated_size" in meta.extra:
                continue
            x, y, w, h = original["bbox"]
            clipped = [max(x, 0), max(y, 0), min(x + w, size[0]), min(y + h, size[1])]
            clipped[2:] = clipped[2] - clipped[0], clipped[3] - clipped[1]
            assert numpy.allclose(returned["bbox"], clipped, atol=0.02)
            if "segmentation" in returned:
                assert numpy.array_equal(after.annToMask(returned), before.annToMask(original))
                masks += 1
            compared += 1
    assert (compared, masks) == (3, 2)  # what the fixture has of upright, unscaled annotations


def test_pictures_are_written_byte_for_byte_and_stay_in_their_folder(tmp_path):
    samples = [("a/k0", scenes.members(0)), ("new\nline *", scenes.members(1))]
    body = exported(tmp_path, "--images", tmp_path / "pictures", samples=samples)
    for entry, (_, members) in zip(body["images"], samples, strict=True):
        assert (tmp_path / "pictures" / entry["file_name"]).read_bytes() == members["jpg"]
    assert not any(c in body["images"][1]["file_name"] for c in "\n*")
    # A link inside the folder that leads out of it is not followed.
    (tmp_path / "outside").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a").symlink_to(tmp_path / "outside")
    arguments = ("--images", tmp_path / "linked", "--max-error-rate", "1")
    done = run("export", tmp_path / "in.tar", "-o", tmp_path / "o.json", *arguments)
    assert done.returncode == 0
    assert b"outside" in done.stderr
    assert os.listdir(tmp_path / "outside") == []


def test_names_that_would_escape(tmp_path):
    import io
    import tarfile

    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        for name in ("../../evil.jpg", "/abs.jpg", "good.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(scenes.picture())
            tar.addfile(info, io.BytesIO(scenes.picture()))
    arguments = ("--images", tmp_path / "deep" / "pictures", "--max-error-rate", "1")
    run("export", tmp_path / "in.tar", "-o", tmp_path / "deep" / "o.json", *arguments, check=True)
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert files == {"in.tar", "deep/o.json", "deep/pictures/good.jpg"}


def test_too_many_failures_write_nothing(tmp_path):
    bad = scenes.members(1, {"masks.json": b"{"})
    shards.write(tmp_path / "in.tar", [("k0", scenes.members()), ("k1", bad)])
    (tmp_path / "out.json").write_text("as it was")
    done = run("export", tmp_path / "in.tar", "-o", tmp_path / "out.json")
    assert done.returncode == 1 and b"k1: masks.json" in done.stderr
    assert (tmp_path / "out.json").read_text() == "as it was"
    assert sorted(os.listdir(tmp_path)) == ["in.tar", "out.json"]
    done = run("export", tmp_path / "in.tar", "-o", tmp_path / "out.json", "--max-error-rate", ".5")
    assert done.returncode == 0
    assert len(json.loads((tmp_path / "out.json").read_text())["images"]) == 1


def test_damage_is_not_passed_over_in_silence(tmp_path):
    shards.write(tmp_path / "in.tar", [(f"k{i}", scenes.members(i)) for i in range(3)])
    data = (tmp_path / "in.tar").read_bytes()
    (tmp_path / "in.tar").write_bytes(b"x" * 1024 + data[: len(data) - 9000])
    done = run("export", tmp_path / "in.tar", "-o", "-", "--max-error-rate", "1")
    assert b"damaged: 1024 bytes" in done.stderr and b"k2: " in done.stderr
    assert [i["key"] for i in json.loads(done.stdout)["images"]] == ["k0", "k1"]
    assert run("export", tmp_path / "in.tar", "-o", "-", "--limit", "1").returncode == 1


def test_bad_run_lengths_never_reach_pycocotools(tmp_path):
    """A code whose runs pass its end would be read outside its memory."""
    masks = scenes.all_records()["masks.json"]
    masks.masks[0].rle = {"size": [80, 120], "counts": "oooooo1" * 3}
    masks.masks[0].box = None
    sample = shards.Sample("k", scenes.members(0, {"masks.json": scenes.raw(masks)}))
    with pytest.raises(coco.SampleFailed, match="run-length"):
        coco.convert(sample, coco.Numbers())


def test_stdout_and_pipes(tmp_path):
    shards.write(tmp_path / "in.tar", [("k0", scenes.members())])
    command = [sys.executable, "-m", "socialcli", "export", "-", "-o", "-"]
    data = (tmp_path / "in.tar").read_bytes()
    done = subprocess.run(command, input=data, capture_output=True, timeout=300)
    assert done.returncode == 0
    body = json.loads(done.stdout)
    assert len(body["annotations"]) == 4
    assert rle.area(body["annotations"][0]["segmentation"]) == body["annotations"][0]["area"]


def test_usage_errors_are_one_line(tmp_path):
    shards.write(tmp_path / "in.tar", [("k0", scenes.members())])
    for arguments, word in [
        (("--format", "voc"), b"coco"),
        (("--part", "panoptic"), b"person_keypoints"),
        (("--name", "../x"), b"--name"),
        (("--categories", tmp_path / "in.tar"), b"categories"),
    ]:
        done = run("export", tmp_path / "in.tar", "-o", tmp_path / "o.json", *arguments)
        assert done.returncode == 2, done.stderr
        assert word in done.stderr and len(done.stderr.splitlines()) == 1


def test_two_samples_of_one_name(tmp_path):
    samples = [("a?", scenes.members(0)), ("a*", scenes.members(1))]
    shards.write(tmp_path / "in.tar", samples)
    done = run("export", tmp_path / "in.tar", "-o", "-", "--max-error-rate", "1")
    assert b"another sample is called" in done.stderr
    assert [i["key"] for i in json.loads(done.stdout)["images"]] == ["a?"]

"""What is written for other programs is loaded by them, in every shape that the options can give.

COCO JSON by pycocotools, shards by webdataset and by Python's own tarfile.
"""

from __future__ import annotations

import contextlib
import io
import tarfile

import pytest
from conftest import picture, samples

from socialcli import records, shards

SIZE = (24, 18)
PARTS = ("instances", "person_keypoints", "captions")


def annotated(number: int, kind: str) -> dict[str, bytes]:
    """A picture with all annotations, with boxes alone, with a caption alone, or with none."""
    members = {"jpg": picture(number, SIZE)}
    model = records.Model("ground-truth")
    if kind in ("all", "boxes"):
        boxes = [
            records.Box(1, (0.1, 0.1, 0.5, 0.9), "person"),
            records.Box(2, (0.4, 0.2, 0.9, 0.7), "hot dog"),
            records.Box(3, (0.0, 0.0, 1.0, 1.0), ""),
        ]
        members["boxes.json"] = records.dump(records.Boxes(*SIZE, boxes, model))
    if kind == "all":
        import numpy

        from socialcli.vision import masks as rle

        area = numpy.zeros(SIZE[::-1], bool)
        area[4:9, 3:11] = True
        masks = [records.Mask(1, rle.encode(area), box=1)]
        members["masks.json"] = records.dump(records.Masks(*SIZE, masks, model))
        points = records.Keypoints([(0.2, 0.3, 2.0)] * 16 + [(0.0, 0.0, 0.0)])
        person = records.Person(1, box=1, keypoints=points)
        members["people.json"] = records.dump(records.People(*SIZE, [person]))
    if kind in ("all", "caption"):
        text = records.Caption("a “man” & a dog\u2028on a hill", ["another"], model)
        members["caption.json"] = records.dump(text)
    return members


KINDS = {
    "whole": ["all"] * 3,
    "boxes only": ["boxes", "boxes"],
    "captions only": ["caption"],
    "pictures only": ["none", "none"],
    "mixed": ["none", "all", "caption", "boxes"],
    "nothing": [],
}


def written(tmp_path, kind: str):
    keys = ["a/0", "写真 1", "c", "d"]
    pairs = zip(keys, KINDS[kind], strict=False)
    rows = [(key, annotated(n, one)) for n, (key, one) in enumerate(pairs)]
    shards.write(tmp_path / "s.tar", rows)
    return tmp_path / "s.tar"


def coco(text: bytes, tmp_path):
    from pycocotools.coco import COCO

    (tmp_path / "loaded.json").write_bytes(text)
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(tmp_path / "loaded.json"))


def held_together(exported) -> None:
    """Every link of the file leads somewhere, and every annotation can be drawn."""
    for annotation in exported.loadAnns(exported.getAnnIds()):
        image = exported.imgs[annotation["image_id"]]
        if "caption" in annotation:
            assert annotation["caption"].strip()
            continue
        assert annotation["category_id"] in exported.cats
        assert annotation["iscrowd"] in (0, 1) and annotation["area"] > 0
        x, y, w, h = annotation["bbox"]
        assert x >= 0 and y >= 0 and x + w <= image["width"] + 1e-6 and w > 0 and h > 0
        if annotation.get("segmentation"):
            assert exported.annToMask(annotation).shape == (image["height"], image["width"])
        if "keypoints" in annotation:
            assert len(annotation["keypoints"]) == 51 and annotation["num_keypoints"] <= 17


@pytest.mark.parametrize("kind", KINDS)
def test_coco_of_every_kind_of_sample(kind, tmp_path, run_cli):
    run_cli("export", written(tmp_path, kind), "-o", tmp_path / "c", "--images", tmp_path / "p")
    for part in PARTS:
        exported = coco((tmp_path / "c" / f"{part}_all.json").read_bytes(), tmp_path)
        held_together(exported)
        assert len(exported.imgs) == len(KINDS[kind])
        for image in exported.imgs.values():
            assert (tmp_path / "p" / image["file_name"]).is_file()


def test_coco_with_every_option(tmp_path, run_cli):
    shard = written(tmp_path, "mixed")
    run_cli("export", shard, "-o", tmp_path / "c", "--name", "train2017")
    for part in PARTS:
        text = (tmp_path / "c" / f"{part}_train2017.json").read_bytes()
        assert run_cli("export", shard, "-o", "-", "--part", part).stdout == text
    run_cli("export", shard, "-o", tmp_path / "one.json", "--limit", 2)
    assert len(coco((tmp_path / "one.json").read_bytes(), tmp_path).imgs) == 2
    whole = tmp_path / "c/instances_train2017.json"
    run_cli("export", shard, "-o", tmp_path / "again.json", "--categories", whole)
    again = coco((tmp_path / "again.json").read_bytes(), tmp_path)
    held_together(again)
    with contextlib.redirect_stdout(io.StringIO()):  # a result that can be scored against itself
        from pycocotools.cocoeval import COCOeval

        rows = [{**a, "score": 1.0} for a in again.dataset["annotations"]]
        judge = COCOeval(again, again.loadRes(rows), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert judge.stats[0] == pytest.approx(1)


SHAPES = {
    "one": ["-o", "o"],
    "pattern": ["-o", "o/%04d.tar"],
    "named": ["-o", "o/{name}-x.tar"],
    "sidecar": ["-o", "o", "--sidecar"],
    "workers": ["-o", "o", "--workers", "2"],
    "limit": ["-o", "o", "--limit", "3"],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shards_in_every_shape(shape, tmp_path, run_cli):
    wds = pytest.importorskip("webdataset")
    (tmp_path / "in").mkdir()
    odd = [
        ("a b/写真", {"jpg": picture(9), "txt": b"x"}),
        ("k" * 120, {"jpg": picture(8), "txt": b"y"}),
    ]
    rows = [*samples(0, 4), *odd]
    shards.write(tmp_path / "in/0.tar", rows[:3])
    shards.write(tmp_path / "in/1.tar", rows[3:])
    run_cli("caption", "in", *SHAPES[shape], "--backend", "given", cwd=tmp_path)
    tars = sorted((tmp_path / "o").glob("*.tar"))
    assert len(tars) == (1 if shape == "limit" else 2)
    by_key = {s.key: s.members for t in tars for s in shards.read(str(t))}
    read_back = {
        s["__key__"]: {k: v for k, v in s.items() if not k.startswith("__")}
        for t in tars
        for s in wds.WebDataset(str(t), shardshuffle=False)
    }
    assert read_back == by_key and len(by_key) == (3 if shape == "limit" else 6)
    for tar in tars:
        with tarfile.open(tar) as archive:
            names = [member.name for member in archive if member.isreg()]
        assert len(names) == sum(len(s.members) for s in shards.read(str(tar)))


def test_shards_on_stdout_are_one_archive(tmp_path, run_cli):
    wds = pytest.importorskip("webdataset")
    for number in range(2):
        shards.write(tmp_path / f"in/{number}.tar", samples(3 * number, 3 * number + 3))
    done = run_cli("caption", tmp_path / "in", "-o", "-", "--backend", "given")
    (tmp_path / "all.tar").write_bytes(done.stdout)
    read_back = list(wds.WebDataset(str(tmp_path / "all.tar"), shardshuffle=False))
    assert [s["__key__"] for s in read_back] == [f"{n:05d}" for n in range(6)]

"""Boxes that exporters of COCO and HICO round past the edge were clipped without a word.

Whoever gave annotations of other pictures, of which half lies outside, heard as little. A box of a
layout that ended at 1.001 was refused instead.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import members, picture

SIZE = (200, 100)  # a pixel is less than 1 % of the height, half a percent of the width


def coco(folder: Path, right: float, bottom: float) -> list[str]:
    image = {"id": 1, "file_name": "a.jpg", "width": 200, "height": 100}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [-1, 20, right + 1, bottom - 20]}
    body = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "person"}]}
    (folder / "instances_val.json").write_text(json.dumps(body))
    (folder / "val").mkdir()
    (folder / "val/a.jpg").write_bytes(picture(1, SIZE))
    return ["coco", str(folder)]


def hico_det(folder: Path, right: float, bottom: float) -> list[str]:
    body = {
        "filenames": ["HICO_train2015_00000001.jpg"], "size": [[200, 100]], "correspondence": [],
        "annotation": [{"hoi": [152], "boxes_h": [[0, 21, right, bottom]],
                        "boxes_o": [[20, 20, 60, 60]]}],
    }  # fmt: skip
    (folder / "instances_train2015.json").write_text(json.dumps(body))
    (folder / "images/train2015").mkdir(parents=True)
    (folder / "images/train2015/HICO_train2015_00000001.jpg").write_bytes(picture(1, SIZE))
    return ["hico-det", str(folder), "--split", "train"]


def gazefollow(folder: Path, right: float, bottom: float) -> list[str]:
    body = f"-0.005,0.2,{right / 200 + 0.005},{bottom / 100 - 0.2}"
    row = f"train/a.jpg,1,{body},0.25,0.4,0.7,0.7,40,30,60,50,1,x,y\n"
    (folder / "train_annotations_release.txt").write_text(row)
    (folder / "train").mkdir()
    (folder / "train/a.jpg").write_bytes(picture(1, SIZE))
    return ["gazefollow", str(folder), "--split", "train"]


WAYS = [(202, 101, "slightly"), (202.1, 101, "far"), (200, 160, "far"), (202, 160, "far")]


@pytest.mark.parametrize("data_set", [coco, hico_det, gazefollow])
@pytest.mark.parametrize(("right", "bottom", "how"), WAYS)
def test_it_is_clipped_and_counted(tmp_path, run_cli, data_set, right, bottom, how):
    line = data_set(tmp_path, right, bottom)
    done = run_cli("import", *line, "-o", tmp_path / "o").stderr.decode()
    (sample,) = members(tmp_path / "o").values()
    boxes = json.loads(sample["boxes.json"])["boxes"]
    assert boxes[0]["xyxy"] == [0.0, 0.2, 1.0, 1.0]
    warning, counts = done.splitlines()
    assert warning.startswith("warning: some boxes end ") and "clipped to it" in warning
    assert ("far outside" in warning) == (how == "far")
    assert counts.endswith(f"1 ok, 0 filtered, 0 failed, 1 with boxes {how} outside"), counts


def test_what_ends_at_the_edge_is_not_spoken_of(tmp_path, run_cli):
    done = run_cli("import", *gazefollow(tmp_path, 200, 100 + 1e-5), "-o", tmp_path / "o")
    assert b"1 with boxes slightly" in done.stderr  # its left edge is a pixel outside
    (tmp_path / "train_annotations_release.txt").write_text(
        "train/a.jpg,1,0,0.2,1.0000001,0.8,0.25,0.4,0.7,0.7,40,30,60,50,1,x,y\n"
    )
    done = run_cli("import", "gazefollow", tmp_path, "--split", "train", "-o", tmp_path / "p")
    assert done.stderr.endswith(b"0 failed\n") and b"warning" not in done.stderr


@pytest.mark.parametrize(("right", "code"), [("1.005", 0), ("1.02", 1), ("nan", 1)])
def test_boxes_of_layouts_too(tmp_path, run_cli, right, code):
    (tmp_path / "a.toml").write_text(
        f'prompt = "a dog"\n[[segments]]\nbox = [0.5, -0.002, {right}, 1]\nprompt = "a dog"\n'
    )
    done = run_cli("import", "layout", tmp_path, "-o", tmp_path / "o", code=code)
    assert (b"1 with boxes slightly outside" in done.stderr) == (code == 0)
    if code:
        assert b"a box is left, top, right, bottom from 0 to 1" in done.stderr

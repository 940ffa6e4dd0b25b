"""An import said that all was there already though the annotations that its options name had been
corrected since: they were compared by their names, and the shards kept the old ones. Of those that
it finds by itself, or below the source, nothing was compared."""

from __future__ import annotations

import dataclasses
import json

import conftest
import pytest
from parts import part
from PIL import Image

from socialcli import records
from socialcli.errors import UsageError
from socialcli.pipeline import run
from socialcli.pipeline.run import RunOptions


def test_corrected_annotations_are_not_taken_for_imported_ones(tmp_path):
    pictures, file, out = tmp_path / "pictures", tmp_path / "boxes.json", tmp_path / "out"
    pictures.mkdir()
    Image.new("RGB", (40, 30), "red").save(pictures / "a.png")

    def again(label: str, **more) -> dict:
        body = {
            "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}],
            "categories": [{"id": 1, "name": label}],
        }
        file.write_text(json.dumps(body))
        config = part("importers", "coco").config_type(
            source=str(tmp_path), annotations=str(file), images=str(pictures)
        )
        options = RunOptions(quiet=True, **more)
        run.run_stage("importers", "coco", dataclasses.asdict(config), [], str(out), options)
        return conftest.members(out)["a"]

    assert again("dog") == again("dog")
    with pytest.raises(UsageError, match=r"annotations was .*boxes\.json \(crc32 "):
        again("cat")
    boxes = records.load(records.Boxes, again("cat", overwrite=True)["boxes.json"])
    assert [box.label for box in boxes.boxes] == ["cat"]


@pytest.mark.parametrize(
    ("importer", "names"),
    [
        ("coco", {"annotations", "keypoints", "captions"}), ("hico-det", {"annotations"}),
        ("gazefollow", {"annotations"}),
    ],
)  # fmt: skip
def test_all_files_of_annotations_count_by_content(importer, names):
    fields = dataclasses.fields(part("importers", importer).config_type)
    assert {field.name for field in fields if field.metadata.get("file")} == names


COCO = {
    "images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": [],
}  # fmt: skip
HICO = {"correspondence": [], "filenames": ["a_test2015.png"], "size": [[40, 30]],
        "annotation": [{"hoi": [], "boxes_h": [], "boxes_o": []}]}  # fmt: skip
GAZE = "a.png,1,0.1,0.1,0.5,0.5,0.2,0.2,0.6,0.6,1,1,9,9,{},x,y\n"


@pytest.mark.parametrize(
    ("importer", "name", "first", "corrected", "options"),
    [
        ("coco", "annotations/instances_x.json", COCO, {**COCO, "info": 1}, {}),
        ("coco", "annotations/captions_x.json", COCO, {**COCO, "info": 1}, {}),
        ("coco", "mine.json", COCO, {**COCO, "info": 1}, {"annotations": "mine.json"}),
        ("hico-det", "instances_test2015.json", HICO, {**HICO, "info": 1}, {"split": "test"}),
        ("gazefollow", "train_annotations_release.txt", GAZE.format(1), GAZE.format(0), {}),
    ],
)  # fmt: skip
def test_files_that_no_option_names(tmp_path, importer, name, first, corrected, options):
    source, out = tmp_path / "source", tmp_path / "out"
    for folder in ("annotations", "images/test2015", "x"):
        (source / folder).mkdir(parents=True)
    for place in ("a.png", "x/a.png", "images/test2015/a_test2015.png"):
        Image.new("RGB", (40, 30), "red").save(source / place)
    (source / "annotations/instances_x.json").write_text(json.dumps(COCO))
    config = vars(part("importers", importer).config_type(source=str(source), **options))

    def again(body: object) -> None:
        (source / name).write_text(body if isinstance(body, str) else json.dumps(body))
        quiet = RunOptions(quiet=True)
        assert run.run_stage("importers", importer, config, [], str(out), quiet).counts["ok"] == 1

    again(first)
    again(first)
    with pytest.raises(UsageError, match=r"annotation files was .*crc32"):
        again(corrected)
    stats = out / "000000.stats.json"
    body = json.loads(stats.read_text())
    del body["identity"]["annotation files"]  # as earlier versions wrote it
    stats.write_text(json.dumps(body))
    again(corrected)

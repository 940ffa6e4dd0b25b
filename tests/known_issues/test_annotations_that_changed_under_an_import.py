"""An import said that all was there already though the annotations that its options name had been
corrected since: they were compared by their names, and the shards kept the old ones."""

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

"""An import said that all was there already though the annotations that its options name had been
corrected since: they were compared by their names, and the shards kept the old ones. Of those that
it finds by itself, or below the source, nothing was compared; nor prompts, captions beside pictures
and drawings."""

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


CONCEPT = {"instance_prompt": "<new1> barn", "class_prompt": "barn", "instance_data_dir": "barn"}
TEXTS = {
    "concept101": {
        "barn/a.png": None, "prompts/barn.txt": "a {}", "dataset.json": json.dumps(
            [CONCEPT | {"prompt_filename": "prompts/barn.txt"}]
        ),
    },
    "dreambooth": {
        "cat/a.png": None, "prompts_and_classes.txt": "Classes\ncat,cat\nObject Prompts\n"
        "'a {0} {1}'.format(unique_token, class_token)\nLive Subject Prompts\n"
        "'one {0} {1}'.format(unique_token, class_token)\n",
    },
    "pdst": {
        "rex/train/a.png": None, "rex/test/b.png": None, "rex/test/b.txt": "a {}",
        "rex/test/c.png": None, "rex/captions.json": '{"c": ["the {}"]}',
        "subjects.csv": "subject,class\nrex,dog\n",
    },
    "dreambench-plus": {"images/animal/00.png": None, "captions/animal/00.txt": "dog\na dog"},
    "folder": {"a.png": None, "a.txt": "a dog", "a.json": "{}", "b.png": None},
    "layout": {
        "a.png": "red", "b.txt": "prompt: a room\nleft: a dog",
        "a.toml": 'prompt = "x"\n[[segments]]\ncolour = "#ff0000"\nprompt = "y"\n',
    },
}  # fmt: skip


def laid_out(root, files) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            Image.new("RGB", (40, 30), text or "blue").save(root / name)
        else:
            (root / name).write_text(text)


@pytest.mark.parametrize(
    ("importer", "name", "corrected"),
    [
        ("concept101", "prompts/barn.txt", "the {}"),
        ("concept101", "dataset_multiconcept.json", ""),
        ("dreambooth", "prompts_and_classes.txt", TEXTS["dreambooth"]["prompts_and_classes.txt"]
         .replace("one", "my")),
        ("pdst", "rex/test/b.txt", "the {}"), ("pdst", "rex/captions.json", '{"c": ["a {}"]}'),
        ("pdst", "subjects.csv", "subject,class\nrex,cat\n"),
        ("dreambench-plus", "captions/animal/00.txt", "dog\nmy dog"),
        ("folder", "a.txt", "a cat"), ("folder", "b.txt", "a bird"), ("folder", "a.json", "[]"),
        ("layout", "b.txt", "prompt: a room\nright: a dog"), ("layout", "a.png", ""),
    ],
)  # fmt: skip
def test_texts_that_were_edited(tmp_path, importer, name, corrected):
    source, out = tmp_path / "source", tmp_path / "out"
    laid_out(source, TEXTS[importer])
    config = vars(part("importers", importer).config_type(source=str(source)))

    def again(**more) -> dict:
        options = RunOptions(quiet=True, **more)
        counts = run.run_stage("importers", importer, config, [], str(out), options).counts
        assert counts["ok"] == counts["total"] > 0
        return conftest.members(out)

    before = again()
    assert again() == before
    if name.endswith(".png"):
        Image.new("RGB", (20, 30), "red").save(source / name)
    elif name == "dataset_multiconcept.json":
        both = [CONCEPT, CONCEPT, {"prompt_filename_compose": "prompts/barn.txt"}]
        (source / name).write_text(json.dumps([both]))
    else:
        (source / name).write_text(corrected)
    with pytest.raises(UsageError, match=r"annotation files was .*crc32.*--overwrite"):
        again()
    assert again(overwrite=True) != before


def test_a_text_that_came_first_and_an_import_without_any(tmp_path):
    """That there was none is noted too; of many files, only how many and what they hold."""
    source, out = tmp_path / "source", tmp_path / "out"
    laid_out(source, {f"{n}.png": None for n in range(6)})
    config = vars(part("importers", "folder").config_type(source=str(source)))

    def noted(**more) -> str:
        run.run_stage("importers", "folder", config, [], str(out), RunOptions(quiet=True, **more))
        return json.loads((out / "000000.stats.json").read_text())["identity"]["annotation files"]

    assert noted() == "none"
    laid_out(source, {f"{n}.txt": "a dog" for n in range(6)})
    with pytest.raises(UsageError, match="annotation files was 'none', now '6 files"):
        noted()
    assert noted(overwrite=True).startswith("6 files (crc32 ")


def test_captions_that_were_missing_are_added(tmp_path):
    """Then --retry-failed is the way on, and the next run finds all finished."""
    source, out = tmp_path / "source", tmp_path / "out"
    laid_out(
        source, {name: text for name, text in TEXTS["pdst"].items() if name != "rex/test/b.txt"}
    )
    config = vars(part("importers", "pdst").config_type(source=str(source)))

    def again(**more) -> dict:
        options = RunOptions(quiet=True, max_error_rate=1, **more)
        return run.run_stage("importers", "pdst", config, [], str(out), options).counts

    assert again()["failed"] == 1
    laid_out(source, {"rex/test/b.txt": "a {}"})
    assert again(retry_failed=True)["failed"] == 0
    assert again()["ok"] == 3

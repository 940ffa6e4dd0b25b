"""Imports and layouts that took one thing for another without a word.

`import hico-det --split train --annotations` imported the test pictures of a file that has those;
`import coco` gave one picture to all entries whose foreign paths end alike; `import gazefollow`
left out a split whose file is missing; two men of one phrase were both the one person of that
phrase who has no box; a drawing turned by EXIF became a sample that every command refuses; of two
lines ``prompt:`` of a layout the first was lost; heads of resized GazeFollow pictures were
elsewhere; a "Person" of COCO was nobody.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
import scenes
from conftest import picture
from parts import part
from PIL import Image

from socialcli import records
from socialcli.errors import SampleFailed, UsageError
from socialcli.importers import Entry
from socialcli.importers.layout import of_text
from socialcli.shards import Sample
from socialcli.validation.members import refuse_malformed

DATA = Path(__file__).parents[1] / "data"


def entries(name, source, **options):
    importer = part("importers", name)
    return list(importer.entries(importer.config_type(source=str(source), **options)))


def test_a_named_file_of_hico_det_keeps_to_the_split(tmp_path):
    source = DATA / "hico_det"
    file = source / "instances_test2015.json"
    named = {"annotations": str(file)}
    assert len(entries("hico-det", source, split="test", **named)) == 2
    with pytest.raises(UsageError, match="none of its 2 pictures is of --split train"):
        entries("hico-det", source, split="train", **named)
    body = json.loads(file.read_text())
    body["filenames"][0] = body["filenames"][0].replace("test2015", "train2015")
    both = tmp_path / "both.json"
    both.write_text(json.dumps(body))
    found = {
        split: [
            e.work.split for e in entries("hico-det", source, split=split, annotations=str(both))
        ]
        for split in ("train", "test", "all")
    }
    assert found == {"train": ["train"], "test": ["test"], "all": ["train", "test"]}


def test_a_split_of_gazefollow_without_a_file_is_told(tmp_path):
    shutil.copy(DATA / "gazefollow/train_annotations_release.txt", tmp_path)
    importer = part("importers", "gazefollow")
    for split, told in (("all", 1), ("train", 0)):
        importer.remarks = ()
        list(importer.entries(importer.config_type(source=str(tmp_path), split=split)))
        assert len(importer.remarks) == told
        assert all("test_annotations_release.txt is not here" in line for line in importer.remarks)


@pytest.mark.parametrize(("size", "told"), [(1.0, False), (0.5, True), (2.0, True)])
def test_resized_pictures_of_gazefollow_are_told(tmp_path, size, told):
    """The head box counts pixels; eye, body and gaze are shares of the sides."""
    row = "train/1.jpg,1,0.2,0.2,0.4,0.7,0.6,0.5,0.2,0.8,72,32,48,48,1,coco,False"
    (tmp_path / "train_annotations_release.txt").write_text(row + "\n")
    (tmp_path / "train").mkdir()
    shown = Image.new("RGB", (round(100 * size), round(80 * size)))
    shown.save(tmp_path / "train/1.jpg")
    importer = part("importers", "gazefollow")
    config = importer.config_type(source=str(tmp_path), split="train")
    (entry,) = importer.entries(config)
    notes = getattr(importer.build(config, entry), "notes", {})
    assert ("with_eyes_off_heads" in notes) == told


@pytest.mark.parametrize("label", ["person", "Person", "woman", "young_woman", "dog"])
def test_a_person_of_another_word_is_one(tmp_path, label):
    (tmp_path / "1.jpg").write_bytes(picture(1))
    body = {
        "images": [{"id": 1, "file_name": "1.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 5, 5]}],
        "categories": [{"id": 3, "name": label}],
    }
    (tmp_path / "instances_val.json").write_text(json.dumps(body))
    importer = part("importers", "coco")
    config = importer.config_type(source=str(tmp_path))
    (entry,) = importer.entries(config)
    people = json.loads(importer.build(config, entry)["people.json"])["people"]
    assert len(people) == (label != "dog")


def test_names_that_end_alike_get_no_picture(tmp_path):
    names = ("C:\\cam1\\1.jpg", "C:\\cam2\\1.jpg", "/other/2.jpg", "1.jpg", "/other/2.jpg")
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(picture(1))
    listed = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    (tmp_path / "instances_val.json").write_text(json.dumps({"images": listed}))
    importer = part("importers", "coco")
    config = importer.config_type(source=str(tmp_path))
    said = []
    for entry in importer.entries(config):
        try:
            said.append(json.loads(importer.build(config, entry)["meta.json"])["source"])
        except SampleFailed as error:
            said.append(str(error).partition(": ")[2].partition(" of")[0])
    assert said == ["3 entries", "3 entries", "2.jpg", "1.jpg", "2.jpg"]


@pytest.mark.parametrize("boxes", [1, 2])
def test_of_two_men_nobody_knows_who_has_no_box(boxes):
    scene = scenes.all_records()
    woman, man = scene["boxes.json"].boxes[0], scene["boxes.json"].boxes[2]
    scene["boxes.json"].boxes = [woman, man] if boxes == 2 else [woman]
    man.entity = woman.entity
    (ada, *_) = scene["people.json"].people
    ada.box, ada.entity, ada.identity = None, woman.entity, "Ada"
    scene["people.json"].people = [ada]
    changed = {name: scene[name] for name in ("boxes.json", "people.json")}
    changed |= {"layout.json": None, "masks.json": None}
    stage = part("stages", "layout")
    config = stage.config_type(shapes="boxes", references="identity")
    result = stage.prepare(config, Sample("k", scenes.members(0, changed)))
    layout = records.load(records.Layout, result["layout.json"])
    wanted = ["Ada"] if boxes == 1 else [None, None]
    assert [s.subject for s in layout.segments if not s.background] == wanted


def test_a_turned_drawing_is_a_sample_that_others_take(tmp_path):
    drawing = Image.new("RGB", (32, 16), "#112233")
    drawing.paste("#445566", (16, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    drawing.save(out, "PNG", exif=exif)
    (tmp_path / "a.png").write_bytes(out.getvalue())
    segments = "".join(
        f'[[segments]]\ncolour = "{colour}"\nprompt = "a dog"\n'
        for colour in ("#112233", "#445566")
    )
    (tmp_path / "a.toml").write_text(f'prompt = "dogs"\n{segments}')
    importer = part("importers", "layout")
    members = importer.build(importer.config_type(source=str(tmp_path)), Entry("a", "a.toml"))
    layout = records.load(records.Layout, members["layout.json"])
    assert (layout.width, layout.height) == (16, 32)
    refuse_malformed(Sample("a", dict(members)))


@pytest.mark.parametrize("twice", ["prompt", "background", "size"])
def test_a_second_line_of_one_setting_is_told(twice):
    lines = {"prompt": "a dog", "background": "grass", "size": "64x64"}
    text = "".join(f"{name}: {what}\n" for name, what in lines.items()) + "left: a dog\n"
    of_text(text)
    with pytest.raises(SampleFailed, match=f"line 5: a second '{twice}:'"):
        of_text(f"{text}{twice}: {lines[twice]}\n")

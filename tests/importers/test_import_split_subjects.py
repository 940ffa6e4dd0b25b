"""`import pdst` and `import world subjects-*`: subjects with a split test set."""

from __future__ import annotations

import io
import json

import pytest
from parts import part
from PIL import Image

from socialcli import records
from socialcli.errors import SampleFailed, UsageError
from socialcli.miniature.world import split_subjects
from socialcli.miniature.world.vocabulary import split_of
from socialcli.vision import masks as rle

pdst, world = part("importers", "pdst"), part("importers", "world")


def run(module, source, **options):
    config = module.Config(source=str(source), **options)
    return {entry.key: module.build(config, entry) for entry in module.entries(config)}


def meta(members):
    return json.loads(members["meta.json"])


def png(colour: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 16), (colour, 90, 30)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two subjects: captions beside the pictures of one, in one file of the other."""
    for name in ("rex", "my cup"):
        for split, count in (("train", 2), ("test", 11)):
            for n in range(count):
                file = tmp_path / name / split / f"{n}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(png(n))
                if split == "test" and name == "rex":
                    file.with_suffix(".txt").write_text(
                        f"a {{}} by tree {n}\r\n\n  the {{}}, wet \n"
                    )
    captions = {f"{n}.png": [f"my {{}} on table {n}"] for n in range(11)}
    (tmp_path / "my cup" / "captions.json").write_text(json.dumps(captions))
    (tmp_path / "subjects.csv").write_text("subject,class,live\nrex,dog,yes\nmy cup,cup,no\n")
    return tmp_path


def test_pdst_pictures_by_part_with_their_captions(folder):
    imported = run(pdst, folder)
    assert list(imported)[:4] == [
        "my cup/train/0",
        "my cup/train/1",
        "my cup/test/0",
        "my cup/test/1",
    ]
    assert len(imported) == 26 and list(imported)[-1] == "rex/test/10"  # natural order
    assert meta(imported["rex/test/10"]) == {
        "schema": 1, "width": 20, "height": 16, "orientation": 1,
        "source": "rex/test/10.png", "split": "test", "license": "",
        "extra": {
            "subject": "rex", "class": "dog", "live": True,
            "prompts": ["a {} by tree 10", "the {}, wet"],
        },
    }  # fmt: skip
    assert meta(imported["my cup/test/3"])["extra"]["prompts"] == ["my {} on table 3"]
    assert meta(imported["my cup/train/1"])["extra"] == {
        "subject": "my cup",
        "class": "cup",
        "live": False,
    }
    assert imported["rex/train/1"]["png"] == png(1)
    assert list(run(pdst, folder, part="train")) == [k for k in imported if "/train/" in k]
    (folder / "subjects.csv").unlink()
    assert meta(run(pdst, folder, part="train")["rex/train/0"])["extra"] == {"subject": "rex"}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("subjects.csv", "name,kind\n", r"subjects\.csv: its first line is not subject,class"),
        ("subjects.csv", "subject,class\nrex,dog\n", "no class for my cup"),
        ("subjects.csv", "subject,class,live\nrex,dog,perhaps\n", "line 2: live is 'perhaps'"),
        ("my cup/captions.json", "[1]", "expected an object of file names"),
        ("my cup/captions.json", "{", "not JSON"),
    ],
)
def test_pdst_files_that_cannot_be_used_stop_the_import(folder, file, text, message):
    (folder / file).write_text(text)
    with pytest.raises(UsageError, match=message):
        run(pdst, folder)


def test_pdst_folders_that_are_none(tmp_path, folder):
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no SUBJECT/train and SUBJECT/test"):
        run(pdst, empty)
    for file in (folder / "rex" / "test").iterdir():
        file.unlink()
    with pytest.raises(UsageError, match="rex: it has only one of train and test"):
        run(pdst, folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a dog\n", r"rex/test/4\.txt: 'a dog' needs one \{\}"), ("\n", "no captions in it")],
)
def test_a_test_picture_without_usable_captions_fails_alone(folder, text, message):
    (folder / "rex" / "test" / "4.txt").write_text(text)
    config = pdst.Config(source=str(folder))
    entries = {entry.key: entry for entry in pdst.entries(config)}
    with pytest.raises(SampleFailed, match=message):
        pdst.build(config, entries["rex/test/4"])
    (folder / "rex" / "test" / "4.txt").unlink()
    with pytest.raises(SampleFailed, match=r"no captions: write them to rex/test/4\.txt"):
        pdst.build(config, entries["rex/test/4"])
    assert pdst.build(config, entries["rex/test/5"])


@pytest.fixture(scope="module")
def parts():
    return {name: split_subjects.shots(0, name) for name in ("train", "test")}


def test_twenty_unseen_subjects_half_of_them_alive(parts):
    looks = split_subjects.subjects(0)
    assert len({one.name for one in looks}) == 20
    assert all(split_of(one.number) == "test" for one in looks)  # no training ever meets them
    live = [one.kind in split_subjects.LIVE for one in looks]
    assert sum(live) == 10
    for name, each in (("train", 5), ("test", 10)):
        assert [s.look.name for s in parts[name]] == [x.name for x in looks for _ in range(each)]
    assert split_subjects.subjects(1) != looks


def test_no_picture_is_in_both_parts_and_training_shows_many_places(parts):
    everything = [*parts["train"], *parts["test"]]
    assert len({shot.plan.key for shot in everything}) >= 295  # a scene may serve two subjects
    for look in split_subjects.subjects(0):
        plans = {p: [s.plan for s in parts[p] if s.look == look] for p in parts}
        assert not {p.key for p in plans["train"]} & {p.key for p in plans["test"]}
        assert len({p.place for p in plans["train"]}) >= 3


def test_samples_of_the_worlds_benchmark():
    test = run(world, "subjects-test", first=8, scenes=4, size=64)
    assert [k.partition("/")[2] for k in test] == ["test-08", "test-09", "test-00", "test-01"]
    for key, members in test.items():
        extra, subject = meta(members)["extra"], key.partition("/")[0]
        assert extra["subject"] == subject and extra["class"] == subject.rpartition("-")[0]
        prompts = extra["prompts"]
        assert len(set(prompts)) == 10 and all(p.count("{}") == 1 for p in prompts)
        colour = split_subjects.subjects(0)[0 if "dog" in key else 1].colour
        for words in prompts:
            assert extra["class"] not in words.split()
            assert f"{colour} {{}}" not in words and "an {}" not in words
        boxes = records.load(records.Boxes, members["boxes.json"], "boxes.json").boxes
        of_subject = [box for box in boxes if box.label == extra["class"]]
        assert len(of_subject) == 1  # its mask is the subject's, and nobody else's
        masks = records.load(records.Masks, members["masks.json"], "masks.json").masks
        (mask,) = (m for m in masks if m.box == of_subject[0].id)
        assert rle.decode(mask.rle).mean() > 0.01
    (train,) = run(world, "subjects-train", scenes=1, size=64).values()
    assert "prompts" not in meta(train)["extra"] and meta(train)["split"] == "train"
    with pytest.raises(UsageError, match=r"no split 'subjects-val'.*subjects-test"):
        run(world, "subjects-val")

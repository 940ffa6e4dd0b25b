"""`import concept101` and `import dreambooth`: pictures of subjects, with their prompts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from parts import part

from socialcli.errors import UsageError

concept101, dreambooth = part("importers", "concept101"), part("importers", "dreambooth")

DATA = Path(__file__).parents[1] / "data"


def run(module, source, **options):
    config = module.Config(str(source), **options)
    return {entry.key: module.build(config, entry) for entry in module.entries(config)}


def meta(members):
    return json.loads(members["meta.json"])


def test_concept101_pictures_with_their_concept():
    imported = run(concept101, DATA / "concept101")
    assert list(imported) == [
        "benchmark_dataset/scene_barn/2",
        "benchmark_dataset/scene_barn/10",
        "benchmark_dataset/pet_cat1/a",
        "benchmark_dataset/furniture_chair1/b",
    ]
    barn = imported["benchmark_dataset/scene_barn/10"]
    assert list(barn) == ["jpeg", "meta.json"]
    path = DATA / "concept101/benchmark_dataset/scene_barn/10.jpeg"
    assert barn["jpeg"] == path.read_bytes()
    assert meta(barn) == {
        "schema": 1, "width": 64, "height": 48, "orientation": 1,
        "source": "benchmark_dataset/scene_barn/10.jpeg", "split": "",
        "license": "Unsplash License or CC BY-SA 4.0, by picture",
        "extra": {
            "concept": "scene_barn",
            "class": "barn",
            "instance_prompt": "photo of a <new1> barn",
            "prompts_file": "prompts/barn.txt",
            "prompts": ["a {} by a lake", "the {} at night"],
            "combinations": [],
        },
    }  # fmt: skip


def test_concept101_combinations_name_their_place():
    imported = run(concept101, DATA / "concept101")
    shared = {
        "combination": 0,
        "concepts": ["pet_cat1", "furniture_chair1"],
        "categories": ["cat", "chair"],
        "prompts_file": "prompts/pet_furniture.txt",
        "prompts": ["the {0} on the {1}", "the {1} behind the {0}"],
    }
    cat = meta(imported["benchmark_dataset/pet_cat1/a"])["extra"]["combinations"]
    chair = meta(imported["benchmark_dataset/furniture_chair1/b"])["extra"]["combinations"]
    assert cat == [{**shared, "position": 0}]
    assert chair == [{**shared, "position": 1}]


def test_concept101_pictures_elsewhere_or_nowhere(tmp_path):
    copy = tmp_path / "concept101"
    shutil.copytree(DATA / "concept101", copy)
    shutil.move(copy / "benchmark_dataset", tmp_path / "benchmark_dataset")
    with pytest.raises(UsageError, match="3 of 3 concepts, first benchmark_dataset/scene_barn"):
        run(concept101, copy)
    assert len(run(concept101, copy, images=str(tmp_path))) == 4
    (copy / "dataset_multiconcept.json").unlink()  # the single concepts stand alone
    assert len(run(concept101, copy, images=str(tmp_path))) == 4
    (copy / "prompts/cat.txt").unlink()
    with pytest.raises(UsageError, match=r"cat\.txt"):
        run(concept101, copy, images=str(tmp_path))


@pytest.mark.parametrize("text", ["{}", "[]", "[1]", '[{"instance_data_dir": "../x"}]', "nonsense"])
def test_concept101_other_json_is_refused(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(UsageError, match="not Concept101's"):
        run(concept101, tmp_path)


def test_dreambooth_subjects_with_class_prompts_and_credit():
    imported = run(dreambooth, DATA / "dreambooth")
    assert list(imported) == ["bear_plushie/00", "dog2/00", "dog2/01"]
    path = DATA / "dreambooth/dataset/dog2/00.jpg"
    assert imported["dog2/00"]["jpg"] == path.read_bytes()
    assert meta(imported["bear_plushie/00"])["extra"] == {
        "subject": "bear_plushie",
        "class": "stuffed animal",
        "live": False,
        "prompts": ["a {0} {1} on a shelf", "a cube shaped {0} {1}"],
        "credit": "Photos taken by Somebody",
    }
    assert meta(imported["bear_plushie/00"])["license"] == "CC BY 4.0"
    assert meta(imported["dog2/00"])["extra"] == {
        "subject": "dog2",
        "class": "dog",
        "live": True,
        "prompts": ["a {0} {1} wearing a scarf", "a wet {0} {1}"],
        "credit": "https://unsplash.com/photos/abc, https://unsplash.com/@someone",
    }
    assert meta(imported["dog2/00"])["license"] == "Unsplash License"
    assert meta(imported["dog2/01"])["extra"]["credit"] == "removed, https://unsplash.com/@someone"
    assert run(dreambooth, DATA / "dreambooth/dataset") == imported


def test_dreambooth_folders_of_ones_own(tmp_path):
    shutil.copytree(DATA / "dreambooth/dataset/dog2", tmp_path / "my dog")
    (tmp_path / "empty").mkdir()
    imported = run(dreambooth, tmp_path)
    assert list(imported) == ["my dog/00", "my dog/01"]
    assert meta(imported["my dog/00"])["extra"] == {"subject": "my dog"}
    assert meta(imported["my dog/00"])["license"] == ""
    shutil.copy(DATA / "dreambooth/dataset/prompts_and_classes.txt", tmp_path)
    with pytest.raises(UsageError, match="no class for my dog"):
        run(dreambooth, tmp_path)
    (tmp_path / "prompts_and_classes.txt").write_text("Classes\n\nmy dog,dog\n")
    with pytest.raises(UsageError, match="not DreamBooth's file"):
        run(dreambooth, tmp_path)
    shutil.rmtree(tmp_path / "my dog")
    with pytest.raises(UsageError, match="no folders of pictures"):
        run(dreambooth, tmp_path)


def test_dreambooth_prompts_are_never_run(tmp_path):
    copy = tmp_path / "dataset"
    shutil.copytree(DATA / "dreambooth/dataset", copy)
    file = copy / "prompts_and_classes.txt"
    evil = "__import__('os').system('touch /tmp/pwned').format(unique_token, class_token),\n"
    file.write_text(file.read_text().replace("'a wet", evil + "'a wet"))
    prompts = meta(run(dreambooth, copy)["dog2/00"])["extra"]["prompts"]
    assert prompts == ["a {0} {1} wearing a scarf", "a wet {0} {1}"]

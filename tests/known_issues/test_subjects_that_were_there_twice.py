"""Of a subject or a concept that a data set's list has twice the first was lost without a word, and
lists with an endless field or number ended an import with a traceback."""

from __future__ import annotations

import json

import pytest
from conftest import picture
from parts import part

from socialcli.errors import UsageError


def entries(name, source, **options):
    importer = part("importers", name)
    return list(importer.entries(importer.config_type(source=str(source), **options)))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("subject,class\na,dog\na,dog\n", None),
        ("subject,class,live\na,dog,yes\na,cat,yes\n", "line 3: a was a dog before"),
        ("subject,class,live\na,dog,yes\na,dog,no\n", "line 3: a was a dog before"),
        (f'subject,class\na,"{"x" * 200_000}"\n', "not a table"),
    ],
)
def test_a_subject_of_pdst(tmp_path, table, says):
    for folder in ("a/train", "a/test"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.jpg").write_bytes(picture(1))
    (tmp_path / "subjects.csv").write_text(table)
    if says is None:
        assert {e.work.subject.category for e in entries("pdst", tmp_path)} == {"dog"}
        return
    with pytest.raises(UsageError, match=says):
        entries("pdst", tmp_path)


def test_a_folder_of_two_concepts(tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/x.txt").write_text("a {}\n")
    (tmp_path / "set/x").mkdir(parents=True)
    (tmp_path / "set/x/1.jpg").write_bytes(picture(1))
    dog = {"instance_data_dir": "./set/x", "class_prompt": "dog", "instance_prompt": "a",
           "prompt_filename": "prompts/x.txt"}  # fmt: skip
    (tmp_path / "dataset.json").write_text(json.dumps([dog]))
    assert len(entries("concept101", tmp_path)) == 1
    (tmp_path / "dataset.json").write_text(json.dumps([dog, {**dog, "class_prompt": "cat"}]))
    with pytest.raises(UsageError, match="two concepts have the folder set/x"):
        entries("concept101", tmp_path)


def test_an_endless_class_number_of_hico_det(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "instances_test2015.json").write_text(
        '{"correspondence": [], "filenames": ["x_test2015_1.jpg"], "size": [[16, 12]], '
        '"annotation": [{"hoi": [1e400], "boxes_h": [[1, 1, 5, 5]], "boxes_o": [[1, 1, 5, 5]]}]}'
    )
    with pytest.raises(UsageError, match="not HICO-DET's instances JSON"):
        entries("hico-det", tmp_path, split="test")

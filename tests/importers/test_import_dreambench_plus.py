"""`import dreambench-plus`: a picture of each subject, its nine prompts, in the public layout."""

from __future__ import annotations

import json
from pathlib import Path

import conftest
import pytest
from parts import part

from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import subject_prompts
from socialcli.shards import Sample

importer = part("importers", "dreambench-plus")
KITTEN = ["A {} on a sofa", "a photo of a {} in snow"] + [f"a {{}}, number {n}" for n in range(7)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two categories; the style's prompts do not name it."""
    for folder, name, prompts in (
        ("live_subject/animal", "Kitten", [p.format("kitten") for p in KITTEN]),
        ("style", "ink wash", ["a house", "a kitten in Ink Wash, much ink wash"]),
    ):
        for part_of, suffix, data in (
            ("images", "jpg", conftest.picture()),
            ("captions", "txt", "\n".join([name, *prompts]).encode()),
        ):
            (tmp_path / part_of / folder).mkdir(parents=True)
            (tmp_path / part_of / folder / f"00.{suffix}").write_bytes(data)
    return tmp_path


def run(folder):
    config = importer.Config(str(folder))
    return {entry.key: importer.build(config, entry) for entry in importer.entries(config)}


def test_subjects_come_with_their_prompts_by_kind(source):
    imported = run(source)
    assert list(imported) == ["images/live_subject/animal/00", "images/style/00"]
    kitten, style = (json.loads(members["meta.json"])["extra"] for members in imported.values())
    assert kitten == {
        "subject": "live_subject_animal_00_kitten", "class": "Kitten", "category": "animal",
        "live": True, "prompts": KITTEN,
        "kinds": ["photorealistic"] * 4 + ["style"] * 3 + ["imaginative"] * 2,
    }  # fmt: skip
    # A word that stands twice, or nowhere, has no one place.
    assert style["prompts"] == ["a house", "a kitten in Ink Wash, much ink wash"]
    assert style["subject"] == "style_00_ink_wash" and "kinds" not in style
    sample = Sample("k", imported["images/live_subject/animal/00"])
    texts, plain = subject_prompts.of_word(sample, "<{name}>")
    assert texts[0] == "A <live_subject_animal_00_kitten> on a sofa"
    assert plain is not None and plain[0] == "A Kitten on a sofa"


def test_what_is_missing_is_a_line(source, tmp_path):
    file = source / "captions/style/00.txt"
    file.write_text("ink wash\n")
    with pytest.raises(SampleFailed, match=r"style/00\.txt: a subject in the first line"):
        run(source)
    file.unlink()
    with pytest.raises(UsageError, match=r"style/00\.txt: 1 pictures have no such file"):
        run(source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no images/CATEGORY/NN\.jpg in here"):
        run(tmp_path / "empty")

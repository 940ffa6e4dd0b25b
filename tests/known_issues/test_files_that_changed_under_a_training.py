"""A training went on, or said that it was finished already, though a file of its options held
another text by now: lists of names and prepositions, templates, loss curves. They were compared by
their names: the same file elsewhere was refused, another one in its place was not."""

from __future__ import annotations

from pathlib import Path

import pytest
from parts import part

from socialcli.training import provenance


class Data:
    def fingerprint(self) -> str:
        return "data"

    def __len__(self) -> int:
        return 3


def identity(kind: str, name: str, **options) -> dict:
    method = part(f"methods.{kind}", name)
    return provenance.identity(kind, name, method, method.config_type(**options), Data())


@pytest.mark.parametrize(
    ("kind", "name", "option"),
    [
        ("invert", "textual-inversion", "templates"), ("invert", "celeb-basis", "templates"),
        ("invert", "identity", "templates"), ("invert", "reversion", "templates"),
        ("invert", "reversion", "prepositions"), ("invert", "celeb-basis", "names"),
        ("train", "feedback", "curves"),
    ],
)  # fmt: skip
def test_what_the_file_holds_counts_and_not_where_it_lies(tmp_path, kind, name, option):
    file, moved = tmp_path / "a.txt", tmp_path / "folder" / "a.txt"
    moved.parent.mkdir()
    for place in (file, moved):
        place.write_text("a photo of {}\n")
    first = identity(kind, name, **{option: str(file)})
    assert first == identity(kind, name, **{option: str(moved)})
    file.write_text("a photo of {} at night\n")
    assert first != identity(kind, name, **{option: str(file)})


def test_words_that_are_no_files_stay_words(tmp_path, monkeypatch):
    before = identity("invert", "celeb-basis", names="mini")
    monkeypatch.chdir(tmp_path)
    Path("mini").mkdir()  # whatever is called so here
    Path("face").mkdir()
    assert identity("invert", "celeb-basis", names="mini") == before
    assert before["--names"] == "mini" and before["--templates"] == "face"


def test_a_training_that_goes_by_its_length_cannot_be_made_longer():
    """The weight of the attractor's contrast grows over the steps: a run of 100 steps that went on
    to 200 had seen all of it before its middle."""

    def steps(**options) -> set[bool]:
        rows = [identity("invert", "attractor", steps=n, **options) for n in (100, 200)]
        return {"--steps" in row for row in rows}

    assert steps() == steps(contrast="linear") == {True}
    assert steps(contrast="one") == steps(weight_contrast=0.0) == {False}
    plain = [identity("invert", "textual-inversion", steps=n) for n in (100, 200)]
    assert plain[0] == plain[1]

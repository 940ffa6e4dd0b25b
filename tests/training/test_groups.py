"""Which samples `train` and `invert` take for one subject, and the words that flags give them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from socialcli import shards
from socialcli.errors import UsageError
from socialcli.shards import index as indexing
from socialcli.training import groups

ROWS = {  # key -> meta.extra
    "dogs/a": {"concept": "rex"}, "dogs/b": {"concept": "rex", "subject": 7}, "cats/a": {},
    "z": {"concept": "ada", "colour": "red"},
}  # fmt: skip


@pytest.fixture
def index(tmp_path: Path) -> indexing.Index:
    rows = []
    for key, extra in ROWS.items():
        meta = {"schema": 1, "width": 4, "height": 4, "extra": extra}
        rows.append((key, {"jpg": b"x", "meta.json": json.dumps(meta).encode()}))
    rows += [("none/a", {"jpg": b"x"}), ("none/b", {"jpg": b"x", "meta.json": b"{"})]
    shards.write(tmp_path / "a.tar", rows)
    return indexing.build([str(tmp_path / "a.tar")], tmp_path / "cache")


def test_by_field_folder_or_all_as_one(index) -> None:
    named = {"ada": [3], "rex": [0, 1]}  # a number is no name, nor is a broken member
    assert groups.grouped(index, "auto", "it") == groups.grouped(index, "concept", "it") == named
    assert list(groups.grouped(index, "auto", "it")) == ["ada", "rex"]
    assert groups.grouped(index, "colour", "it") == {"red": [3]}
    folders = {"cats": [2], "dogs": [0, 1], "none": [4, 5]}
    assert groups.grouped(index, "folder", "it") == folders
    assert groups.grouped(index, "none", "it") == {"it": [*range(6)]}
    with pytest.raises(UsageError, match="no sample's meta"):
        groups.grouped(index, "subject", "it")
    unnamed = index.select([2, 4, 5])
    assert groups.grouped(unnamed, "auto", "it") == {"cats": [0], "none": [1, 2]}
    assert groups.matching(index, "dogs/*") == [0, 1] and groups.matching(index, "dog") == []


def test_a_word_for_all_and_for_one() -> None:
    read = groups.words("--word", ["dog", "b= small cat "], ["a", "b"], "subjects", "NAME=WORD")
    assert read == {"": "dog", "b": "small cat"}
    for wrong, why in (("c=dog", "the subjects are a, b"), ("a=", "expected WORD or NAME=WORD")):
        with pytest.raises(UsageError, match=why):
            groups.words("--word", [wrong], ["a", "b"], "subjects", "NAME=WORD")

"""Samples that --by finds no name for (loose pictures beside folders of subjects, photographs
beside a data set that names its subjects) were left out of a training without a word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from socialcli import shards
from socialcli.shards import index as indexing
from socialcli.training import groups


def index(place: Path, names: dict[str, str]) -> indexing.Index:
    """Samples by key, with the subject that each one's meta.json names."""
    rows = []
    for key, name in names.items():
        extra = {"subject": name} if name else {}
        meta = {"schema": 1, "width": 4, "height": 4, "extra": extra}
        rows.append((key, {"png": b"", "meta.json": json.dumps(meta).encode()}))
    shards.write(place / "a.tar", rows)
    return indexing.build([str(place / "a.tar")], place / "cache")


@pytest.mark.parametrize("by", ["auto", "subject"])
def test_who_has_no_name_is_said(tmp_path, by):
    built = index(tmp_path, {"a/1": "rex", "a/2": "", "b": "tom"})
    assert groups.grouped(built, by, "all") == {"rex": [0], "tom": [2]}
    assert built.unusable == {"a/2": "its meta.json has no subject (--by)"}


def test_who_lies_in_no_folder_is_said(tmp_path):
    built = index(tmp_path, {"rex/1": "", "loose": ""})
    assert groups.grouped(built, "auto", "all") == {"rex": [0]}
    assert built.unusable == {"loose": "its key has no folder (--by)"}
    alone = index(tmp_path, {"x": "", "y": ""})
    assert groups.grouped(alone, "auto", "all") == {"all": [0, 1]} and not alone.unusable

"""A file was written under a hidden name some forty bytes longer than its own, so that samples of
keys of 220 to 255 bytes ended a `generate --format files`, and failed in `export`; longer keys had
no file at all. A long learned word, or a LoRA of many subjects, ended a training at its last step.
"""

from __future__ import annotations

import json
import os

import pytest
from conftest import picture

from socialcli import records, shards
from socialcli.cli.commands import export
from socialcli.generation import folder, grid
from socialcli.methods.invert import _files
from socialcli.shards import publishing

LONG = [f"{'k' * 230}{n}" for n in range(2)] + [f"{'é' * 200}{n}" for n in range(2)]


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "short"])
def test_every_name_that_a_file_can_have_is_published(tmp_path, name):
    left = tmp_path / publishing.hidden(name)
    left.touch()  # by a run that was killed
    shards.write_bytes(str(tmp_path / name), b"1")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with shards.publish_folder(tmp_path / name[::-1]) as place:
        (place / "a").touch()
    with shards.publish_folder(tmp_path / name[::-1]):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({name, name[::-1]})


def test_a_name_that_no_file_can_have_is_refused_before_it_is_written(tmp_path):
    target = tmp_path / "new" / ("n" * 256)
    for begin in (lambda: shards.publish(str(target)), lambda: shards.publish_folder(target)):
        with pytest.raises(OSError, match="File name too long") as caught, begin():
            pytest.fail("the work was begun")
        assert caught.value.filename == str(target)
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_long_keys_are_drawn_into_a_folder(tmp_path):
    keys = [*LONG, f"{'d' * 300}/a", "plain"]
    with (tmp_path / "000000.jsonl").open("wb") as stream:
        writer = folder.FolderWriter(str(tmp_path), "v-", stream)
        for key in keys:
            files = {"png": picture(1, kind="PNG"), folder.GENERATED: b"{}", "attention.json": b"1"}
            writer.added(key, files)
    read = list(grid.members(str(tmp_path / "000000.jsonl"), ["attention.json"]))
    assert len({key for key, _ in read}) == len(keys) and read[-1][0] == "v-plain"
    assert all(members["attention.json"] == b"1" for _, members in read)
    assert read[0][0].startswith("v-kkk") and read[2][0].startswith("v-ééé")


def test_pictures_of_long_keys_are_exported(tmp_path):
    meta = {"meta.json": records.dump(records.Meta(16, 12)), "jpg": picture(1)}
    shards.write(tmp_path / "a.tar", [(key, meta) for key in [*LONG, "f" * 216, "b"]])
    export.command(
        [str(tmp_path / "a.tar")], str(tmp_path / "a.json"), images=str(tmp_path / "pictures")
    )
    listed = json.loads((tmp_path / "a.json").read_text())["images"]
    assert [one["key"] for one in listed] == [*LONG, "f" * 216, "b"]
    names = [one["file_name"] for one in listed]
    assert names[4:] == ["f" * 216 + ".jpg", "b.jpg"]
    assert sorted(names) == sorted(os.listdir(tmp_path / "pictures"))


def test_stems_are_short_distinct_and_those_of_a_file():
    stems = [shards.file_stem(key) for key in LONG]
    assert len(set(stems)) == 4 and stems == [shards.file_stem(key) for key in LONG]
    assert all(len(stem.encode()) <= 220 for stem in stems)
    assert shards.file_stem("a/b") == "a/b" and shards.file_stem("x" * 220) == "x" * 220
    assert _files._stem("<a dog>") == "a-dog" and len(_files._stem(f"<{LONG[0]}>")) == 220

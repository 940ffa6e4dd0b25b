"""`merge` left damaged samples out and ended with 0, and its card (README.md) named the members of
the last call's shards only, so that `datasets` failed at those of an earlier one. How many of the
merged samples are malformed, which all other commands refuse, its last line did not say."""

from __future__ import annotations

import json
import re

import pytest
from conftest import picture
from typer.testing import CliRunner

from socialcli import shards
from socialcli.cli import app
from socialcli.exporters import card
from socialcli.generation import folder


def merge(*arguments, code=0):
    done = CliRunner().invoke(app.app, ["merge", *map(str, arguments)])
    said = done.output if done.exception is None else f"{done.output}{done.exception}"
    assert getattr(done.exception, "exit_code", done.exit_code) == code, said
    return said


def columns(folder):
    return re.findall(r"- name: '(.+)'", (folder / "README.md").read_text())


@pytest.fixture
def cut(tmp_path):
    """A shard of three samples, the last of which ends early."""
    shards.write(tmp_path / "a.tar", [(f"k{n}", {"jpg": picture(n)}) for n in range(3)])
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data[: data.index(b"k2.jpg") + 600])
    return tmp_path / "a.tar"


def test_more_damage_than_is_allowed_ends_with_1(tmp_path, cut):
    for _ in range(2):  # the shard that is there is not taken for a whole one
        said = merge(cut, "-o", tmp_path / "out", code=1)
        assert "1 of 3 samples are damaged and left out" in said
        assert "2 samples merged, 1 left out" in said
    assert [s.key for s in shards.read(str(tmp_path / "out" / "a.tar"))] == ["k0", "k1"]
    for _ in range(2):
        merge(cut, "-o", tmp_path / "more", "--max-error-rate", 0.4)
    assert card.is_there(str(tmp_path / "more")) and card.is_there(str(tmp_path / "out"))


def test_what_was_asked_to_be_left_out_is_no_damage(tmp_path):
    shards.write(tmp_path / "a.tar", [(f"k{n}", {"jpg": picture(n)}) for n in range(2)])
    note = b'{"key": "k1", "status": "filtered", "stage": "caption", "reason": "short"}'
    side = [("k0", {"caption.json": b"{}"}), ("k1", {shards.STATUS: note})]
    shards.write(tmp_path / "b.tar", side)
    for _ in range(2):
        said = merge(f"{tmp_path}/a.tar+{tmp_path}/b.tar", "-o", tmp_path / "out")
        assert "1 samples merged, 1 left out" in said


def test_malformed_samples_are_passed_on_and_counted(tmp_path):
    rows = [(f"k{n}", {"jpg": picture(n), "caption.json": b"{}"}) for n in range(3)]
    for name in ("a", "b"):
        shards.write(tmp_path / f"{name}.tar", [*rows[:2], ("k9", {"jpg": picture(9)})])
    merge(tmp_path / "a.tar", "-o", tmp_path / "out")
    for _ in range(2):  # those of a shard that is there count too
        said = merge(tmp_path / "a.tar", tmp_path / "b.tar", "-o", tmp_path / "out")
        assert "6 samples merged, 0 left out; 4 of the merged ones are malformed" in said
    assert [s.key for s in shards.read(str(tmp_path / "out" / "b.tar"))] == ["k0", "k1", "k9"]
    shards.write(tmp_path / "c.tar", [("k9", {"jpg": picture(9)})])
    assert "malformed" not in merge(tmp_path / "c.tar", "-o", tmp_path / "sound")


def test_the_card_is_of_all_calls(tmp_path):
    out = tmp_path / "out"
    for name, suffix in (("a", "txt"), ("b", "bin"), ("c", "cls")):
        shards.write(tmp_path / f"{name}.tar", [("k", {"jpg": picture(1), suffix: b"1"})])
    merge(tmp_path / "a.tar", "-o", out)
    assert columns(out) == ["__key__", "jpg", "txt"]
    merge(tmp_path / "b.tar", "-o", out)
    assert columns(out) == ["__key__", "jpg", "bin", "txt"]
    merge(tmp_path / "c.tar", "-o", out / "c.tar")
    assert columns(out) == ["__key__", "jpg", "bin", "cls", "txt"]
    shards.write(tmp_path / "b.tar", [("k", {"png": picture(1, kind="PNG")})])
    merge(tmp_path / "b.tar", "-o", out, "--overwrite")  # what it had is not there any more
    assert columns(out) == ["__key__", "jpg", "png", "cls", "txt"]
    shards.write(tmp_path / "d.tar", [("k", {"npy": b"1"})])
    merge(tmp_path / "d.tar", "-o", out)
    merge(tmp_path / "a.tar", "-o", out)
    assert not (out / "README.md").exists()  # of one a type cannot be told: `datasets` guesses


def test_no_card_where_none_was_asked_for(tmp_path):
    shards.write(tmp_path / "a.tar", [("k", {"jpg": picture(1)})])
    merge(tmp_path / "a.tar", "-o", tmp_path / "x" / "b.tar")
    assert not (tmp_path / "x" / "README.md").exists()


def test_the_list_of_drawn_pictures_is_of_all_runs(tmp_path):
    for name in ("b", "a", "half"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"file_name": "{name}/0.png"}}\n')
        (tmp_path / f"{name}.errors.jsonl").write_text('{"key": "1"}\n')
    for name in ("b", "a"):
        (tmp_path / f"{name}.stats.json").write_text("{}")
        folder.write_metadata([str(tmp_path / f"{name}.jsonl"), str(tmp_path / "later.jsonl")])
    lines = (tmp_path / "metadata.jsonl").read_text().splitlines()
    assert [json.loads(line)["file_name"] for line in lines] == ["a/0.png", "b/0.png"]
    folder.write_metadata([str(tmp_path / "later.jsonl")])
    assert len((tmp_path / "metadata.jsonl").read_text().splitlines()) == 2

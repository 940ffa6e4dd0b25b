"""Safetensors files whose bytes depend on nothing but what is in them."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from socialcli.networks import weights

TENSORS = {"b.weight": torch.arange(12.0).reshape(3, 4), "a": torch.ones(5, dtype=torch.float16),
           "c": torch.tensor([1, 2], dtype=torch.int64)}  # fmt: skip
NOTES = {f"socialcli.note-{n}": f'value "{n}"\n\u00e4\u6f22\U0001f415\x01\x7f' for n in range(12)}


def same(file, tensors=TENSORS):
    loaded = load_file(file)
    return set(loaded) == set(tensors) and all(torch.equal(loaded[n], tensors[n]) for n in loaded)


def notes(file):
    with safe_open(file, "pt") as opened:
        return opened.metadata()


def test_the_same_tensors_and_notes_give_the_same_bytes(tmp_path):
    for number in range(8):
        weights.write(tmp_path / f"{number}", TENSORS, dict(sorted(NOTES.items(), reverse=True)))
        save_file(TENSORS, tmp_path / f"plain-{number}", NOTES)
    assert len({(tmp_path / f"{n}").read_bytes() for n in range(8)}) == 1
    if len({(tmp_path / f"plain-{n}").read_bytes() for n in range(8)}) == 1:
        pytest.fail("safetensors keeps an order of its own by now: weights.write may call it alone")
    file = tmp_path / "0"
    assert same(file) and notes(file) == NOTES
    length = int.from_bytes(file.read_bytes()[:8], "little")
    assert length % 8 == 0
    header = json.loads(file.read_bytes()[8 : 8 + length])
    assert next(iter(header)) == "__metadata__"
    assert list(header["__metadata__"]) == sorted(NOTES)


def test_nothing_to_say_is_no_entry(tmp_path):
    weights.write(tmp_path / "x", TENSORS, {})
    save_file(TENSORS, tmp_path / "y")
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
    weights.write(tmp_path / "none", {}, NOTES)
    assert load_file(tmp_path / "none") == {} and notes(tmp_path / "none") == NOTES


def test_notes_are_added_and_the_tensors_stay(tmp_path):
    file = tmp_path / "x.safetensors"
    save_file(TENSORS, file, {"format": "pt", "step": "1"})
    weights.annotate(file, {**NOTES, "step": "2"})
    assert same(file) and notes(file) == {"format": "pt", **NOTES, "step": "2"}
    direct = tmp_path / "y.safetensors"
    weights.write(direct, TENSORS, {"format": "pt", **NOTES, "step": "2"})
    assert direct.read_bytes() == file.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [file.name, direct.name]


def test_a_header_of_the_same_length_is_written_in_place(tmp_path):
    file = tmp_path / "x.safetensors"
    weights.write(file, TENSORS, NOTES)
    before = file.stat().st_ino
    weights.annotate(file, {"socialcli.note-3": NOTES["socialcli.note-3"].upper()})
    assert file.stat().st_ino == before and same(file)
    assert notes(file)["socialcli.note-3"].startswith("VALUE")

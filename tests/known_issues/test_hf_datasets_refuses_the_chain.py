"""Hugging Face `datasets` could not load what the chain ends with: identity.npy was a structured
array, pictures of two formats were "no WebDataset", and an optional field of a record that the
first five samples lacked was an error in the sixth. Lists of drawn pictures had a name,
000000.jsonl, that its image folders ignore."""

from __future__ import annotations

import json

import numpy
import pytest
from conftest import picture
from scenes import identity

from socialcli import records, shards
from socialcli.exporters import card
from socialcli.generation import folder
from socialcli.records import Refused

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def rows(folder, streaming):
    return list(datasets.load_dataset(str(folder), split="train", streaming=streaming))


def rounded(value):
    """Nested JSON whose numbers may have lost their last bit on the way."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return round(value, 9) if isinstance(value, float) else value


@pytest.mark.slow
def test_the_demos_own_kind_of_shards(run_cli, tmp_path):
    """Rendered scenes through stages with the miniatures, merged with other pictures: what
    `make demo` ends with."""
    place = {name: tmp_path / name for name in ("images", "people", "other", "whole")}
    run_cli("import", "world", "test", "--scenes", 7, "-o", place["images"])
    stage = ["annotate-pose", place["images"], "-o", place["people"], "--sidecar"]
    run_cli(*stage, "--profile", "mini", "--with", "identity,gaze,interaction")
    shards.write(place["other"] / "1.tar", [("photo", {"jpg": picture(), "txt": b"a man"})])
    joined = f"{place['images']}/+{place['people']}/"
    run_cli("merge", joined, place["other"], "-o", place["whole"])
    expected = {
        s.key: s for file in sorted(place["whole"].glob("*.tar")) for s in shards.read(str(file))
    }
    assert len(expected) == 8
    assert any(records.IDENTITY in s.members for s in expected.values())
    for streaming in (False, True):
        read = rows(place["whole"], streaming)
        assert [row["__key__"] for row in read] == list(expected)
        for row in read:
            sample = expected[row["__key__"]]
            for suffix, data in sample.members.items():
                if suffix.endswith(".json"):
                    assert rounded(row[suffix]) == rounded(json.loads(data))
            assert (row["png"] or row["jpg"]).size[0] > 0
            if records.IDENTITY in sample.members:
                loaded = records.load_identity(sample.members[records.IDENTITY])
                matrix = numpy.array(row[records.IDENTITY], dtype="float32")
                assert (matrix[:, 0] == loaded["person"]).all()
                assert (matrix[:, 1:] == loaded["embedding"]).all()
            else:
                assert row[records.IDENTITY] is None
        assert read[-1]["txt"] == "a man" and read[-1]["people.json"] is None


def test_identity_is_a_matrix_and_old_files_are_still_read():
    array = identity()
    new, old = records.dump_identity(array), records.dump_npy(array)
    plain = numpy.load(__import__("io").BytesIO(new))
    assert plain.dtype == numpy.float32 and plain.shape == (1, 9)
    for data in (new, old):
        loaded = records.load_identity(data)
        assert (loaded["person"] == array["person"]).all()
        assert (loaded["embedding"] == array["embedding"]).all()
    big = records.identity_array([2**24 + 1], numpy.ones((1, 4)))
    assert records.load_identity(records.dump_identity(big))["person"].tolist() == [2**24 + 1]


@pytest.mark.parametrize(
    "table",
    [
        numpy.ones((2, 1), "f4"),  # no embedding
        numpy.ones(4, "f4"),
        numpy.ones((2, 4), "i4"),
        numpy.full((1, 4), 0.5, "f4"),  # no whole id
        numpy.zeros((1, 4), "f4"),  # ids begin at 1
        numpy.full((1, 4), numpy.nan, "f4"),
        numpy.array([[1, numpy.inf, 0]], "f4"),
        numpy.full((1, 4), 1e12, "f8"),
    ],
)
def test_matrices_that_hold_no_identities_are_refused(table):
    with pytest.raises(Refused):
        records.load_identity(records.dump_npy(table))


def test_a_card_of_ones_own_is_kept(run_cli, make_shards, tmp_path):
    out = tmp_path / "o"
    out.mkdir()
    (out / "README.md").write_text("mine")
    run_cli("merge", make_shards(1, 2), "-o", out)
    assert (out / "README.md").read_text() == "mine"
    (out / "README.md").unlink()
    run_cli("merge", make_shards(1, 2), "-o", out)  # the shard that is there is looked at
    assert card.MARK in (out / "README.md").read_text()
    assert [row["bin"] for row in rows(out, True)] == [b"\0", b"\1"]


def test_no_card_where_a_type_cannot_be_told():
    assert card.card(["png", "features.npy"]) is None
    assert card.card(["png", "x.pth"]) is None


def test_drawn_pictures_load_as_an_image_folder(tmp_path):
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    for number in range(2):  # two lists, as of two shards of prompts
        with (drawn / f"{number:06d}.jsonl").open("wb") as stream:
            writer = folder.FolderWriter(str(drawn), "", stream)
            generated = {"prompt": f"a man {number}", "models": {str(number): {"backend": "x"}}}
            files = {
                "png": picture(number, kind="PNG"),
                folder.GENERATED: json.dumps(generated).encode(),
            }
            writer.added(f"{number:05d}", files)
    # The third list is not done yet.
    targets = [str(drawn / f"{number:06d}.jsonl") for number in range(3)]
    folder.write_metadata(targets)
    for streaming in (False, True):
        read = datasets.load_dataset(
            "imagefolder", data_dir=str(drawn), split="train", streaming=streaming
        )
        assert [row["prompt"] for row in read] == ["a man 0", "a man 1"]

"""A reference picture that a segment of a layout names by its file made no difference to a run that
was done already: the same command said that all was there, and kept the pictures of the old one.
Files that flags or rows of prompt files name were compared, these were not."""

from __future__ import annotations

import json
import os

import numpy
import pytest
from PIL import Image

from socialcli import records, registry, shards
from socialcli.errors import UsageError
from socialcli.generation.stage import GenerateStage
from socialcli.pipeline import run, shard
from socialcli.pipeline.report import Report
from socialcli.pipeline.run import RunOptions
from socialcli.vision import masks

WHOLE = masks.encode(numpy.ones((8, 8), bool))


def layout(*names: str) -> bytes:
    shown = [records.SegmentReference(name) for name in names]
    segment = records.Segment(1, "#0000ff", "a dog", WHOLE, references=shown)
    return records.dump(records.Layout(8, 8, "a park", [segment]))


def colour(file, name: str) -> None:
    Image.new("RGB", (40, 30), name).save(file, "BMP")  # all of one size


@pytest.fixture
def drawn(monkeypatch) -> list[str]:
    """The keys of all that is drawn, by a stage whose picture is the colour of the reference."""
    keys: list[str] = []

    def process(self, config, loaded, items):
        keys.extend(item.key for item in items)
        pictures = [item.work.plan[1][0] for item in items]
        return [{"txt": repr(one[0].image.getpixel((0, 0))).encode()} for one in pictures]

    monkeypatch.setattr(GenerateStage, "process", process)
    return keys


def generate(place, method="multidiffusion", **how) -> None:
    """As the command does, without models."""
    part = registry.load("methods.generate", method)
    config = vars(part.config_type(ssr_model="ssr", device="cpu"))
    source, out = str(place / "in.tar"), str(place / "out")
    plan = run.planned("methods.generate", method, config, [source], out, RunOptions(**how))
    for task in plan.tasks:
        if shard.finished(plan, task) is None:
            shard.run(plan, task, None, Report(quiet=True))
        else:
            shard.adopt(plan, task)


def told(place) -> dict[str, bytes]:
    return {one.key: one.members["txt"] for one in shards.read(str(place / "out" / "in.tar"))}


@pytest.mark.parametrize("method", ["multidiffusion", "composite"])
def test_a_file_that_a_segment_names_counts(tmp_path, monkeypatch, drawn, method):
    monkeypatch.chdir(tmp_path)
    rows = [("a", {"layout.json": layout("dog.bmp")}), ("b", {"layout.json": layout("cat.bmp")})]
    shards.write(tmp_path / "in.tar", rows)
    for name in ("dog.bmp", "cat.bmp"):
        colour(tmp_path / name, "red")
    generate(tmp_path, method)
    assert drawn == ["a", "b"] and told(tmp_path) == dict.fromkeys("ab", b"(255, 0, 0)")
    os.utime(tmp_path / "dog.bmp", (1, 1))  # touched, and the same
    generate(tmp_path, method)
    assert len(drawn) == 2
    colour(tmp_path / "dog.bmp", "blue")
    for how in ({}, {"retry_failed": True}):
        with pytest.raises(UsageError, match=r"in\.tar: dog\.bmp, .* changed .*--overwrite"):
            generate(tmp_path, method, **how)
    generate(tmp_path, method, overwrite=True)
    assert told(tmp_path) == {"a": b"(0, 0, 255)", "b": b"(255, 0, 0)"}
    generate(tmp_path, method)
    (tmp_path / "cat.bmp").unlink()
    with pytest.raises(UsageError, match=r"cat\.bmp"):
        generate(tmp_path, method)


def test_a_file_that_was_not_there_mends_its_sample(tmp_path, monkeypatch, drawn):
    """And one that was no picture; neither stops the others."""
    monkeypatch.chdir(tmp_path)
    names = ("dog", "cat", "bad")
    shards.write(tmp_path / "in.tar", [(n, {"layout.json": layout(f"{n}.bmp")}) for n in names])
    colour(tmp_path / "dog.bmp", "red")
    (tmp_path / "bad.bmp").write_bytes(b"no picture")
    generate(tmp_path, max_error_rate=1)
    assert drawn == ["dog"]
    colour(tmp_path / "cat.bmp", "blue")
    colour(tmp_path / "bad.bmp", "lime")
    generate(tmp_path, max_error_rate=1)  # finished, as far as it went
    assert drawn == ["dog"]
    generate(tmp_path, retry_failed=True)
    assert drawn == ["dog", "cat", "bad"] and len(told(tmp_path)) == 3
    colour(tmp_path / "cat.bmp", "red")
    with pytest.raises(UsageError, match=r"cat\.bmp"):
        generate(tmp_path)


def test_runs_of_earlier_versions_and_without_files_are_what_they_were(
    tmp_path, monkeypatch, drawn
):
    monkeypatch.chdir(tmp_path)
    colour(tmp_path / "dog.bmp", "red")
    shards.write(tmp_path / "in.tar", [("a", {"layout.json": layout("dog.bmp")})])
    generate(tmp_path)
    stats = tmp_path / "out" / "in.stats.json"
    body = json.loads(stats.read_text())
    assert [one["name"] for one in body.pop("files")] == ["dog.bmp"]
    stats.write_text(json.dumps(body))
    colour(tmp_path / "dog.bmp", "blue")
    generate(tmp_path)
    assert drawn == ["a"]

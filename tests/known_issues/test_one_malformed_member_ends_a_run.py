"""One malformed member in one sample ended `generate` and `train` with a traceback.

Members were read wherever they were needed, by readers that believed their types.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
import scenes
from conftest import samples
from parts import part
from toy_method import train
from typer.testing import CliRunner

from socialcli import records, registry, shards
from socialcli.cli import app
from socialcli.generation.stage import GenerateStage
from socialcli.methods.train import _subjects
from socialcli.shards import index as indexing

MALFORMED = {
    "caption.json": b'{"schema":1,"text":[]}',
    "entities.json": b'{"schema":1,"entities":{"id":1}}',
    "boxes.json": b'{"schema":1,"width":120,"height":80,"boxes":[{"id":1,"xyxy":[[0],0,1,1]}]}',
    "people.json": b'{"schema":1,"width":120,"height":80,"models":false}',
    "meta.json": b'{"schema":1,"width":120,"height":80,"extra":' + b"[" * 1000 + b"]" * 1000 + b"}",
    "identity.npy": b"PK\x03\x04",
}


def rows(suffix: str) -> list[tuple[str, dict[str, bytes]]]:
    bad = {suffix: MALFORMED[suffix]}
    return [(f"k{n}", scenes.members(n, bad if n == 1 else None)) for n in range(3)]


@pytest.mark.parametrize("suffix", MALFORMED)
def test_generate_fails_that_sample_alone(tmp_path, suffix):
    shards.write(tmp_path / "a.tar", rows(suffix))
    stage = GenerateStage(registry.load("methods.generate", "ssr"))
    config = stage.config_type()
    read = {s.key: s for s in stage.samples(config, str(tmp_path / "a.tar"), [])}
    assert read["k1"].problem.startswith(f"{suffix}: ")
    for key in ("k0", "k2"):
        assert read[key].problem is None and stage.prepare(config, read[key]).references


@pytest.mark.parametrize("suffix", MALFORMED)
def test_train_leaves_that_sample_out(tmp_path, suffix):
    pairs = list(samples(0, 5))
    pairs[2] = (pairs[2][0], {**pairs[2][1], suffix: MALFORMED[suffix]})
    shards.write(tmp_path / "a.tar", pairs)
    train(tmp_path / "run", [str(tmp_path / "a.tar")], steps=4)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    skipped = {line["key"]: line["reason"] for line in lines if line.get("event") == "skipped"}
    assert list(skipped) == [pairs[2][0]]
    assert skipped[pairs[2][0]].startswith(f"{suffix}: ")


def test_merge_names_it_and_passes_it_on(tmp_path):
    shards.write(tmp_path / "a.tar", rows("boxes.json"))
    arguments = ["merge", str(tmp_path / "a.tar"), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app.app, arguments)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "a.tar").read_bytes() == (tmp_path / "a.tar").read_bytes()
    (note,) = (tmp_path / "out" / "a.errors.jsonl").read_text().splitlines()
    assert json.loads(note)["key"] == "k1"
    reason = (
        'boxes.json: boxes[0].xyxy[0] is ["0"], not number; make it again with `socialcli ground`'
    )
    assert json.loads(note)["reason"] == reason


@pytest.mark.parametrize("suffix", ["boxes.json", "identity.npy"])
def test_compare_and_export_name_it(tmp_path, suffix):
    shards.write(tmp_path / "a.tar", rows(suffix))
    shards.write(tmp_path / "b.tar", [(f"k{n}", scenes.members(n)) for n in range(3)])
    one, two = str(tmp_path / "a.tar"), str(tmp_path / "b.tar")
    for arguments in (
        ["compare", one, two],
        ["compare", two, one],
        ["export", one, "-o", str(tmp_path / "o.json"), "--max-error-rate", "1"],
    ):
        done = CliRunner().invoke(app.app, arguments)
        assert done.exit_code == 0, done.output
        assert f"k1: {suffix}: " in done.output and "Traceback" not in done.output


def opened(folder: Path, pairs: list[tuple[str, dict[str, bytes]]]) -> indexing.Index:
    shards.write(folder / "a.tar", pairs)
    return indexing.build([str(folder / "a.tar")], folder / "cache")


def named(number: int, changed: dict[str, bytes] | None = None) -> dict[str, bytes]:
    extra = {"concept": ("lift", "push")[number % 2]}
    meta = records.Meta(scenes.WIDTH, scenes.HEIGHT, extra=extra)
    return scenes.members(number, {"meta.json": meta, **(changed or {})})


@pytest.mark.parametrize(
    "bad",
    [
        {"people.json": MALFORMED["people.json"]},
        {"boxes.json": b'{"schema":1,"width":120,"height":80,"boxes":[]}'},  # people link to them
        {"jpg": scenes.picture()[:-300]},
    ],
)
def test_pose_judge_looks_at_all_before_it_starts(tmp_path, bad):
    pairs = [(f"k{n}", named(n, bad if n == 4 else None)) for n in range(5)]
    index = opened(tmp_path, pairs)
    method = part("methods.train", "pose-judge")
    chosen = method.select(method.Config(), index)
    assert [entry.key for entry in chosen.entries] == ["k0", "k1", "k2", "k3"]
    assert list(chosen.unusable) == ["k4"]


def test_celeb_basis_looks_at_all_before_it_starts(tmp_path):
    two = records.identity_array([1, 2], numpy.ones((2, 8), numpy.float32))
    bad = {1: {records.IDENTITY: records.dump_identity(two)},
           2: {records.IDENTITY: MALFORMED["identity.npy"]}}  # fmt: skip
    index = opened(tmp_path, [(f"k{n}", scenes.members(n, bad.get(n))) for n in range(4)])
    method = part("methods.invert", "celeb-basis")
    config = method.Config(token="<ada>", by="none", names="mini")
    chosen = method.select(config, index)
    assert [entry.key for entry in chosen.entries] == ["k0", "k3"]
    assert "2 face embeddings" in chosen.unusable["k1"]


def test_subjects_are_named_without_the_malformed(tmp_path):
    pairs = [(f"k{n}", named(n, {"people.json": MALFORMED["people.json"]} if n < 2 else None))
             for n in range(4)]  # fmt: skip
    subject = _subjects.Subject("Ada", samples=[0, 1, 2, 3])
    assert _subjects._class(subject, opened(tmp_path, pairs)) == "woman"

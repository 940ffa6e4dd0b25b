"""A command told to "run `socialcli ground` first" of samples on which ground had run, and failed:
whoever did so got the same failure again, and its reason stood in another folder."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import scenes
from conftest import members, samples
from parts import part

from socialcli import shards
from socialcli.errors import SampleFailed, UsageError
from socialcli.evaluation import joining
from socialcli.evaluation.metrics import Needs
from socialcli.evaluation.samples import Known
from socialcli.generation import controls, references
from socialcli.methods.train import _examples
from socialcli.pipeline.report import Report
from socialcli.training import data

FAILED = r"failed on this sample \(out of memory\); mend that and run it again with --retry-failed"


def reasons(folder) -> dict[str, str]:
    lines = [line for file in folder.glob("*.errors.jsonl") for line in file.open()]
    return {one["key"]: one["reason"] for one in map(json.loads, lines)}


def test_the_reason_travels_down_the_chain(run_cli, tmp_path):
    shards.write(tmp_path / "in/000.tar", samples(0, 2))
    (tmp_path / "captions.csv").write_text("key,caption\n00000,A man walks.\n")
    made = ["--max-error-rate", 1]
    flags = ["--captions", tmp_path / "captions.csv"]
    run_cli("caption", tmp_path / "in", "-o", tmp_path / "a", *flags, *made)
    run_cli("caption", tmp_path / "in", "-o", tmp_path / "side", "--sidecar", *flags, *made)
    (tmp_path / "side/000.errors.jsonl").unlink()  # a sidecar carries the reason itself
    why = "`socialcli caption` failed on this sample ("
    for source, out in ((f"{tmp_path}/a", tmp_path / "b"),
                        (f"{tmp_path}/in/+{tmp_path}/side/", tmp_path / "b2")):  # fmt: skip
        run_cli("extract-entities", source, "-o", out, *made)
        (reason,) = reasons(out).values()
        assert reason.startswith(f"no caption.json: {why}")
        assert reason.endswith("has no caption for this key); mend that and run it again with "
                               "--retry-failed")  # fmt: skip
        # Whoever comes later looks beside its own input, where the one between has said why.
        lost = next(s for s in shards.read(str(out / "000.tar")) if s.key == "00001")
        assert f"no caption.json: {why}" in str(lost.lacking("caption.json"))
        assert (
            f"no entities.json: `socialcli extract-entities` failed on this sample ({reason}"
            in (str(lost.lacking("entities.json")))
        )
    # The mend that is named is one.
    (tmp_path / "captions.csv").write_text("key,caption\n00000,A man walks.\n00001,A dog.\n")
    run_cli("caption", tmp_path / "in", "-o", tmp_path / "a", *flags, "--retry-failed")
    assert "caption.json" in members(tmp_path / "a")["00001"]


def test_a_pipe_carries_no_reasons(run_cli, tmp_path):
    shards.write(tmp_path / "in.tar", samples(0, 1))
    line = ["layout", "-", "-o", tmp_path / "out.tar", "--max-error-rate", 1]
    run_cli(*line, stdin=(tmp_path / "in.tar").read_bytes())
    assert reasons(tmp_path) == {
        "00000": "no boxes.json: run `socialcli ground` first (if it ran, it failed on this sample)"
    }


@pytest.fixture
def failed(tmp_path) -> str:
    """Two samples of which ground, segment and extract-entities have failed on the second."""
    bare = {n: m for n, m in scenes.members().items() if n.rpartition(".")[2] in ("jpg", "png")}
    shards.write(tmp_path / "x.tar", [("a", bare), ("b", bare)])
    note = {"key": "b", "status": "failed", "reason": "out of memory"}
    stages = ("ground", "segment", "extract-entities", "annotate-pose")
    lines = [{**note, "stage": s} for s in stages]
    lines.append({**note, "key": "a", "status": "filtered", "stage": "ground"})
    (tmp_path / "x.errors.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return str(tmp_path / "x.tar")


@pytest.mark.parametrize(
    ("stage", "suffix", "writer"),
    [
        ("segment", "boxes.json", "ground"),
        ("ground", "entities.json", "extract-entities"),
        ("layout", "boxes.json", "ground"),
    ],
)
def test_every_stage_says_so(failed, stage, suffix, writer):
    which = part("stages", stage)
    first, second = shards.read(failed)
    with pytest.raises(SampleFailed, match=f"^no {suffix}: run `socialcli {writer}` first$"):
        which.prepare(which.config_type(), first)
    with pytest.raises(SampleFailed, match=f"^no {suffix}: `socialcli {writer}` {FAILED}"):
        which.prepare(which.config_type(), second)


def test_other_readers_say_so_too(failed):
    second = list(shards.read(failed))[1]
    named = "nothing names its subjects: no entities.json: `socialcli extract-entities`"
    with pytest.raises(SampleFailed, match=f"^{named} {FAILED}, or give --query WORDS$"):
        references.words(second, "nouns")
    needed = "no masks.json, which --masked-loss needs: `socialcli segment`"
    with pytest.raises(SampleFailed, match=f"^{needed} {FAILED}$"):
        _examples.check(SimpleNamespace(augment=0.0), second, masked=True)
    second.members |= {n: m for n, m in scenes.members().items() if n != "masks.json"}
    layout = part("stages", "layout")
    masks = "no masks.json: `socialcli segment`"
    with pytest.raises(SampleFailed, match=f"^{masks} {FAILED}, or give --shapes boxes$"):
        layout.of_sample(layout.config_type(), second)


def test_skeletons_to_draw_and_what_metrics_compare_with(failed):
    first, second = shards.read(failed)
    with pytest.raises(
        SampleFailed, match=r"no skeleton to draw: give shards with layout\.json or"
    ):
        controls.skeletons_of(first)
    with pytest.raises(SampleFailed, match=f"^no people.json: `socialcli annotate-pose` {FAILED}$"):
        controls.skeletons_of(second)
    needs = {"gaze": Needs(members=("people.json",))}
    generated = Known("g", "g.tar", "")
    for key, mend in (
        ("a", "annotate the reference shards first"),
        ("b", f"the first is b: `socialcli annotate-pose` {FAILED}"),
    ):
        source = joining.Joined(generated, source=Known(key, failed, ""))
        with pytest.raises(UsageError, match=f"has people.json, which gaze compares with; {mend}$"):
            joining._check_members([source], needs, "x.tar")


@pytest.mark.parametrize("packed", [False, True])  # what is packed is copied before it is read
def test_training_names_the_first(failed, tmp_path, packed):
    place = SimpleNamespace(first=True, wait=lambda: None)
    method = SimpleNamespace(READS=("masks.json",))
    notes = tmp_path / "x.errors.jsonl"
    if packed:
        failed += ".gz"
        Path(failed).write_bytes(gzip.compress(Path(failed.removesuffix(".gz")).read_bytes()))
    run = functools.partial(data.usable, method, None, [failed], tmp_path, place, Report(True))
    with pytest.raises(UsageError, match=r"2 of 2 samples have no masks.json: run `socialcli seg"):
        run()
    notes.write_text(notes.read_text().replace('"b"', '"a"'))
    first = "the first is a: no masks.json: `socialcli segment`"
    with pytest.raises(UsageError, match=f"2 of 2 samples have no masks.json; {first} {FAILED}$"):
        run()

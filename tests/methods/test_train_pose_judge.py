"""Judges of interactions, from exemplars to a score beside which their own accuracy stands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from parts import part

from socialcli import shards
from socialcli.errors import UsageError
from socialcli.miniature.world import interactions as world
from socialcli.networks import pose_judge

method = part("methods.train", "pose-judge")
WEIGHTS = Path(pose_judge.__file__).parents[1] / "miniature" / "weights"
POSE = str(WEIGHTS / "pose")
TWO = (0, 13)  # kneel-before and point-at, which nobody confuses


@pytest.fixture(scope="module")
def exemplars(tmp_path_factory) -> str:
    """Five exemplars of each of two interactions."""
    place = tmp_path_factory.mktemp("data") / "a.tar"
    numbers = [number + 15 * turn for turn in range(5) for number in TWO]
    shards.write(place, [(world.key("interactions", n), world.exemplar(0, n, 96)) for n in numbers])
    return str(place)


def train(output: Path, inputs: str, **changed) -> None:
    import dataclasses

    from socialcli.training import loop

    small = {
        "device": "cpu", "dtype": "float32", "quiet": True, "mixed_precision": "no", "steps": 40,
        "batch_size": 16, "micro_batch": 16, "pose_model": POSE, "held_out": 0.4,
    }  # fmt: skip
    values = {**dataclasses.asdict(method.Config()), **small, **changed}
    loop.run("train", "pose-judge", method, values, [inputs], str(output))


@pytest.fixture(scope="module")
def judge(tmp_path_factory, exemplars) -> Path:
    place = tmp_path_factory.mktemp("judge")
    train(place, exemplars)
    return place


def test_it_tells_two_interactions_apart_and_says_how_well(judge):
    found = pose_judge.read(str(judge))
    assert found.classes == ["kneel-before", "point-at"]
    assert found.held_out == {"count": 4.0, "pose_s": 1.0, "pose_kp": 1.0}
    assert found.pose["model"] == "mini/pose" and found.pose["revision"].startswith("sha256:")


def test_gone_on_with_it_ends_with_the_same_bytes(tmp_path, judge, exemplars):
    train(tmp_path, exemplars, steps=20)
    train(tmp_path, exemplars)
    names = [folder / pose_judge.FILE for folder in (tmp_path, judge)]
    from safetensors.torch import load_file

    mine, theirs = map(load_file, names)
    assert all((mine[name] == theirs[name]).all() for name in theirs)


def test_what_is_held_out_teaches_nothing(tmp_path, exemplars, judge):
    """The held-out exemplars of one class change their pictures; the judge stays the same."""
    read = list(shards.read(exemplars))
    changed = []
    for sample in read:
        members = dict(sample.members)
        if sample.key == "point-at/004":
            other = world.exemplar(0, 0, 96)
            members = {**other, "meta.json": members["meta.json"]}
        changed.append((sample.key, members))
    shards.write(tmp_path / "b.tar", changed)
    train(tmp_path / "out", str(tmp_path / "b.tar"))
    from safetensors.torch import load_file

    mine, theirs = (load_file(f / pose_judge.FILE) for f in (tmp_path / "out", judge))
    assert all((mine[name] == theirs[name]).all() for name in theirs)
    assert pose_judge.read(str(tmp_path / "out")).held_out["pose_s"] == 0.75


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"by": "genre"}, r"at least two interactions apart.*extra\.genre names none"),
        ({"pose_backend": "mediapipe", "pose_model": ""}, r"mediapipe has no encoder"),
    ],
)
def test_what_cannot_be_judged_is_told(tmp_path, exemplars, changed, message):
    if changed.get("pose_backend") == "mediapipe":
        pytest.importorskip("mediapipe")
    with pytest.raises(UsageError, match=message):
        train(tmp_path, exemplars, **changed)


def test_a_score_shows_the_judges_own_accuracy_beside_its_own(tmp_path, judge, exemplars, run_cli):
    """Real scenes through the whole of `score`; against the judge asked by hand."""
    run_cli(
        "score", exemplars, "--real", "--profile", "mini", "--metrics",
        "clip-t,clip-s,pose-s,pose-kp", "--pose-judge", judge, "--resamples", 20, "-o", tmp_path,
    )  # fmt: skip
    body = json.loads((tmp_path / "score.json").read_text())
    columns = body["columns"]
    assert columns["pose_s_held_out"]["value"] == columns["pose_kp_held_out"]["value"] == 100
    for name in ("pose_s", "pose_kp"):
        assert columns[name]["value"] >= 60 and columns[name]["n"] == 10
        assert columns[name]["low"] is not None
    assert 0 < columns["clip_s"]["value"] < 1
    notes = " ".join(body["notes"])
    assert "2 interactions (chance 50.0 %)" in notes and "100.0 % of 4 held-out" in notes
    table = (tmp_path / "table.md").read_text()
    assert "Pose-S of exemplars" in table
    # CLIP-S by hand, of the first picture.
    from socialcli import backends, records
    from socialcli.backends import ModelSpec
    from socialcli.vision import images

    sample = next(iter(shards.read(exemplars)))
    clip = backends.load(ModelSpec("clip", "clip", str(WEIGHTS / "clip")))
    o1, o2 = (e.head for e in sample.record(records.Entities).entities)
    text = clip.texts([f"A photo of a {o1} and a {o2}"])[0]
    wanted = float(text @ clip.images([images.decode(sample.picture())])[0])
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    mine = next(line for line in lines if line["key"] == sample.key)
    assert json.dumps(mine).find("clip_s") > 0
    assert _value(mine, "clip_s") == pytest.approx(wanted, abs=1e-4)


def _value(body: object, name: str) -> float:
    """A number somewhere in nested JSON."""
    if isinstance(body, dict):
        if name in body:
            return float(body[name])
        for inner in body.values():
            found = _value(inner, name)
            if found == found:
                return found
    return float("nan")


def test_a_judge_of_another_pose_model_and_no_judge_are_refused(
    tmp_path, judge, exemplars, run_cli
):
    done = run_cli(
        "score", exemplars, "--real", "--profile", "mini", "--metrics", "pose-s", "-o", tmp_path,
        code=2,
    )  # fmt: skip
    assert b"need --pose-judge FOLDER" in done.stderr

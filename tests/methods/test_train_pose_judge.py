"""Judges of interactions, from exemplars to a score beside which their own accuracy stands."""

from __future__ import annotations

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
    loaded = pose_judge.read(str(judge))
    assert loaded.classes == ["kneel-before", "point-at"]
    assert loaded.held_out == {"count": 4.0, "pose_s": 1.0, "pose_kp": 1.0}
    assert loaded.pose["model"] == "mini/pose" and loaded.pose["revision"].startswith("sha256:")


def test_gone_on_with_it_ends_with_the_same_bytes(tmp_path, judge, exemplars):
    train(tmp_path, exemplars, steps=20)
    train(tmp_path, exemplars)
    names = [folder / pose_judge.FILE for folder in (tmp_path, judge)]
    from safetensors.torch import load_file

    resumed, whole = map(load_file, names)
    assert all((resumed[name] == whole[name]).all() for name in whole)


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

    without, expected = (load_file(f / pose_judge.FILE) for f in (tmp_path / "out", judge))
    assert all((without[name] == expected[name]).all() for name in expected)
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


def test_a_score_needs_a_judge_and_its_own_pose_model(judge):
    """Told before a picture is looked at."""
    from types import SimpleNamespace

    from socialcli.records import Model

    feature = part("features", "pose-judged")
    with pytest.raises(UsageError, match="need --pose-judge FOLDER"):
        feature.load(SimpleNamespace(pose_judge=""))
    loaded = feature.load(SimpleNamespace(pose_judge=str(judge)))
    assert loaded.model.options["held_out"]["pose_s"] == 1.0
    known = pose_judge.read(str(judge)).pose

    def pose(revision: str) -> SimpleNamespace:
        return SimpleNamespace(
            model=Model("vitpose", known["model"], revision), encode=lambda *_: None
        )

    feature.check_models([pose(known["revision"]), loaded])
    with pytest.raises(UsageError, match="--pose-judge learned from the pose model mini/pose"):
        feature.check_models([pose("sha256:other"), loaded])


def test_the_two_subjects_of_a_picture():
    """Each name its best box, the left one first; one box is not two subjects."""
    from socialcli.evaluation.features import Look, pose_judged

    left, right = [0.1, 0.1, 0.4, 0.9], [0.5, 0.1, 0.9, 0.9]

    def two(names, *boxes):
        detected = {"boxes": [[n, b] for n, b, _ in boxes], "scores": [s for *_, s in boxes]}
        return pose_judged._two(Look(extra=names, before={"subject-objects": detected}))

    assert two(["dog", "cat"], ("dog", right, 0.9), ("cat", left, 0.8)) == [
        tuple(left), tuple(right),
    ]  # fmt: skip
    assert two(["man", "man"], ("man", right, 0.9), ("man", left, 0.4)) == [
        tuple(left), tuple(right),
    ]  # fmt: skip
    same = two(["dog", "cat"], ("dog", right, 0.9), ("cat", right, 0.8), ("cat", left, 0.3))
    assert same == [tuple(left), tuple(right)]
    assert two(["dog", "cat"], ("dog", right, 0.9)) == [tuple(right)]

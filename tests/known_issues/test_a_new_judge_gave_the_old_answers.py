"""A judge of interactions that was trained again gave the answers of the first one: what features
are kept under did not say which judge had been asked, so that Pose-S and Pose-KP of a second score
into the same folder were the first judge's, beside the second one's own accuracy."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from parts import part

from socialcli.evaluation.features import _store
from socialcli.evaluation.settings import config_type
from socialcli.networks import pose_judge


def kept_under(root: Path, judge: str) -> Path:
    config = config_type()(device="cpu", dtype="float32", pose_judge=judge)
    return _store.place(root, part("features", "pose-judged"), config)


@pytest.mark.parametrize("named", ["folder", "file"])
def test_answers_are_kept_by_the_judge_that_gave_them(tmp_path, named):
    folder = tmp_path / "judge"
    folder.mkdir()
    file = folder / pose_judge.FILE
    given = str(folder if named == "folder" else file)
    file.write_bytes(b"first")
    (folder / "log.jsonl").write_text("{}")
    first = kept_under(tmp_path, given)
    (folder / "log.jsonl").write_text("{}{}")  # what else lies there says nothing of the judge
    assert kept_under(tmp_path, given) == first
    file.write_bytes(b"other")
    assert kept_under(tmp_path, given) != first
    file.write_bytes(b"first")
    assert kept_under(tmp_path, given) == first


def test_every_feature_with_a_model_of_its_own_says_which():
    """A feature that loads something itself names it among what its values depend on."""
    from socialcli import registry

    config = config_type()(
        pose_judge="x.safetensors", segmentation_model="x", inception_model="x", device="cpu"
    )
    with_own = [
        name for name in registry.available("features") if part("features", name).has("load")
    ]
    assert {"pose-judged", "inception", "subject-encoder"} <= set(with_own)
    bare = SimpleNamespace(**vars(config_type()()))
    for name in with_own:
        feature = part("features", name)
        assert feature.options(config) != feature.options(bare), name

"""``invert --method interaction`` with more --steps trained the pose words on, and then refused the
relation that stood on the first ones: neither more steps nor as many as before went on from there.
Now a line says so before anything changes, and --pose-steps keeps the pose words as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from parts import part

from socialcli.errors import UsageError

method = part("methods.invert", "interaction")


def phases(output: Path, **options):
    return method.phases(method.Config(**options), output)


def test_pose_words_under_a_relation_stay_as_they_are(tmp_path):
    (tmp_path / "poses" / "checkpoints" / "step-000100").mkdir(parents=True)
    assert [p.config.steps for p in phases(tmp_path, steps=200)] == [200, 200]  # no relation yet
    (tmp_path / "checkpoints" / "step-000050").mkdir(parents=True)
    assert [p.config.steps for p in phases(tmp_path, steps=100)] == [100, 100]
    with pytest.raises(UsageError, match=r"above pose words of 100 steps.*give --pose-steps 100"):
        phases(tmp_path, steps=200)
    assert [p.config.steps for p in phases(tmp_path, steps=200, pose_steps=100)] == [100, 200]


def test_each_stage_is_told_by_its_own_steps(tmp_path):
    """So that --pose-steps may be given later than --steps."""
    one, two = (phases(tmp_path, steps=9, **more) for more in ({}, {"pose_steps": 9}))
    assert [p.config for p in one] == [p.config for p in two]

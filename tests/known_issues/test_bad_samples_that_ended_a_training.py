"""One bad sample ended a whole run with a traceback where samples are looked at outside of a step:
by `train --method tiny-decoder --validate-every` among the first samples, and by `train --method
pose-judge` where the pose backend finds nobody in a box."""

from __future__ import annotations

from types import SimpleNamespace

import numpy
import pytest
import scenes
import torch
from parts import part
from tiny import diffusion as tiny

from socialcli import backends, records, shards
from socialcli.errors import SampleFailed, UsageError
from socialcli.miniature.world import interactions as world
from socialcli.shards import index as indexing

judge, decoder = part("methods.train", "pose-judge"), part("methods.train", "tiny-decoder")
TWO = (0, 13)  # kneel-before and point-at


def indexed(folder, given) -> indexing.Index:
    shards.write(folder / "data.tar", given)
    return indexing.build([str(folder / "data.tar")], folder / "cache")


def test_validation_passes_over_pictures_that_cannot_be_read(tmp_path):
    """The first of them; in a step another sample takes its place."""
    broken = {"jpg": scenes.picture(0)[:200]}
    boxes = {"jpg": scenes.picture(1), "boxes.json": b'{"boxes": 1}'}
    good = [(f"good {n}", {"jpg": scenes.picture(n)}) for n in range(5)]
    index = indexed(tmp_path, [("broken", broken), ("malformed", boxes), *good])
    model = str(tiny.stable_diffusion(tmp_path / "model"))
    place = SimpleNamespace(index=index, device=torch.device("cpu"), dtype=torch.float32)
    config = decoder.Config(model=model, device="cpu", dtype="float32", width=8, blocks="1,1,0")
    drawn = decoder.validate(decoder.load(config, place))
    names = [f"good {n}, {whose}" for n in range(4) for whose in ("the model's own", "small")]
    assert [caption for caption, _ in drawn] == names


class Estimator:
    """Finds nobody in the exemplars of these numbers."""

    model = records.Model("vitpose", "made-up")

    def __init__(self, blind: set[int]) -> None:
        self.blind, self.asked = blind, -1

    def encode(self, images, boxes):
        return [numpy.ones((2, 4), numpy.float32) * n for n, _ in enumerate(images)]

    def estimate(self, images, boxes):
        self.asked += 1
        if self.asked in self.blind:
            return [[None, None] for _ in images]
        return [[records.Keypoints([(0.1 + k, 0.2, 2.0)] * 17) for k in (0, 1)] for _ in images]


def test_exemplars_in_which_nobody_is_found_are_left_out(tmp_path, monkeypatch):
    numbers = [number + 15 * turn for turn in range(3) for number in TWO]
    given = [(world.key("interactions", n), world.exemplar(0, n, 96)) for n in numbers]
    place = SimpleNamespace(index=indexed(tmp_path, given), device=torch.device("cpu"))
    monkeypatch.setattr(backends, "load", lambda spec: Estimator({1}))
    state = judge.load(judge.Config(), place)
    assert list(state.exemplars) == [0, 2, 3, 4, 5] and len(state.classes) == 2
    assert sum(one.held_out for one in state.exemplars.values()) == 2
    assert judge.prepare(state, place.index.read(0), SimpleNamespace(number=0))["weight"] == 1
    with pytest.raises(SampleFailed, match="finds nobody in one of the two boxes"):
        judge.prepare(state, place.index.read(1), SimpleNamespace(number=0))
    monkeypatch.setattr(backends, "load", lambda spec: Estimator({1, 3}))
    with pytest.raises(UsageError, match="in 1 of the exemplars of interaction point-at"):
        judge.load(judge.Config(), place)

"""A feedback of another package takes part in a training step like those of the paper."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from socialcli import registry
from socialcli.methods.train.feedback import _options
from socialcli.training import feedback as feedbacks

TEMPLATE = Path(__file__).parents[2] / "docs" / "template"


@pytest.fixture
def tone(monkeypatch):
    """The template's feedback as an installed package's entry point, and the Config with it."""
    point = ("tone", "socialcli_template.tone")
    entry_points = registry._entry_points
    monkeypatch.syspath_prepend(str(TEMPLATE))
    monkeypatch.setattr(
        registry,
        "_entry_points",
        lambda group: [point] if group == "socialcli.feedbacks" else entry_points(group),
    )
    caches = (registry.available, registry.outside, _options.config_type)
    for cache in caches:
        cache.cache_clear()
    yield _options.config_type()
    for cache in caches:
        cache.cache_clear()
    for name in [n for n in sys.modules if n.startswith("socialcli_template")]:
        del sys.modules[name]


def test_it_has_a_weight_a_gate_and_a_place(tone) -> None:
    config = tone(ssr_model="x")
    assert config.weight_tone == 0.01 and config.gate_tone == "0-300"
    assert list(feedbacks.all_feedbacks()) == [
        "boundary", "identity", "gaze", "pose", "interaction", "tone",
    ]  # fmt: skip
    chosen = tone(feedback="tone,gaze", ssr_model="x", weight_tone=0.5)
    assert list(_options.wanted(chosen)) == ["gaze", "tone"]
    assert _options.weights(chosen)["tone"] == 0.5
    gate = _options.gates(chosen)["tone"]
    assert gate.open(torch.tensor([0, 300, 301])).tolist() == [True, True, False]


def test_its_loss_moves_the_pictures(tone) -> None:
    watcher = feedbacks.all_feedbacks()["tone"].load(None, None)
    originals = torch.rand(2, 3, 4, 4) * 2 - 1
    targets = watcher.targets(originals, [{}, {}])
    assert watcher.values(originals, targets).tolist() == pytest.approx([0, 0], abs=1e-10)
    estimates = (originals + 0.5).requires_grad_()
    values = watcher.values(estimates, targets)
    assert values.tolist() == pytest.approx([0.75, 0.75])
    values.sum().backward()
    assert (estimates.grad > 0).all()

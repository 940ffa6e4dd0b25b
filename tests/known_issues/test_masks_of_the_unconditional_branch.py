"""`--query-by mask` masked what the subject is read from, and not the unconditional branch; the
official code masks both. Guidance then led away from something else than there."""

from __future__ import annotations

from types import SimpleNamespace

import numpy
import pytest
import torch

from socialcli.methods.generate import ssr

UNSEEN, UNSAID, SEEN = torch.zeros(1, 6, 4), torch.zeros(1, 5, 4), torch.ones(1, 6, 4)


@pytest.fixture
def state(monkeypatch):
    """An encoder that says what it was asked."""

    def subject_tokens(features, query, mask=None, weight=None):
        shown = -1.0 if mask is None else float(mask.sum()) * weight
        return torch.tensor([[float(features.sum()), float(query.sum()), shown]])

    monkeypatch.setattr(ssr, "_features", lambda state, image: SEEN)
    return SimpleNamespace(
        studio=SimpleNamespace(text=lambda words: torch.full((5, 4), 2.0)),
        ssr=SimpleNamespace(
            encoder=SimpleNamespace(subject_tokens=subject_tokens),
            mask=lambda mask: torch.from_numpy(mask).float()[None],
        ),
        unseen=UNSEEN, unsaid=UNSAID, nothing="tokens of nothing",
    )  # fmt: skip


def reference(mask):
    return SimpleNamespace(key="r", query="dog", image=None, mask=mask)


def test_both_branches_are_masked(state) -> None:
    mask = numpy.zeros((4, 4), bool)
    mask[1:3, 1:4] = True
    without, of = ssr.subject(state, reference(mask), 5.0)
    assert of.tolist() == [24.0, 40.0, 30.0]
    assert without.tolist() == [0.0, 0.0, 30.0]  # no picture, no words, the same mask and weight


def test_without_a_mask_nothing_is(state) -> None:
    without, of = ssr.subject(state, reference(None), 5.0)
    assert without == "tokens of nothing" and of.tolist() == [24.0, 40.0, -1.0]

"""The subject-aware loss: the printed form rewards doubt, its readings do not."""

from __future__ import annotations

import pytest
import torch

from socialcli.losses.subject_aware import FORMS, loss


def value(probability: float, form: str) -> float:
    logits = torch.full((1, 4, 4), probability, dtype=torch.float64).logit()
    return float(loss(logits, torch.ones(1, 4, 4), form))


def test_values_by_hand():
    """Of one pixel p: entropy h = -p ln p - (1 - p) ln (1 - p)."""
    p = 0.8
    h = -(p * torch.tensor(p).log() + (1 - p) * torch.tensor(1 - p).log()).item()
    assert value(p, "entropy") == pytest.approx(h, abs=1e-6)
    assert value(p, "printed") == pytest.approx(1 - h, abs=1e-6)
    assert value(p, "pseudo-label") == pytest.approx(-torch.tensor(p).log().item(), abs=1e-6)
    assert value(0.2, "pseudo-label") == pytest.approx(-torch.tensor(0.8).log().item(), abs=1e-6)
    assert value(0.6, "pseudo-label") == pytest.approx(-torch.tensor(0.6).log().item(), abs=1e-6)
    assert value(0.2, "segment") == pytest.approx(-torch.tensor(0.2).log().item(), abs=1e-6)


def test_the_printed_form_asks_for_doubt():
    """Going down it leads to p = 1/2; down the others to certainty."""
    assert value(0.5, "printed") < value(0.8, "printed") < value(0.99, "printed")
    for form in ("entropy", "pseudo-label", "segment"):
        assert value(0.5, form) > value(0.8, form) > value(0.99, form)


@pytest.mark.parametrize("form", FORMS)
def test_only_the_segment_counts_and_gradients_are_right(form):
    logits = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(2, 3, 3, dtype=torch.float64)
    masks[0, :2] = 1  # the second segment is empty
    logits.requires_grad_(True)
    values = loss(logits, masks, form)
    assert values[1] == 0
    (slope,) = torch.autograd.grad(values.sum(), logits)
    assert not slope[1].any() and not slope[0, 2].any() and slope[0, :2].any()
    assert torch.autograd.gradcheck(lambda x: loss(x, masks, form), (logits,))

"""The face-wise attention loss: Eq. 4 by hand, its gradient, and that the reference has none."""

from __future__ import annotations

import pytest
import torch

from socialcli.errors import UsageError
from socialcli.losses import attention_region


def test_eq_4_by_hand():
    random = torch.Generator().manual_seed(0)
    target, reference = (torch.rand(2, 3, 4, 5, 6, generator=random).double() for _ in range(2))
    for reduction, count in (("sum", 1), ("mean", 3 * 4 * 5 * 6)):
        values = attention_region.loss(target, reference, reduction)
        for row in range(2):
            by_hand = sum(
                (float(a) - float(b)) ** 2
                for a, b in zip(target[row].flatten(), reference[row].flatten(), strict=True)
            )
            assert float(values[row]) == pytest.approx(by_hand / count)
    assert not attention_region.loss(target, target).any()


def test_it_falls_when_attention_comes_nearer_and_the_reference_stays():
    random = torch.Generator().manual_seed(1)
    target = torch.rand(1, 2, 3, 4, 4, generator=random).double().requires_grad_(True)
    reference = torch.rand(1, 2, 3, 4, 4, generator=random).double().requires_grad_(True)
    losses = [
        float(attention_region.loss(target.lerp(reference, s), reference).detach())
        for s in (0.0, 0.3, 0.9, 1.0)
    ]
    assert losses == sorted(losses, reverse=True) and losses[-1] == 0
    attention_region.loss(target, reference).sum().backward()
    assert reference.grad is None
    step = torch.zeros_like(target)
    step[0, 1, 2, 3, 0] = 1e-6
    with torch.no_grad():
        up, down = (attention_region.loss(target + s, reference) for s in (step, -step))
    assert float(target.grad[0, 1, 2, 3, 0]) == pytest.approx(float((up - down) / 2e-6), rel=1e-6)


def test_what_does_not_fit():
    with pytest.raises(UsageError, match="shapes must be equal"):
        attention_region.loss(torch.zeros(1, 1, 2, 3, 3), torch.zeros(1, 1, 2, 3, 4))
    with pytest.raises(UsageError, match="sum, mean"):
        attention_region.loss(torch.zeros(1, 1, 1, 1, 1), torch.zeros(1, 1, 1, 1, 1), "max")

"""L_CA of learned interactions: by hand in float64, its gradients, what it sees and what not."""

from __future__ import annotations

import numpy
import pytest
import torch
from torch.autograd import gradcheck

from socialcli.losses import cross_attention


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def mask(count: int = 2, side: int = 8) -> torch.Tensor:
    """The left half of the picture."""
    stack = torch.zeros(count, side, side, dtype=torch.float64)
    stack[:, :, : side // 2] = 1
    return stack


def by_hand(relation: numpy.ndarray, poses: numpy.ndarray, inside: numpy.ndarray) -> float:
    """Eqs. 6 and 7 with min-max, cell by cell; the mask is twice as fine as the maps."""
    height, width = relation.shape
    merged = numpy.zeros((height, width))
    for y in range(height):
        for x in range(width):
            share = inside[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean()
            merged[y, x] = (poses[0, y, x] + poses[1, y, x]) * share
    goal = (merged - merged.min()) / (merged.max() - merged.min())
    scaled = (relation - relation.min()) / (relation.max() - relation.min())
    return float(((scaled - goal) ** 2).mean())


def test_it_is_equations_6_and_7_by_hand():
    relation, poses, inside = maps(2, 4, 4), maps(2, 2, 4, 4, seed=1), mask()
    values = cross_attention.loss(relation, poses, inside)
    for at in range(2):
        wanted = by_hand(relation[at].numpy(), poses[at].numpy(), inside[at].numpy())
        assert float(values[at]) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("norm", cross_attention.NORMS)
def test_gradients_agree_with_finite_differences(norm):
    relation = maps(2, 4, 4, seed=2).requires_grad_()
    poses = maps(2, 2, 4, 4, seed=3)
    assert gradcheck(lambda r: cross_attention.loss(r, poses, mask(), norm), (relation,))


def test_the_poses_are_a_target():
    relation, poses = maps(1, 4, 4).requires_grad_(), maps(1, 2, 4, 4, seed=1).requires_grad_()
    cross_attention.loss(relation, poses, mask(1)).sum().backward()
    assert poses.grad is None and relation.grad.abs().sum() > 0


def test_it_sees_nothing_of_the_poses_outside_the_mask():
    relation, poses = maps(1, 4, 4), maps(1, 2, 4, 4, seed=1)
    changed = poses.clone()
    changed[..., 2:] += 5
    for norm in cross_attention.NORMS:
        values = [cross_attention.loss(relation, p, mask(1), norm) for p in (poses, changed)]
        assert torch.equal(*values)


@pytest.mark.parametrize("norm", cross_attention.NORMS)
def test_it_falls_as_the_relation_looks_where_the_poses_look(norm):
    poses, inside = maps(1, 2, 4, 4, seed=1), mask(1)
    goal = cross_attention.target(poses, inside, norm)
    start = cross_attention.normalised(maps(1, 4, 4), norm)
    values = [
        float(cross_attention.loss(start * (1 - share) + goal * share, poses, inside, norm))
        for share in (0.0, 0.5, 0.9, 1.0)
    ]
    assert values == sorted(values, reverse=True) and values[-1] < 1e-12


def test_a_sample_without_subjects_says_nothing():
    inside = mask()
    inside[1] = 0
    relation = maps(2, 4, 4).requires_grad_()
    values = cross_attention.loss(relation, maps(2, 2, 4, 4, seed=1), inside)
    assert values[0] > 0 and values[1] == 0
    values.sum().backward()
    assert relation.grad[1].abs().sum() == 0 and relation.grad.isfinite().all()

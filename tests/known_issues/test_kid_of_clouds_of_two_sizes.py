"""`score --metrics kid` of 40 pictures and 70 references was the mean over subsets of 40 of these,
up to a tenth off, and another one where the references came in another order; its interval was that
of the estimate over all."""

from __future__ import annotations

import numpy
import pytest
from parts import part

kid = part("metrics", "kid")


@pytest.mark.parametrize("sizes", [(40, 70), (70, 40), (50, 50)])
def test_the_order_of_pictures_says_nothing(sizes):
    pytest.importorskip("torchmetrics")
    rng = numpy.random.default_rng(5)
    drawn, theirs = (rng.normal(n, 1, (count, 6)).astype(numpy.float32) / 4
                     for n, count in enumerate(sizes))  # fmt: skip
    values = []
    for _ in range(3):
        rows = {"generated": rng.permutation(drawn), "reference": rng.permutation(theirs)}
        values.append(kid.estimate(rows, numpy.ones((1, len(drawn))))["kid"][0])
    x, y = drawn.astype(float), theirs.astype(float)

    def kernel(a, b):
        return (a @ b.T / 6 + 1) ** 3

    def within(a):
        return (kernel(a, a).sum() - kernel(a, a).trace()) / (len(a) * (len(a) - 1))

    by_hand = within(x) + within(y) - 2 * kernel(x, y).mean()
    assert values == pytest.approx([by_hand] * 3, rel=1e-6)

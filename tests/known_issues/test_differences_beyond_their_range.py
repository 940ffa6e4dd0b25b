"""`score --compare` gave intervals of a difference of two shares beyond 100: a centred interval (of
average precisions) is moved to the figure's own value, and was cut to a figure's range only."""

import math

import numpy
import pytest

from socialcli.evaluation import compare
from socialcli.evaluation.metrics import Column


@pytest.mark.parametrize("sign", [1, -1])
def test_two_shares_differ_by_one_at_most(sign):
    """Also where a centred interval, moved to the figure's own value, would reach beyond."""
    column, spread = (
        Column("up", "Up", "higher", 0, 1, "share", "a mean"),
        numpy.linspace(0.4, 1.0, 50),
    )
    drawn = [{"up": spread * (sign < 0)}, {"up": spread * (sign > 0)}]
    values = [{"up": 0.95 * (sign < 0)}, {"up": 0.95 * (sign > 0)}]
    cell = compare._cell(column, 1, values, drawn, {"up": numpy.zeros(50)}, "centred")
    ends = sorted(abs(cell[f"difference_{end}"]) for end in ("low", "high"))
    assert cell["difference"] == 0.95 * sign and ends == [pytest.approx(0.665), 1.0]
    open_end = Column(
        "down", "Down", "lower", 0, math.inf, "distance", "a mean"
    )  # a distance has no end
    distances = [{"down": one["up"]} for one in drawn], [{"down": one["up"]} for one in values]
    cell = compare._cell(open_end, 1, distances[1], distances[0], {"down": spread}, "centred")
    assert max(abs(cell["difference_low"]), abs(cell["difference_high"])) > 1.2

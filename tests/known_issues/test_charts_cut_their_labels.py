"""Charts cut labels at their edges ("0.00" under the first bar, "woman carry in meadow" beside a
bar), histograms had no axis of counts, and no chart said in words what it shows.

What a browser makes of them is in tests/reports/test_browser.py; this needs none.
"""

from __future__ import annotations

import re

import pytest

from socialcli.reports import charts


@pytest.mark.parametrize("most", [0, 1, 2, 3, 7, 48, 99, 1234, 98_765_432])
def test_a_histogram_has_an_axis_of_round_counts(most):
    chart = charts.columns([("0.00", most), ("0.50", 0)], "masks", "IoU", ["0.00", "0.50", "1.00"])
    counts = re.findall(r'text-anchor="end">([\d,]+)<', chart)
    ticks = [int(text.replace(",", "")) for text in counts]
    assert ticks[0] == 0 and ticks[-1] >= most and 2 <= len(ticks) <= 6
    step = ticks[1]
    assert ticks == [step * n for n in range(len(ticks))]
    assert str(step)[0] in "125" and not str(step)[1:].strip("0")
    assert ">masks</text>" in chart and ">IoU</text>" in chart


def test_the_first_and_the_last_name_are_inside():
    edges = [f"{n / 20:.2f}" for n in range(21)]
    chart = charts.columns([(e, 5) for e in edges[:-1]], "masks", "IoU", edges)
    labels = re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="middle">([\d.]+)<', chart)
    assert labels[0][1] == "0.00"
    for x, name in labels:  # 7.4 pixels a digit: as wide as DejaVu Sans draws them
        assert float(x) - 3.7 * len(name) >= 0
        assert float(x) + 3.7 * len(name) <= charts.WIDTH


def test_names_of_bars_are_whole():
    names = ["woman carry in meadow", "person hold hands with person in front of a house"]
    chart = charts.bars([(name, 3) for name in names], "triples")
    for name in names:
        assert f'<th scope="row">{name}</th>' in chart
    assert "…" not in chart


def test_every_chart_says_its_numbers():
    histogram = charts.columns([("1", 4), ("2", 6)], "pictures", "boxes")
    assert 'role="img" aria-label="Histogram of pictures by boxes. 1: 4, 2: 6"' in histogram
    rose = charts.rose([3, 0, 1, 0], "gazes")
    assert 'aria-label="gazes by direction' in rose and "0°: 3, 90°: 0, 180°: 1" in rose
    stacked = charts.stacked([("nose", [5, 2, 1])], ("visible", "hidden", "not labelled"))
    assert '<span class="spoken">visible 5, hidden 2, not labelled 1</span>' in stacked

"""Charts in HTML and inline SVG that take their colours from the page, light or dark.

Every chart says in words what it shows, for who does not see it: bars are tables, histograms and
the rose have a label with all their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH = 400
Named = Sequence[tuple[str, int]]


def columns(named: Named, unit: str, axis: str, edges: Sequence[str] | None = None) -> str:
    """A histogram: upright bars over an axis of values, beside an axis of counts.

    Args:
        named: (name, count) of each bin; the name is for the tooltip.
        unit: what is counted: "captions".
        axis: what the values are: "words".
        edges: names of the bins' borders, one more than bins; without, each bar has its own name
            below it.
    """
    total, most = sum(c for _, c in named) or 1, max((c for _, c in named), default=0)
    ticks = _ticks(most)
    left = 24 + max(_width(f"{t:,}") for t in ticks)
    top, bottom, right = 8.0, 150.0, WIDTH - 16.0
    step = min((right - left) / max(len(named), 1), 52.0)  # a few bins stay bars
    gap = min(3.0, step * 0.18)
    middle = (left + right) / 2
    parts = []
    for tick in ticks:
        y = bottom - (bottom - top) * tick / ticks[-1]
        parts.append(
            f'<line class="{"grid" if tick else "axis"}" x1="{left:.1f}" x2="{right:.1f}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:,}</text>'
        )
    for number, (name, count) in enumerate(named):
        tall = (bottom - top) * count / ticks[-1]
        tall = max(tall, 1.5) if count else 0.0
        x, wide = left + number * step + gap / 2, step - gap
        title = f"{name}: {count:,} {unit} ({count / total:.1%})"
        parts.append(
            f'<g class="hit"><title>{escape(title)}</title>'
            f'<rect class="back" x="{x:.1f}" y="{top:g}" width="{wide:.1f}" '
            f'height="{bottom - top:g}"/>'
            f'<rect class="bar" x="{x:.1f}" y="{bottom - tall:.1f}" width="{wide:.1f}" '
            f'height="{tall:.1f}" rx="1.5"/></g>'
        )
    below = [name for name, _ in named] if edges is None else list(edges)
    first = left + (step / 2 if edges is None else 0)
    widest = max(map(_width, below), default=1.0)
    every = max(1, math.ceil((widest + 8) / step))
    for number in range(0, len(below), every):
        half = _width(below[number]) / 2
        x = min(max(first + number * step, half), WIDTH - half)
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 16:g}" text-anchor="middle">'
            f"{escape(below[number])}</text>"
        )
    parts.append(
        f'<text class="title" x="{middle:.1f}" y="{bottom + 33:g}" text-anchor="middle">'
        f"{escape(axis)}</text>"
        f'<text class="title" transform="translate(11 {(top + bottom) / 2:g}) rotate(-90)" '
        f'text-anchor="middle">{escape(unit)}</text>'
    )
    counts = ", ".join(f"{name}: {count:,}" for name, count in named)
    return _svg(WIDTH, bottom + 40, parts, f"Histogram of {unit} by {axis}. {counts}")


def _width(text: str) -> float:
    """How wide a number stands on an axis at most, whatever the reader's font."""
    return 7.4 * len(text) + 4 * text.count("%")


def _ticks(most: int) -> list[int]:
    """Round numbers from 0 to at least ``most``, three to five of them (two for a count of 1)."""
    step = 1
    while step * 4 < most:
        digit = int(str(step)[0])
        step = step * 5 // 2 if digit == 2 else step * 2
    return [step * n for n in range(max(1, math.ceil(most / step)) + 1)]


def bars(named: Named, unit: str) -> str:
    """Lying bars with a name to the left and the count to the right, the most frequent first."""
    most = max((c for _, c in named), default=1) or 1
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        f'<td><div><i style="--part:{max(count / most, 0.005):.3f}"></i>{count:,}</div></td></tr>'
        for name, count in named
    )
    head = f'<thead class="spoken"><tr><th scope="col">name</th><th scope="col">{escape(unit)}'
    return f'<table class="bars">{head}</th></tr></thead><tbody>{rows}</tbody></table>'


def stacked(rows: Sequence[tuple[str, Sequence[int]]], parts_names: Sequence[str]) -> str:
    """Lying bars of one length, cut into shares; classes ``part0``... colour them."""
    lines = []
    for name, counts in rows:
        total = sum(counts) or 1
        spoken = ", ".join(f"{p} {c:,}" for p, c in zip(parts_names, counts, strict=True))
        cut = "".join(
            f'<i class="part{number}" style="--part:{count / total:.3f}"></i>'
            for number, count in enumerate(counts)
        )
        lines.append(
            f'<tr title="{escape(f"{name}: {spoken}")}"><th scope="row">{escape(name)}</th>'
            f'<td><div>{cut}<span class="spoken">{escape(spoken)}</span></div></td></tr>'
        )
    legend = "".join(
        f'<span><i class="part{number}"></i>{escape(part)}</span>'
        for number, part in enumerate(parts_names)
    )
    return (
        f'<table class="bars stacked"><tbody>{"".join(lines)}</tbody></table>'
        f'<p class="legend">{legend}</p>'
    )


def rose(counts: Sequence[int], unit: str) -> str:
    """How often each direction occurs: sector 0 points right, the next ones follow clockwise;
    the area of a petal, not its length, is the count."""
    side, centre, reach, hole = 250, 125.0, 88.0, 10.0
    total, most = sum(counts) or 1, max(counts, default=1) or 1
    step = 2 * math.pi / len(counts)
    parts, spoken = [], []
    for share in (0.25, 1.0):
        radius = hole + (reach - hole) * math.sqrt(share)
        parts.append(
            f'<circle class="grid" cx="{centre:g}" cy="{centre:g}" r="{radius:.1f}"/>'
            f'<text x="{centre + 2 + radius * 0.707:.1f}" y="{centre - 2 - radius * 0.707:.1f}">'
            f"{round(most * share, 2):,g}</text>"
        )
    for number, count in enumerate(counts):
        radius = hole + (reach - hole) * math.sqrt(count / most)
        a, b = (number - 0.46) * step, (number + 0.46) * step
        corners = [(hole, a), (radius, a), (radius, b), (hole, b)]
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = [
            (centre + r * math.cos(t), centre + r * math.sin(t)) for r, t in corners
        ]
        degrees = round(math.degrees(number * step))
        title = f"{degrees}° clockwise from right: {count:,} {unit} ({count / total:.1%})"
        spoken.append(f"{degrees}°: {count:,}")
        parts.append(
            f'<path class="bar" d="M{ax:.1f} {ay:.1f}L{bx:.1f} {by:.1f}A{radius:.1f} {radius:.1f} '
            f'0 0 1 {cx:.1f} {cy:.1f}L{dx:.1f} {dy:.1f}Z"><title>{escape(title)}</title></path>'
        )
    for name, x, y in (
        ("right", side - 2, centre + 4), ("down", centre, side - 6),
        ("left", 2, centre + 4), ("up", centre, 14),
    ):  # fmt: skip
        anchor = {"right": "end", "left": "start"}.get(name, "middle")
        parts.append(f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{name}</text>')
    label = f"{unit} by direction, in degrees clockwise from right. {', '.join(spoken)}"
    return _svg(side, side, parts, label, "rose")


def _svg(width: float, height: float, parts: Sequence[str], label: str, name: str = "") -> str:
    return (
        f'<svg class="chart {name}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )

"""Histograms as inline SVG that takes its colours from the page, light or dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH = 420
Named = Sequence[tuple[str, int]]


def columns(named: Named, unit: str) -> str:
    """Upright bars, one per bin, with the count as a tooltip and every few names below.

    Args:
        unit: what is counted, for the tooltip: "captions".
    """
    high, top = 150, 14
    total, most = sum(c for _, c in named) or 1, max((c for _, c in named), default=1) or 1
    step = min(WIDTH / max(len(named), 1), 52.0)  # a few bins stay bars
    gap = min(3.0, step * 0.18)
    longest = max((len(name) for name, _ in named), default=1)
    every = max(1, math.ceil(longest * 6.6 / step))
    parts = []
    for number, (name, count) in enumerate(named):
        tall = (high - top) * count / most
        x, y = number * step + gap / 2, high - tall
        if count:
            tall, y = max(tall, 1.5), min(y, high - 1.5)
        title = f"{name}: {count:,} {unit} ({count / total:.1%})"
        parts.append(
            f'<g class="hit"><title>{escape(title)}</title>'
            f'<rect class="back" x="{x:.1f}" y="0" width="{step - gap:.1f}" height="{high}"/>'
            f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{step - gap:.1f}" '
            f'height="{tall:.1f}" rx="1.5"/></g>'
        )
        if number % every == 0:
            parts.append(
                f'<text x="{x + (step - gap) / 2:.1f}" y="{high + 16}" '
                f'text-anchor="middle">{escape(name)}</text>'
            )
    parts.append(f'<line class="axis" x1="0" x2="{WIDTH}" y1="{high}" y2="{high}"/>')
    return _svg(WIDTH, high + 22, parts)


def bars(named: Named, unit: str) -> str:
    """Lying bars with a name to the left and the count to the right, the most frequent first."""
    row, left, right = 20, 148, 52
    most = max((c for _, c in named), default=1) or 1
    parts = []
    for number, (name, count) in enumerate(named):
        y = number * row
        wide = max((WIDTH - left - right) * count / most, 1.5)
        shown = name if len(name) <= 22 else name[:21] + "…"
        parts.append(
            f'<g class="hit"><title>{escape(f"{name}: {count:,} {unit}")}</title>'
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(shown)}</text>'
            f'<rect class="bar" x="{left}" y="{y + 3}" width="{wide:.1f}" height="{row - 6}" '
            f'rx="1.5"/><text class="count" x="{left + wide + 6:.1f}" y="{y + 14}">{count:,}</text>'
            "</g>"
        )
    return _svg(WIDTH, max(row * len(named), row), parts)


def stacked(rows: Sequence[tuple[str, Sequence[int]]], parts_names: Sequence[str]) -> str:
    """Lying bars of one length, cut into shares; classes ``part0``... colour them."""
    row, left = 15, 100
    parts = []
    for number, (name, counts) in enumerate(rows):
        y, x, total = number * row, float(left), sum(counts)
        parts.append(f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        for index, (count, part) in enumerate(zip(counts, parts_names, strict=True)):
            wide = (WIDTH - left) * count / total if total else 0
            if wide:
                title = escape(f"{name}: {part} {count:,} ({count / total:.0%})")
                parts.append(
                    f'<rect class="part{index}" x="{x:.1f}" y="{y + 2}" width="{wide:.1f}" '
                    f'height="{row - 4}"><title>{title}</title></rect>'
                )
            x += wide
    legend = " ".join(
        f'<tspan class="key{index}">■</tspan> {escape(part)}  '
        for index, part in enumerate(parts_names)
    )
    high = row * len(rows)
    parts.append(f'<text x="{left}" y="{high + 16}" class="legend">{legend}</text>')
    return _svg(WIDTH, high + 24, parts)


def rose(counts: Sequence[int], unit: str) -> str:
    """How often each direction occurs: sector 0 points right, the next ones follow clockwise;
    the area of a petal, not its length, is the count."""
    side, centre, reach, hole = 250, 125.0, 88.0, 10.0
    total, most = sum(counts) or 1, max(counts, default=1) or 1
    step = 2 * math.pi / len(counts)
    parts = []
    for share in (0.25, 1.0):
        radius = hole + (reach - hole) * math.sqrt(share)
        parts.append(f'<circle class="grid" cx="{centre}" cy="{centre}" r="{radius:.1f}"/>')
    for number, count in enumerate(counts):
        radius = hole + (reach - hole) * math.sqrt(count / most)
        a, b = (number - 0.46) * step, (number + 0.46) * step
        corners = [(hole, a), (radius, a), (radius, b), (hole, b)]
        (ax, ay), (bx, by), (cx, cy), (dx, dy) = [
            (centre + r * math.cos(t), centre + r * math.sin(t)) for r, t in corners
        ]
        degrees = round(math.degrees(number * step))
        title = f"{degrees}° clockwise from right: {count:,} {unit} ({count / total:.1%})"
        parts.append(
            f'<path class="bar" d="M{ax:.1f} {ay:.1f}L{bx:.1f} {by:.1f}A{radius:.1f} {radius:.1f} '
            f'0 0 1 {cx:.1f} {cy:.1f}L{dx:.1f} {dy:.1f}Z"><title>{escape(title)}</title></path>'
        )
    for name, x, y in (
        ("right", side - 2, centre + 4), ("down", centre, side - 6),
        ("left", 2, centre + 4), ("up", centre, 14),
    ):  # fmt: skip
        anchor = {"right": "end", "left": "start"}.get(name, "middle")
        parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{name}</text>')
    return _svg(side, side, parts, "rose")


def _svg(width: float, height: float, parts: Sequence[str], name: str = "") -> str:
    return (
        f'<svg class="chart {name}" viewBox="0 0 {width:g} {height:g}" role="img">'
        + "".join(parts)
        + "</svg>"
    )

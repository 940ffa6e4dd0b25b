"""Figure 1 of the attractor's paper from a comparison of scores: overfitting over the steps.

``python -m socialcli.benchmarks.overfit COMPARED --figure FILE.svg`` prints Markdown from the
``compare.json`` in which every method is a number of steps (`pipelines/overfit-mini.mk`), and draws
the figure.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from socialcli import shards
from socialcli.benchmarks import effects, publishing
from socialcli.benchmarks.effects import Effect

FIGURES = {
    "clip_t": "CLIP-T", "dino": "DINO test", "dino_train": "DINO train", "dino_gap": "DINO gap",
}  # fmt: skip
# Panels of the figure, from the top: its lines with their colours, which every eye tells apart.
PANELS: list[dict[str, str]] = [{"dino_train": "#b45309", "dino": "#1d4ed8"}, {"clip_t": "#111827"}]
WIDTH, HEIGHT, LEFT, RIGHT, TOP = 560, 190, 62, 110, 22


def main(arguments: list[str]) -> int:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(prog="overfit")
    parser.add_argument("compared")
    parser.add_argument("--figure", required=True)
    given = parser.parse_args(arguments)
    publishing.check(parser, given.figure)
    result = effects.load(given.compared)
    shards.write_bytes(given.figure, svg(result).encode())
    print("\n".join(lines(result)))
    return 0


def steps_of(result: dict[str, Any]) -> list[str]:
    """Its methods, which are numbers of steps, in rising order."""
    return sorted(result["cells"], key=int)


def lines(result: dict[str, Any]) -> list[str]:
    """Markdown lines: the figures at each step, then every effect that was named."""
    steps = steps_of(result)
    page = [
        f"{result['units']} test pictures; intervals by bootstrap over test pictures, "
        f"{result['resamples']} resamples.", "",
        "| steps | " + " | ".join(FIGURES.values()) + " |", "|--:" + "|---" * len(FIGURES) + "|",
    ]  # fmt: skip
    for step in steps:
        cells = [effects.figure(result["cells"][step].get(name)) for name in FIGURES]
        page.append(f"| {step} | " + " | ".join(cells) + " |")
    first, last = steps[0], steps[-1]
    expected = [
        Effect(first, last, "dino_gap", 1), Effect(first, last, "clip_t", -1),
        Effect(first, last, "dino", -1),
    ]  # fmt: skip
    return [*page, "", *effects.table(expected, [result])]


def svg(result: dict[str, Any]) -> str:
    """The figure: likeness above, CLIP-T below, over the steps, each with its interval."""
    steps = steps_of(result)
    end, middle = len(PANELS) * HEIGHT + 14, (LEFT + WIDTH - RIGHT) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {end + 16}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
    ]
    for number, panel in enumerate(PANELS):
        parts += _panel(result, steps, panel, number * HEIGHT + TOP)
    parts.append(f'<text x="{middle}" y="{end}" text-anchor="middle">steps</text>')
    return "".join(parts) + "</svg>\n"


def _panel(
    result: dict[str, Any], steps: list[str], panel: dict[str, str], top: float
) -> list[str]:
    cells = {name: [result["cells"][step].get(name) for step in steps] for name in panel}
    ends = [
        cell[end] for series in cells.values() for cell in series if cell
        for end in ("value", "low", "high") if cell[end] is not None
    ]  # fmt: skip
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    reach = (high - low) or 1.0
    bottom, most = top + HEIGHT - 52, max(map(int, steps))

    def x(step: str) -> float:
        return LEFT + (WIDTH - RIGHT - LEFT) * int(step) / most

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / reach

    parts = [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}" stroke="#888"/>',
        *(f'<text x="{LEFT - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.3f}</text>'
          for v in (low, high)),
        *(f'<text x="{x(s):.1f}" y="{bottom + 16}" text-anchor="middle">{s}</text>' for s in steps),
    ]  # fmt: skip
    for name, colour in panel.items():
        there = [
            (s, c) for s, c in zip(steps, cells[name], strict=True) if c and c["value"] is not None
        ]
        if not there:
            continue
        points = " ".join(f"{x(s):.1f},{y(c['value']):.1f}" for s, c in there)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        for step, cell in there:
            if cell["low"] is not None:
                parts.append(
                    f'<line x1="{x(step):.1f}" x2="{x(step):.1f}" y1="{y(cell["low"]):.1f}" '
                    f'y2="{y(cell["high"]):.1f}" stroke="{colour}"/>'
                )
            parts.append(
                f'<circle cx="{x(step):.1f}" cy="{y(cell["value"]):.1f}" r="3" fill="{colour}"/>'
            )
        step, cell = there[-1]
        parts.append(
            f'<text x="{x(step) + 9:.1f}" y="{y(cell["value"]) + 4:.1f}" fill="{colour}">'
            f"{FIGURES[name]}</text>"
        )
    return parts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

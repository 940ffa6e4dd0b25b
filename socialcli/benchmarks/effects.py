"""Effects that a pipeline names before it runs, and what became of each.

Every effect is a difference of one figure between two scores, with the side on which it is
expected. Their p values are corrected together (Holm), over all effects of the pipeline.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from socialcli.evaluation import bootstrap

ALPHA = 0.05


@dataclass(frozen=True)
class Effect:
    """``figure`` of ``second`` less that of ``first``, expected above zero (sign 1) or below (-1);
    ``source``: who expects it."""

    first: str
    second: str
    figure: str
    sign: int
    source: str = "paper"


def load(folder: str) -> dict[str, Any]:
    """The ``compare.json`` of a folder."""
    body: dict[str, Any] = json.loads((Path(folder) / "compare.json").read_text("utf-8"))
    return body


def table(effects: list[Effect], comparisons: list[dict[str, Any]]) -> list[str]:
    """Markdown: a line for each effect that one of the comparisons speaks of.

    Args:
        comparisons: of `load`; the first method of each is the baseline.
    """
    there: list[tuple[Effect, dict[str, Any], dict[str, Any]]] = []
    for effect in effects:
        for body in comparisons:
            cell = body["cells"].get(effect.second, {}).get(effect.figure)
            if body["baseline"] == effect.first and cell and cell["p"] is not None:
                there.append((effect, cell, body["columns"][effect.figure]))
                break
    corrected = bootstrap.holm([cell["p"] for _, cell, _ in there])
    lines = [
        "| effect | expected by | difference | 95 % interval | p corrected | |",
        "|---|---|--:|---|--:|---|",
    ]
    for (effect, cell, column), p in zip(there, corrected, strict=True):
        side = "above" if effect.sign > 0 else "below"
        low, high = cell["difference_low"], cell["difference_high"]
        lines.append(
            f"| {column['title']}: {effect.second} {side} {effect.first} | {effect.source} | "
            f"{cell['difference']:+.4f} | [{low:+.4f}, {high:+.4f}] | {p:.4f} | "
            f"{verdict(cell['difference'] * effect.sign, p)} |"
        )
    return lines


def verdict(gain: float, p: float | None) -> str:
    """What an expected gain came to."""
    if p is None or p >= ALPHA:
        return "not told from noise"
    return "holds" if gain > 0 else "the contrary holds"


def figure(column: dict[str, Any] | None, digits: int = 3) -> str:
    """A figure with its interval; empty where there is none."""
    if column is None or column["value"] is None:
        return ""
    text = f"{column['value']:.{digits}f}"
    low, high = column["low"], column["high"]
    return text if low is None else f"{text} [{low:.{digits}f}, {high:.{digits}f}]"

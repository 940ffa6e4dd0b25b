"""Tables 1 and 2 of the feedback paper from a comparison of scores, beside the paper's numbers.

``python -m socialcli.benchmarks.table1 COMPARED`` prints Markdown from the ``compare.json`` that
``socialcli score --compare ... -o COMPARED`` wrote (`pipelines/table1-mini.mk`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# Social Context Feedback, Table 1 (HICO-DET) and, for gaze, Table 2 (GazeFollow).
COLUMNS = ("Full", "Rare", "Non-rare", "Face", "CLIP-T", "CLIP-I", "DINO", "Gaze %")
PAPER: dict[str, tuple[float | None, ...]] = {
    "ssr": (15.87, 14.35, 16.33, 0.6531, 0.2971, 0.7231, 0.5252, 53.81),
    "plain": (14.79, 14.96, 14.74, 0.5715, 0.2961, 0.7217, 0.5045, 52.46),
    "all": (16.43, 16.24, 16.48, 0.6398, 0.2966, 0.7241, 0.5273, 53.73),
    "boundary": (15.81, 14.52, 16.19, 0.6505, 0.2961, 0.7226, 0.5268, None),
    "identity": (15.82, 14.61, 16.18, 0.6440, 0.2959, 0.7241, 0.5254, None),
    "gaze": (16.37, 16.12, 16.45, 0.6986, 0.2986, 0.7197, 0.5325, 56.39),
    "pose": (16.20, 14.86, 16.60, 0.6482, 0.2964, 0.7251, 0.5280, None),
    "interaction": (17.84, 16.99, 18.09, 0.5784, 0.2930, 0.7153, 0.5216, None),
    "inverse": (14.09, 12.55, 14.55, 0.5434, 0.2910, 0.7100, 0.5204, None),
}
NAMES = {
    "ssr": "SSR-Encoder", "plain": "fine-tuned, no feedback", "all": "all feedback",
    "inverse": "inverse weighting",
}  # fmt: skip
# The paper's columns -> the figures of `socialcli score` that stand for them.
FIGURES = ("hoi", "hoi_rare", "hoi_nonrare", "face", "clip_t", "clip_i", "dino", "gaze")


def main(folder: str) -> int:
    """Print the tables of one comparison."""
    result = json.loads((Path(folder) / "compare.json").read_text(encoding="utf-8"))
    print("\n".join(lines(result)))
    return 0


def lines(result: dict[str, Any]) -> list[str]:
    """Markdown lines: what was reached with 95 % intervals, then the paper's table."""
    head = "| | " + " | ".join(COLUMNS) + " |"
    rule = "|---" * (len(COLUMNS) + 1) + "|"
    made = [f"{result['units']} sources; intervals by bootstrap over sources, "
            f"{result['resamples']} resamples.", "", head, rule]  # fmt: skip
    for row in (r for r in PAPER if r in result["cells"]):
        cells = [_cell(result["cells"][row].get(figure)) for figure in FIGURES]
        made.append(f"| {NAMES.get(row, row)} | " + " | ".join(cells) + " |")
    made += ["", "The paper, SD 1.5 on HICO-DET (gaze: on GazeFollow):", "", head, rule]
    for row, numbers in PAPER.items():
        cells = ["" if n is None else f"{n:g}" for n in numbers]
        made.append(f"| {NAMES.get(row, row)} | " + " | ".join(cells) + " |")
    return made


def _cell(cell: dict[str, Any] | None) -> str:
    if cell is None or cell["value"] is None:
        return ""
    text = f"{cell['value']:.3g}"
    if cell["bold"]:
        text = f"**{text}**"
    low, high = cell["low"], cell["high"]
    return text if low is None else f"{text} [{low:.3g}, {high:.3g}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

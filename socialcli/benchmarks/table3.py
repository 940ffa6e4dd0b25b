"""Table 3 of the feedback paper from comparisons of scores, beside the paper's numbers.

``python -m socialcli.benchmarks.table3 concept101=COMPARED dreambench=COMPARED`` prints Markdown
from the ``compare.json`` of each folder that ``socialcli score --compare ... -o COMPARED`` wrote
(`pipelines/table-000-3.mk`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# Social Context Feedback, Table 3.
PAPER: dict[str, tuple[float, float, float]] = {
    "ip-adapter": (0.6343, 0.6409, 0.3481),
    "fastcomposer": (0.7456, 0.6552, 0.3574),
    "ssr": (0.7567, 0.6728, 0.3694),
    "mip-adapter": (0.7410, 0.6704, 0.3350),
    "ours": (0.7548, 0.6738, 0.3704),
}
NAMES = {
    "ip-adapter": "IP-Adapter", "fastcomposer": "FastComposer", "ssr": "SSR-Encoder",
    "mip-adapter": "MIP-Adapter (SDXL)", "ours": "fine-tuned with feedback",
}  # fmt: skip
# Which of the two scales CLIP-T has: Concept101's papers quote CLIPScore, DreamBench's the cosine.
PROTOCOLS = {
    "concept101": ("Concept101: CLIP-T is 2.5 * max(cosine, 0), CLIP ViT-B/32, DINO ViT-S/16",
                   ("clip_t_score", "clip_i", "dino")),
    "concept101-pairs": ("Concept101, prompts of two concepts: the same",
                         ("clip_t_score", "clip_i", "dino")),
    "dreambench": ("DreamBench: cosines, CLIP ViT-B/32, DINO ViT-S/16, the class in the prompt",
                   ("clip_t", "clip_i", "dino")),
    "dreambench-plus": ("DreamBench++: cosines, CLIP ViT-B/32, DINO ViT-S/8",
                        ("clip_t", "clip_i", "dino")),
}  # fmt: skip


def main(given: list[str]) -> int:
    """Print the table of each data set."""
    for one in given:
        name, _, folder = one.partition("=")
        result = json.loads((Path(folder) / "compare.json").read_text(encoding="utf-8"))
        print("\n".join(lines(name, result)), end="\n\n")
    return 0


def lines(name: str, result: dict[str, Any]) -> list[str]:
    """Markdown lines: what was reached with 95 % intervals, for Concept101 the paper's table."""
    title, figures = PROTOCOLS[name]
    head, rule = "| | CLIP-T | CLIP-I | DINO |", "|---" * 4 + "|"
    page = [f"## {title}", "", f"{result['units']} sources; intervals by bootstrap over sources, "
            f"{result['resamples']} resamples.", "", head, rule]  # fmt: skip
    known = [row for row in PAPER if row in result["cells"]]
    for row in [*known, *(row for row in result["cells"] if row not in PAPER)]:
        cells = [_cell(result["cells"][row].get(figure)) for figure in figures]
        page.append(f"| {NAMES.get(row, row)} | " + " | ".join(cells) + " |")
    if name.startswith("concept101"):
        page += [
            "",
            "The paper (it does not say whether prompts were of one concept or two):",
            "",
            head,
        ]
        page.append(rule)
        page += [
            f"| {NAMES[row]} | " + " | ".join(f"{n:.4f}" for n in numbers) + " |"
            for row, numbers in PAPER.items()
        ]
    return page


def _cell(cell: dict[str, Any] | None) -> str:
    if cell is None or cell["value"] is None:
        return ""
    text = f"{cell['value']:.4f}"
    text = f"**{text}**" if cell["bold"] else text
    low, high = cell["low"], cell["high"]
    return text if low is None else f"{text} [{low:.4f}, {high:.4f}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

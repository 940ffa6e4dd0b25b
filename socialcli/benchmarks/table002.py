"""Figures 5 and 7 of the attractor's paper from scores and comparisons, beside what the paper says.

``python -m socialcli.benchmarks.table002 SCORE... --compared COMPARED...`` prints Markdown from the
``score.json`` and ``compare.json`` that `pipelines/table-002-mini.mk` made.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from socialcli.benchmarks import effects
from socialcli.benchmarks.effects import Effect

NAMES = {
    "ti": "Textual Inversion", "ti-attractor": "Textual Inversion + attractor",
    "neti": "NeTI", "neti-attractor": "NeTI + attractor",
    "class": "the class's name", "p-plus": "P+",
    "dreambooth": "DreamBooth", "custom-diffusion": "Custom Diffusion",
}  # fmt: skip
FIGURES = {
    "dino": "DINO", "clip_i": "CLIP-I", "clip_t": "CLIP-T", "dino_train": "DINO train",
    "dino_gap": "DINO gap",
}  # fmt: skip
WORDS = ("ti", "p-plus", "neti", "neti-attractor")
THREE = ("dino", "clip_i", "clip_t")
# What sections 6 and 6.1 say of Figures 5 and 7; `table-002-mini.mk` names them before the run.
EXPECTED = [
    *(Effect("ti", "ti-attractor", name, 1) for name in THREE),
    *(Effect("neti", "neti-attractor", name, 1) for name in THREE),
    *(Effect("ti", "neti", name, 1) for name in THREE),
    Effect("schedule-zero", "neti-attractor", "dino", 1),  # cosine, the default
    Effect("schedule-zero", "ti-attractor", "dino", 1),
    Effect("schedule-zero", "schedule-sigmoid", "dino", 1),
    Effect("schedule-zero", "schedule-one", "dino", -1),
    Effect("schedule-zero", "schedule-exponential", "dino", -1),
    Effect("ti", "ti-attractor", "dino_gap", -1, "us"),
    Effect("neti", "neti-attractor", "dino_gap", -1, "us"),
    Effect("neti-attractor", "dreambooth", "dino_gap", 1, "us"),
    *(Effect("class", word, name, 1, "us") for word in WORDS for name in ("dino", "clip_i")),
    *(Effect("class", word, "clip_t", -1, "us") for word in WORDS),
]


def main(arguments: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="table002")
    parser.add_argument("scores", nargs="+")
    parser.add_argument("--compared", nargs="*", default=[])
    given = parser.parse_args(arguments)
    read = [json.loads((Path(p) / "score.json").read_text("utf-8")) for p in given.scores]
    print("\n".join(lines(read, [effects.load(place) for place in given.compared])))
    return 0


def lines(scores: list[dict[str, Any]], comparisons: list[dict[str, Any]]) -> list[str]:
    """Markdown lines: the figures of every row, then every effect that was named."""
    first = scores[0]
    head = "| | " + " | ".join(FIGURES.values()) + " |"
    page = [
        f"{first['units']} test pictures, {first['pictures']} pictures a row; intervals by "
        f"bootstrap over test pictures, {first['resamples']} resamples.",
        "",
        head,
        "|---" * (len(FIGURES) + 1) + "|",
    ]  # fmt: skip
    for score in scores:
        name = score["title"]
        shown = NAMES.get(name, name.replace("schedule-", "contrast: "))
        cells = [effects.figure(score["columns"].get(figure)) for figure in FIGURES]
        page.append(f"| {shown} | " + " | ".join(cells) + " |")
    page += [
        "",
        "The paper (SD 1.5 on PDST) shows Figures 5 and 7 without numbers. Its text: NeTI leads "
        "the base models in every figure, attractors improve both methods in every figure; of the "
        "schedules cosine and sigmoid are best, one and exponential are worse than zero.",
        "",
        *effects.table(EXPECTED, comparisons),
    ]
    return page


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

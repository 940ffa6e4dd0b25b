"""Tables 1 and 2 of the feedback paper from comparisons of scores, beside the paper's numbers.

``python -m socialcli.benchmarks.table1 COMPARED`` prints Markdown from the ``compare.json`` that
``socialcli score --compare ... -o COMPARED`` wrote (`pipelines/table1-mini.mk`: one table of both,
then the effects that it names; ``--against`` is a comparison with another first row);
``... hico-det=COMPARED gazefollow=COMPARED`` prints each table by itself
(`pipelines/table-000-1.mk`).
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from socialcli.benchmarks import effects
from socialcli.benchmarks.effects import Effect

# Social Context Feedback, Table 1 (HICO-DET) and, for gaze, Table 2 (GazeFollow).
COLUMNS = ("Full", "Rare", "Non-rare", "Face", "CLIP-T", "CLIP-I", "DINO", "Gaze %")
Numbers = dict[str, tuple[float | None, ...]]
PAPER: Numbers = {
    "ip-adapter": (13.22, 13.44, 13.15, 0.5010, 0.2969, 0.7002, 0.4579, 52.50),
    "ssr": (15.87, 14.35, 16.33, 0.6531, 0.2971, 0.7231, 0.5252, 53.81),
    "plain": (14.79, 14.96, 14.74, 0.5715, 0.2961, 0.7217, 0.5045, 52.46),
    "all": (16.43, 16.24, 16.48, 0.6398, 0.2966, 0.7241, 0.5273, 53.73),
    "boundary": (15.81, 14.52, 16.19, 0.6505, 0.2961, 0.7226, 0.5268, None),
    "identity": (15.82, 14.61, 16.18, 0.6440, 0.2959, 0.7241, 0.5254, None),
    "gaze": (16.37, 16.12, 16.45, 0.6986, 0.2986, 0.7197, 0.5325, 56.39),
    "pose": (16.20, 14.86, 16.60, 0.6482, 0.2964, 0.7251, 0.5280, None),
    "interaction": (17.84, 16.99, 18.09, 0.5784, 0.2930, 0.7153, 0.5216, None),
    "inverse": (14.09, 12.55, 14.55, 0.5434, 0.2910, 0.7100, 0.5204, None),
    "mip-adapter": (18.07, 18.50, 17.94, 0.6358, 0.3022, 0.7412, 0.5364, 57.68),
}
# Table 2's other columns.
GAZEFOLLOW: Numbers = {
    "ip-adapter": (0.4786, 0.3054, 0.6797, 0.4832),
    "ssr": (0.6208, 0.2966, 0.6943, 0.5202),
    "plain": (0.5502, 0.2976, 0.6909, 0.4917),
    "all": (0.6237, 0.2996, 0.6973, 0.5177),
    "gaze": (0.6741, 0.3018, 0.6968, 0.5237),
    "mip-adapter": (0.6052, 0.3022, 0.7192, 0.5503),
}
NAMES = {
    "ssr": "SSR-Encoder", "plain": "fine-tuned, no feedback", "all": "all feedback",
    "equal": "all feedback, one weight", "inverse": "inverse weighting",
    "open": "identity, at all timesteps", "small": "all feedback, small decoder",
    "ip-adapter": "IP-Adapter", "mip-adapter": "MIP-Adapter (SDXL)",
}  # fmt: skip
# The paper's columns -> the figures of `socialcli score` that stand for them.
FIGURES = ("hoi", "hoi_rare", "hoi_nonrare", "face", "clip_t", "clip_i", "dino", "gaze")
# What Tables 1 and 2 say, and what we expect; `table1-mini.mk` names them before the run.
EXPECTED = [
    *(Effect("plain", "ssr", name, 1) for name in ("face", "dino", "clip_t")),
    *(Effect("plain", "all", name, 1) for name in ("face", "gaze", "hoi")),
    Effect("plain", "identity", "face", 1),
    Effect("plain", "gaze", "gaze", 1),
    Effect("plain", "interaction", "hoi", 1),
    *(Effect("all", "inverse", name, -1) for name in ("face", "hoi")),
    Effect("all", "equal", "face", -1, "us"),
    Effect("plain", "open", "face", 1, "us"),
    Effect("plain", "open", "clip_t", -1, "us"),
]


def main(arguments: list[str]) -> int:
    """Print the table of one comparison with its effects, or one table of each data set."""
    parser = argparse.ArgumentParser(prog="table1")
    parser.add_argument("compared", nargs="+")
    parser.add_argument("--against", nargs="*", default=[])
    given = parser.parse_args(arguments)
    for one in given.compared:
        name, equals, folder = one.partition("=")
        if equals:
            print("\n".join([*of_data(name, effects.load(folder)), ""]))
        else:
            others = [effects.load(place) for place in given.against]
            print("\n".join(lines(effects.load(one), others)))
    return 0


def lines(result: dict[str, Any], others: list[dict[str, Any]]) -> list[str]:
    """Markdown lines: what was reached with 95 % intervals, the paper's table, named effects.

    Args:
        others: comparisons of the same scores with another first row, of which effects speak too.
    """
    title = "The paper, SD 1.5 on HICO-DET (gaze: on GazeFollow):"
    page = _table(result, COLUMNS, FIGURES, PAPER, title)
    return [*page, "", *effects.table(EXPECTED, [result, *others])]


def of_data(name: str, result: dict[str, Any]) -> list[str]:
    """The table of one data set: ``hico-det`` (Table 1) or ``gazefollow`` (Table 2)."""
    if name == "hico-det":
        table = {row: numbers[:-1] for row, numbers in PAPER.items()}
        page = _table(result, COLUMNS[:-1], FIGURES[:-1], table, "The paper, Table 1:")
        return ["## HICO-DET", "", *page]
    gaze = {row: (PAPER[row][-1], *numbers) for row, numbers in GAZEFOLLOW.items()}
    columns, figures = ("Gaze %", *COLUMNS[3:-1]), ("gaze", *FIGURES[3:-1])
    return ["## GazeFollow", "", *_table(result, columns, figures, gaze, "The paper, Table 2:")]


def _table(
    result: dict[str, Any], columns: tuple[str, ...], figures: tuple[str, ...], paper: Numbers,
    title: str,
) -> list[str]:  # fmt: skip
    head = "| | " + " | ".join(columns) + " |"
    rule = "|---" * (len(columns) + 1) + "|"
    page = [f"{result['units']} sources; intervals by bootstrap over sources, "
            f"{result['resamples']} resamples.", "", head, rule]  # fmt: skip
    known = [*paper, *(name for name in NAMES if name not in paper)]
    for row in (r for r in known if r in result["cells"]):
        cells = [_cell(result["cells"][row].get(figure)) for figure in figures]
        page.append(f"| {NAMES.get(row, row)} | " + " | ".join(cells) + " |")
    page += ["", title, "", head, rule]
    for row, numbers in paper.items():
        cells = ["" if n is None else f"{n:g}" for n in numbers]
        page.append(f"| {NAMES.get(row, row)} | " + " | ".join(cells) + " |")
    return page


def _cell(cell: dict[str, Any] | None) -> str:
    if cell is None or cell["value"] is None:
        return ""
    text = f"{cell['value']:.3g}"
    if cell["bold"]:
        text = f"**{text}**"
    low, high = cell["low"], cell["high"]
    return text if low is None else f"{text} [{low:.3g}, {high:.3g}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

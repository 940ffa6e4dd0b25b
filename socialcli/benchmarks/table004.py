"""Table 1 of Multi-Subject Personalization in miniature: figures by the number of subjects.

``python -m socialcli.benchmarks.table004 SCORES`` prints Markdown from the folders that ``socialcli
score`` wrote, one a row (`pipelines/table-004-mini.mk`): the rows of arrays that each metric keeps
are cut by how many subjects a picture's layout has, which its key says ("3-subjects-06/park-0").
Pictures of one layout are resampled together. Below the tables stands what became of the effects
that the Makefile names (`_named_effects`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from socialcli.benchmarks import _named_effects

GROUPS = ("1", "2", "3", ">3")
FIGURES = {
    "subjects": ("subject_clip_i", "subjects_missing", "subjects_surplus", "subjects_hybrid",
                 "subjects_swapped"),
    "clip-t": ("clip_t_score",),
    "sas": ("sas",),
}  # fmt: skip
NAMES = {
    "subject_clip_i": "CLIP-I", "clip_t_score": "CLIP-T", "sas": "SAS",
    "subjects_missing": "missing", "subjects_surplus": "surplus", "subjects_hybrid": "hybrid",
    "subjects_swapped": "swapped",
}  # fmt: skip
RESAMPLES = 1000
# Multi-Subject Personalization (arXiv 2405.12742), Table 1: CLIP-I, CLIP-T, SAS of each group.
PAPER: dict[str, tuple[float, ...]] = {
    "Dreambooth": (0.93, 0.50, 0.89, 0.91, 0.53, 0.85, 0.92, 0.52, 0.83, 0.92, 0.53, 0.83),
    "Textual Inversion": (0.92, 0.75, 0.83, 0.90, 0.74, 0.81, 0.91, 0.74, 0.78, 0.92, 0.75, 0.79),
    "scaffold, GD=F, SAL=F": (
        0.93, 0.72, 0.89, 0.91, 0.77, 0.87, 0.91, 0.73, 0.86, 0.88, 0.73, 0.81,
    ),
    "scaffold, GD=T, SAL=F": (
        0.92, 0.72, 0.89, 0.91, 0.75, 0.87, 0.90, 0.70, 0.81, 0.87, 0.69, 0.79,
    ),
    "scaffold, GD=F, SAL=T": (
        0.92, 0.73, 0.88, 0.91, 0.76, 0.87, 0.91, 0.73, 0.86, 0.88, 0.73, 0.81,
    ),
    "scaffold, GD=T, SAL=T": (
        0.92, 0.73, 0.90, 0.91, 0.77, 0.87, 0.90, 0.74, 0.82, 0.87, 0.72, 0.81,
    ),
    "without, GD=F, SAL=F": (
        0.92, 0.72, 0.88, 0.93, 0.66, 0.89, 0.92, 0.63, 0.86, 0.93, 0.68, 0.83,
    ),
    "without, GD=T, SAL=F": (
        0.92, 0.72, 0.88, 0.93, 0.65, 0.89, 0.91, 0.63, 0.86, 0.93, 0.68, 0.84,
    ),
    "without, GD=F, SAL=T": (
        0.92, 0.73, 0.89, 0.93, 0.65, 0.89, 0.92, 0.63, 0.86, 0.93, 0.68, 0.84,
    ),
    "without, GD=T, SAL=T": (
        0.92, 0.73, 0.88, 0.92, 0.66, 0.89, 0.85, 0.63, 0.82, 0.93, 0.68, 0.83,
    ),
    "with ControlNet, GD=T": (
        0.90, 0.72, 0.80, 0.90, 0.82, 0.80, 0.89, 0.82, 0.79, 0.90, 0.83, 0.80,
    ),
}  # fmt: skip


def main(folders: list[str]) -> int:
    """Print the tables of some scores."""
    print("\n".join(lines([Path(folder) for folder in folders])))
    return 0


def group(key: str) -> str:
    """Which of `GROUPS` a picture belongs to, by its key; "" for another key."""
    count = key.partition("-subjects-")[0].rpartition("/")[2]
    if not count.isdigit():
        return ""
    return count if int(count) <= 3 else ">3"


def pictures(folder: Path) -> Iterator[tuple[Any, tuple[str, ...], dict[str, Any], Any, Any]]:
    """(metric, its figures, arrays a picture, keys, units) of each metric that a score has."""
    import numpy

    from socialcli import registry

    for name, columns in FIGURES.items():
        file = folder / "rows" / f"{name}.npz"
        if file.is_file():
            with numpy.load(file, allow_pickle=False) as kept:
                arrays = {key: kept[key] for key in kept.files}
            keys, units = arrays.pop("key"), arrays.pop("unit")
            yield registry.load("metrics", name), columns, arrays, keys, units


def figures(folder: Path) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Figure -> group -> (value, low, high) of one score; those that it has."""
    import numpy

    by_column: dict[str, dict[str, tuple[float, float, float]]] = {}
    for metric, columns, arrays, keys, units in pictures(folder):
        groups = numpy.array([group(str(key)) for key in keys])
        for wanted in GROUPS:
            some = groups == wanted
            if not some.any():
                continue
            rows = {key: rows[some] if rows.ndim else rows for key, rows in arrays.items()}
            counts = numpy.concatenate([numpy.ones((1, some.sum())), resampled(units[some])])
            estimates = metric.estimate(rows, counts)
            for column in columns:
                if column not in estimates:
                    continue
                value, *others = estimates[column]
                low, high = numpy.nanpercentile(others, (2.5, 97.5))
                by_column.setdefault(column, {})[wanted] = (float(value), float(low), float(high))
    return by_column


def by_layout(folder: Path) -> dict[str, dict[tuple[str, str], float]]:
    """Figure -> (layout, group) -> mean over the layout's pictures; those that could be judged."""
    import numpy

    means: dict[str, dict[tuple[str, str], float]] = {}
    for metric, columns, arrays, keys, units in pictures(folder):
        for column, values in metric.pictures(arrays).items():
            if column not in columns:
                continue
            of_layout: dict[tuple[str, str], list[float]] = {}
            for key, unit, value in zip(keys, units, values, strict=True):
                if numpy.isfinite(value) and group(str(key)):
                    of_layout.setdefault((str(unit), group(str(key))), []).append(float(value))
            means[column] = {at: float(numpy.mean(some)) for at, some in of_layout.items()}
    return means


def resampled(units: Any) -> Any:
    """(`RESAMPLES`, N): how often each picture counts when whole units are drawn again."""
    import numpy

    names, which = numpy.unique(units, return_inverse=True)
    rng = numpy.random.default_rng(0)
    drawn = rng.integers(0, len(names), (RESAMPLES, len(names)))
    counts = numpy.stack([numpy.bincount(row, minlength=len(names)) for row in drawn])
    return counts[:, which].astype(float)


def lines(folders: list[Path]) -> list[str]:
    """Markdown: one table a figure with a column a number of subjects, then the paper's."""
    scores = {folder.name: figures(folder) for folder in folders}
    page: list[str] = []
    for column, title in NAMES.items():
        rows = {name: columns[column] for name, columns in scores.items() if column in columns}
        if not rows:
            continue
        page += [f"**{title}**", "", "| | " + " | ".join(f"n {g}" for g in GROUPS) + " |"]
        page.append("|---" * (len(GROUPS) + 1) + "|")
        for name, cells in rows.items():
            shown = [_cell(cells.get(g)) for g in GROUPS]
            page.append(f"| {name} | " + " | ".join(shown) + " |")
        page.append("")
    page += [*_named_effects.table({folder.name: by_layout(folder) for folder in folders}), ""]
    page += ["The paper (Table 1; CLIP-I, CLIP-T, SAS):", ""]
    page += ["| | " + " | ".join(f"n {g}" for g in GROUPS) + " |", "|---" * 5 + "|"]
    for name, numbers in PAPER.items():
        printed = [" / ".join(f"{n:.2f}" for n in numbers[at : at + 3]) for at in (0, 3, 6, 9)]
        page.append(f"| {name} | " + " | ".join(printed) + " |")
    return page


def _cell(cell: tuple[float, float, float] | None) -> str:
    return "" if cell is None else f"{cell[0]:.2f} [{cell[1]:.2f}, {cell[2]:.2f}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

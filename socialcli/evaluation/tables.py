"""Scores and comparisons as tables for people: Markdown and LaTeX."""

from __future__ import annotations

import re
from typing import Any

ARROWS = {"higher": "↑", "lower": "↓", "": ""}
_TEX_ARROWS = {"higher": r"$\uparrow$", "lower": r"$\downarrow$", "": ""}
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$",
}  # fmt: skip


def number(value: float | None, digits: int) -> str:
    """A figure with its digits; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def span(low: float | None, high: float | None, digits: int) -> str:
    """An interval; empty where there is none."""
    return "" if low is None else f"[{number(low, digits)}, {number(high, digits)}]"


def markdown(score: dict[str, Any]) -> str:
    """One score: a line per figure, then what was scored and by which models."""
    head = ["figure", "", "value", f"{score['level']:.0%} interval", "pictures", "what it is"]
    lines = [_row(head), "|---|---|--:|---|--:|---|"]
    for column in score["columns"].values():
        digits = column["digits"]
        lines.append(
            _row(
                [
                    column["title"],
                    ARROWS[column["better"]],
                    _with_unit(number(column["value"], digits), column),
                    span(column["low"], column["high"], digits),
                    f"{column['n']:,}",
                    column["about"],
                ]
            )
        )
    lost = f", {score['lost']:,} could not be used whole" if score["lost"] else ""
    lines += [
        "",
        f"{_md(score['title'])}: {score['pictures']:,} pictures from {score['units']:,} sources"
        f"{lost}; {score['resamples']:,} bootstrap resamples of sources, seed {score['seed']}.",
    ]
    lines += [f"* {_md(note)}" for note in score["notes"]]
    lines += [f"* {_md(line)}" for line in models(score)]
    return "\n".join(lines) + "\n"


def models(score: dict[str, Any]) -> list[str]:
    """Which model each feature comes from, in words."""
    lines = []
    for feature, models_of in score["models"].items():
        names = [
            " ".join(str(m[k]) for k in ("backend", "model", "revision") if m.get(k))
            for m in models_of
        ]
        if names:
            lines.append(f"{feature} by {', '.join(dict.fromkeys(names))}")
    return lines


def _with_unit(text: str, column: dict[str, Any]) -> str:
    return f"{text} %" if column["unit"] == "%" and text != "–" else text


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _md(text: str) -> str:
    """Text from data in a Markdown cell: one line, nothing that formats."""
    return re.sub(r"([|*`<>\[\]\\])", r"\\\1", " ".join(str(text).split()))


def tex(text: str) -> str:
    """Text as LaTeX shows it."""
    return "".join(_TEX.get(c, c) for c in " ".join(str(text).split()))


def latex(score: dict[str, Any]) -> str:
    """One score as a table of one row, for booktabs."""
    columns = score["columns"].values()
    heads = [f"{tex(c['title'])} {_TEX_ARROWS[c['better']]}".strip() for c in columns]
    cells = [number(c["value"], c["digits"]).replace("–", "--") for c in columns]
    ends = [_tex_span(c["low"], c["high"], c["digits"]) for c in columns]
    return _tabular(heads, [[tex(score["title"]), *cells], ["", *ends]])


def _tex_span(low: float | None, high: float | None, digits: int) -> str:
    return rf"{{\scriptsize {span(low, high, digits)}}}" if low is not None else ""


def _tabular(heads: list[str], rows: list[list[str]]) -> str:
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'r' * len(heads)}}}",
        r"\toprule",
        " & ".join(["Method", *heads]) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def compared_markdown(result: dict[str, Any]) -> str:
    """A comparison: methods down, figures across; bold is better than the first and no noise."""
    columns = result["columns"]
    heads = [f"{c['title']} {ARROWS[c['better']]}".strip() for c in columns.values()]
    lines = [_row(["method", *heads]), "|---|" + "--:|" * len(heads)]
    for name, cells in result["cells"].items():
        row = [_md(name)]
        for column, facts in columns.items():
            cell = cells[column]
            text = number(cell["value"], facts["digits"])
            text = f"**{text}**" if cell["bold"] else text
            row.append(f"{text} ↧" if cell["verdict"] == "worse" else text)
        lines.append(_row(row))
    lines += ["", told(result), ""]
    heads = ["method", "figure", "difference", "95 % interval", "p", "p corrected", ""]
    lines += [_row(heads), "|---|---|--:|---|--:|--:|---|"]
    for name, cells in list(result["cells"].items())[1:]:
        for column, facts in columns.items():
            cell, digits = cells[column], facts["digits"]
            if cell["difference"] is None:
                continue
            lines.append(
                _row(
                    [
                        _md(name),
                        facts["title"],
                        f"{cell['difference']:+.{digits}f}",
                        span(cell["difference_low"], cell["difference_high"], digits),
                        f"{cell['p']:.4f}",
                        "–" if cell["p_corrected"] is None else f"{cell['p_corrected']:.4f}",
                        cell["verdict"],
                    ]
                )
            )
    return "\n".join(lines) + "\n"


def told(result: dict[str, Any]) -> str:
    """How to read a comparison, in one paragraph."""
    return (
        f"{result['units']:,} sources in common, paired bootstrap of {result['resamples']:,} "
        f"resamples, seed {result['seed']}. **Bold**: better than {_md(result['baseline'])} with "
        f"p < {result['alpha']:g} after Holm's correction for {result['tests']:,} tests (the first "
        "row: better than every other); ↧ likewise worse. Nothing else here is a difference that "
        "can be told from noise."
    )


def compared_latex(result: dict[str, Any]) -> str:
    """The same for booktabs; worse ones have a dagger."""
    columns = result["columns"]
    heads = [f"{tex(c['title'])} {_TEX_ARROWS[c['better']]}".strip() for c in columns.values()]
    rows = []
    for name, cells in result["cells"].items():
        row = [tex(name)]
        for column, facts in columns.items():
            text = number(cells[column]["value"], facts["digits"]).replace("–", "--")
            text = rf"\textbf{{{text}}}" if cells[column]["bold"] else text
            row.append(text + r"$^\dagger$" if cells[column]["verdict"] == "worse" else text)
        rows.append(row)
    return _tabular(heads, rows)

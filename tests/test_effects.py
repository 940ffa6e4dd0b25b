"""Effects that pipelines name before they run: which comparison speaks of one, and its verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from socialcli.benchmarks import effects, identity_tables, table001
from socialcli.benchmarks.effects import Effect

PIPELINES = Path(__file__).parents[1] / "pipelines"


def compared(baseline: str, **rows: tuple[float, float | None]) -> dict:
    """A ``compare.json``: row -> (difference from the baseline, p) of its one figure."""
    cells = {
        row: {"f": {"difference": d, "difference_low": d - 1, "difference_high": d + 1, "p": p}}
        for row, (d, p) in rows.items()
    }
    return {"baseline": baseline, "cells": cells, "columns": {"f": {"title": "F"}}}


def verdicts(expected: list[Effect], *comparisons: dict) -> list[tuple[str, str, str]]:
    """(effect, corrected p, verdict) of each line."""
    lines = effects.table(expected, list(comparisons))[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [(cell[0], cell[-2], cell[-1]) for cell in cells]


def test_an_effect_is_read_where_its_own_baseline_is():
    """A row stands in several comparisons, with another difference in each."""
    one, other = compared("a", c=(1.0, 0.01)), compared("b", c=(-1.0, 0.04), d=(0.5, 0.03))
    expected = [Effect("a", "c", "f", 1), Effect("b", "c", "f", 1), Effect("b", "d", "f", 1, "us"),
                Effect("a", "d", "f", 1), Effect("b", "d", "g", 1)]  # fmt: skip
    # Holm: 3 x 0.01, 2 x 0.03, and 0.04 is no less than the one before it.
    assert verdicts(expected, one, other) == [
        ("F: c above a", "0.0300", "holds"),
        ("F: c above b", "0.0600", "not told from noise"),
        ("F: d above b", "0.0600", "not told from noise"),
    ]
    assert verdicts(expected, other, one) == verdicts(expected, one, other)
    assert "| F: d above b | us | +0.5000 | [-0.5000, +1.5000] |" in effects.table(
        expected, [one, other]
    )[4]  # fmt: skip


@pytest.mark.parametrize(
    "difference, p, sign, verdict",
    [
        (1.0, 0.049, 1, "holds"), (-1.0, 0.049, -1, "holds"),
        (-1.0, 0.049, 1, "the contrary holds"), (1.0, 0.049, -1, "the contrary holds"),
        (1.0, 0.05, 1, "not told from noise"), (-1.0, 0.3, 1, "not told from noise"),
    ],
)  # fmt: skip
def test_the_side_and_p_judge(difference, p, sign, verdict):
    side = "above" if sign > 0 else "below"
    expected = [Effect("a", "c", "f", sign)]
    assert verdicts(expected, compared("a", c=(difference, p))) == [
        (f"F: c {side} a", f"{p:.4f}", verdict)
    ]
    assert effects.verdict(sign * difference, None) == "not told from noise"
    assert verdicts(expected, compared("a", c=(difference, None))) == []


def named(pipeline: str, begin: str, end: str) -> str:
    """What a Makefile names before it runs, as one line."""
    text = (PIPELINES / pipeline).read_text(encoding="utf-8").replace("\n#", " ")
    return " ".join(text.partition(begin)[2].partition(end)[0].split())


def test_the_effects_of_table_001_are_those_that_its_pipeline_names():
    words = named("table-001-mini.mk", "What is expected", "The twelve p values")
    methods = {"reversion", "p-plus", "textual-inversion", "text"}
    ablations = ("no-prior", "no-poses", "no-attention")  # in the order of the words
    assert all(method in words for method in methods)
    assert "without prior, without stage I and without the attention loss each below the whole" in (
        words
    )
    # Each is expected below `interaction`, in both figures.
    assert sorted((e.first, e.second, e.figure, e.sign) for e in table001.EXPECTED) == sorted(
        ("interaction", row, figure, -1)
        for row in (*methods, *ablations)
        for figure in ("pose_s", "pose_kp")
    )


def test_the_effects_of_table_003_are_those_that_its_pipeline_names():
    words = named("table-003-mini.mk", "Named before the run.", "Their six p values")
    assert words.count(" above ") == 3
    assert "Prompt and ID (P) of `identity` are above those of `ti`" in words
    assert "Prompt of `identity` is above that of `none`, `word` and `prompt`" in words
    assert "ID of `identity` is above that of `pairs1`" in words
    titles = identity_tables.COLUMNS
    assert {(e.first, e.second, titles[e.figure], e.sign) for e in identity_tables.EXPECTED} == {
        ("identity", "ti", "Prompt", -1), ("identity", "ti", "ID (P)", -1),
        ("identity", "none", "Prompt", -1), ("identity", "word", "Prompt", -1),
        ("identity", "prompt", "Prompt", -1), ("identity", "pairs1", "ID", -1),
    }  # fmt: skip
    assert len(identity_tables.EXPECTED) == 6

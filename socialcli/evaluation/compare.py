"""Two or more scores of the same sources, compared picture by picture, so that nobody bolds noise.

All methods are scored again on the sources they have in common, and every bootstrap resample draws
the same sources for each. P values are two-sided, from exchanging two methods' pictures source by
source (`bootstrap.exchanged`), and corrected for the number of figures and
methods compared (Holm), over the figures that have a better side.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import shards
from socialcli.config import flag
from socialcli.errors import UsageError
from socialcli.evaluation import bootstrap, metrics, run, settings, tables, writing
from socialcli.evaluation.metrics import Column

if TYPE_CHECKING:
    import numpy

ALPHA = 0.05


def compare(
    folders: list[str], names: list[str] | None = None, resamples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Every method against the first.

    Args:
        folders: output folders of `socialcli score`, or folders of shards with one in ``score``.
        names: what to call them (default: their titles).

    Returns:
        ``columns`` (facts of each figure) and ``cells``: {method: {column: value, low, high,
        difference, difference_low, difference_high, p, p_corrected, verdict, bold}}, with what the
        comparison was made of.

    Raises:
        UsageError: fewer than two, nothing in common, or scores by different models.
    """
    import numpy

    if len(folders) < 2:
        raise UsageError("--compare takes two or more score folders; the first is the baseline")
    loaded = [run.load(folder) for folder in folders]
    scores = [body for _, body in loaded]
    common = [name for name in scores[0]["metrics"] if all(name in s["metrics"] for s in scores)]
    if not common:
        raise UsageError("these scores have no metric in common")
    _check_models(folders, scores, common)
    methods = _names([s["title"] for s in scores], folders, names)
    columns: dict[str, Any] = {}
    cells: dict[str, dict[str, Any]] = {name: {} for name in methods}
    shared = 0
    for name in common:
        metric = metrics.load(name)
        all_rows = [writing.rows(place, name) for place, _ in loaded]
        for folder, rows in zip(folders[1:], all_rows[1:], strict=True):
            if why := metric.apart(all_rows[0], rows):
                raise UsageError(f"{folders[0]} and {folder}: {name}: {why}")
        units = _units(all_rows)
        if not units:
            raise UsageError(
                f"{folders[0]} and {folders[1]} have no source in common: their pictures were not "
                "generated from the same keys"
            )
        shared = len(units)
        count = run.at_most(resamples, metric) if shared > 1 else 0
        values, drawn = [], []
        members = [numpy.array([units.get(str(u), -1) for u in rows["unit"]]) for rows in all_rows]
        for rows, own in zip(all_rows, members, strict=True):
            estimate = functools.partial(metric.estimate, rows)
            ones = numpy.where(own >= 0, 1.0, 0.0)[None]
            values.append({k: float(v[0]) for k, v in estimate(ones).items()})
            drawn.append(bootstrap.resampled(estimate, own, len(units), count, seed))
        by_chance: list[dict[str, numpy.ndarray]] = [{}]  # the first is not held against itself
        for rows, own in zip(all_rows[1:], members[1:], strict=True):
            estimate = functools.partial(metric.estimate, metric.joined(all_rows[0], rows))
            pair = (members[0], own)
            by_chance.append(bootstrap.exchanged(estimate, pair, len(units), count, seed))
        for column in metric.COLUMNS:
            columns[column.name] = {"metric": name, **run._plain(column)}
            for number, method in enumerate(methods):
                cells[method][column.name] = _cell(
                    column, number, values, drawn, by_chance[number], metric.INTERVAL
                )
    result = {
        "baseline": methods[0],
        "folders": folders,
        "units": shared,
        "resamples": resamples,
        "seed": seed,
        "alpha": ALPHA,
        "columns": columns,
        "cells": cells,
    }
    _judge(result)
    return result


def _check_models(folders: list[str], scores: list[dict[str, Any]], common: list[str]) -> None:
    """Refuse to compare figures that different models made."""
    first = scores[0]
    for folder, other in zip(folders[1:], scores[1:], strict=True):
        for feature, models in first["models"].items():
            other_models = other["models"].get(feature, models)
            if other_models != models:
                raise UsageError(
                    f"{folders[0]} and {folder} were scored with different models ({feature}); "
                    "score both with the same profile"
                )
        # Half precision moves a cosine by as much as methods differ.
        numbers = {score["config"].get("dtype") for score in (first, other)} - {None, "auto"}
        if len(numbers) > 1:
            raise UsageError(f"{folders[0]} and {folder} were scored with different --dtype")
        for name in _options(common, first["config"]):
            if first["config"].get(name) != other["config"].get(name):
                raise UsageError(
                    f"{folders[0]} and {folder} were scored with different {flag(name)}"
                )


def _options(common: list[str], values: dict[str, Any]) -> list[str]:
    """The options that some metrics' figures depend on: their own, and the thresholds of the
    features that they look at. Which models these ask is told by the models themselves."""
    config_type = settings.config_type()
    known = {field.name for field in dataclasses.fields(config_type)}
    config = config_type(**{name: value for name, value in values.items() if name in known})
    loaded = {name: metrics.load(name) for name in common}
    numbers = (
        field.name
        for feature in settings.features(loaded, config)
        for field in dataclasses.fields(feature.config_type)
        if isinstance(field.default, float)
    )
    own = (name for metric in loaded.values() for name in metric.OPTIONS)
    return list(dict.fromkeys([*own, *numbers]))


def _names(titles: list[str], folders: list[str], names: list[str] | None) -> list[str]:
    if names is not None:
        if len(names) != len(folders) or len(set(names)) < len(names):
            raise UsageError(f"--names: expected {len(folders)} different names, one per score")
        return names
    if len(set(titles)) == len(titles):
        return titles
    if len(set(folders)) < len(folders):
        raise UsageError("one score is given twice; say with --names what to call each")
    return folders


def _units(all_rows: list[dict[str, numpy.ndarray]]) -> dict[str, int]:
    """The sources that every method has, numbered from 0 in the order of their names."""
    units = [set(map(str, rows["unit"])) for rows in all_rows]
    return {unit: number for number, unit in enumerate(sorted(set.intersection(*units)))}


def _cell(
    column: Column,
    number: int,
    values: list[dict[str, float]],
    drawn: list[dict[str, numpy.ndarray]],
    by_chance: dict[str, numpy.ndarray],
    kind: str,
) -> dict[str, Any]:
    """One method's figure, and its difference from the first method's."""
    import numpy

    name, nothing = column.name, numpy.zeros(0)
    value = values[number][name]
    own, first = drawn[number].get(name, nothing), drawn[0].get(name, nothing)
    span = bootstrap.interval(own, value, kind).within(column.low, column.high)
    chance = by_chance.get(name, nothing)
    apart = bootstrap.difference(first, own, value - values[0][name], chance, kind)
    # A centred interval may reach beyond what two figures can differ by.
    gap = bootstrap.Interval(apart.low, apart.high, apart.resamples).within(
        column.low - column.high, column.high - column.low
    )
    there = number > 0 and apart.p is not None
    return {
        "value": value if numpy.isfinite(value) else None,
        "low": span.low,
        "high": span.high,
        "difference": apart.value if there else None,
        "difference_low": gap.low if there else None,
        "difference_high": gap.high if there else None,
        "p": apart.p if there else None,
        "p_corrected": None,
        "verdict": "",
        "bold": False,
    }


def _judge(result: dict[str, Any]) -> None:
    """Correct the p values, and say what is better, worse and bold."""
    columns = {name: facts for name, facts in result["columns"].items() if facts["better"]}
    methods = list(result["cells"])
    tests = [
        result["cells"][method][column]
        for method in methods[1:]
        for column in columns
        if result["cells"][method][column]["p"] is not None
    ]
    result["tests"] = len(tests)
    for cell, p in zip(tests, bootstrap.holm([cell["p"] for cell in tests]), strict=True):
        cell["p_corrected"] = p
    for column, facts in columns.items():
        for method in methods[1:]:
            cell = result["cells"][method][column]
            if cell["p_corrected"] is not None and cell["p_corrected"] < result["alpha"]:
                gain = cell["difference"] if facts["better"] == "higher" else -cell["difference"]
                cell["verdict"] = "better" if gain > 0 else "worse"
                cell["bold"] = gain > 0
        others = [result["cells"][method][column]["verdict"] for method in methods[1:]]
        result["cells"][methods[0]][column]["bold"] = all(v == "worse" for v in others)


def write(result: dict[str, Any], output: str) -> list[str]:
    """``compare.json``, ``compare.md`` and ``compare.tex`` in a folder; returns their paths."""
    comparison = {
        "compare.md": tables.compared_markdown(result),
        "compare.tex": tables.compared_latex(result),
        "compare.json": json.dumps(result, ensure_ascii=False, indent=1, allow_nan=False) + "\n",
    }
    with shards.publish_files(Path(output), last="compare.json") as folder:
        for name, text in comparison.items():
            (folder / name).write_bytes(text.encode("utf-8", "replace"))
    return [str(Path(output) / name) for name in comparison]

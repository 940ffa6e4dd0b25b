"""What benchmarks measured as JSON, and the page that is made of it.

The JSON maps a benchmark's name to its ``text`` (Markdown that begins with a heading), its
``figures`` (those with a goal), ``measured`` (when and where, and how long it took) and ``notes``,
which people write: what the figures mean, what was tried and lost. A new measurement replaces all
but the notes. Beside it, while a run goes on, lies ``NAME.json.run``: which benchmarks it has
measured, so that the same command after a stop goes on with the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from socialcli.benchmarks import Figure, Section, table

INTRODUCTION = """# Benchmarks

<!-- Made from benchmarks.json by `python -m socialcli.benchmarks --record docs/benchmarks.json`;
change that file's notes, not this page. -->

`make benchmark` (or `python -m socialcli.benchmarks [NAME ...] [--turns N]`) measures everything in
turns on the machine it runs on, prints the tables below, and says of every figure that has a goal
whether it was reached. Stopped, the same command goes on with what is not measured yet. A ratio is
the median of the turns' own ratios. `TMPDIR` says where shards are written. Disk and memory speed
differ between machines and hours, so read ratios, not speeds.

`pipelines/benchmark-gpu.sh` measures on a card what only a card can show (`--dry` sees on the
processor that all of it runs). No figure on this page was measured on a card yet.
"""


def record(file: Path, sections: dict[str, Section], seconds: float | None = None) -> None:
    """Put new measurements into the JSON file, and the page beside it (``.md``).

    Args:
        seconds: how long they took.
    """
    took = "" if seconds is None else f", took {duration(seconds)}"
    body: dict[str, Any] = {}
    if file.exists():
        body = json.loads(file.read_text(encoding="utf-8"))
    for name, section in sections.items():
        notes = body.get(name, {}).get("notes", "")
        figures = [dataclasses.asdict(figure) for figure in section.figures]
        body[name] = {
            "text": section.text, "figures": figures, "measured": machine() + took, "notes": notes,
        }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(file, json.dumps(body, indent=1, ensure_ascii=False) + "\n")
    _write(file.with_suffix(".md"), page(body))


def check(parser: argparse.ArgumentParser, file: Path | str | None) -> None:
    """End the command (exit code 2) where a file that it is to write could not be written."""
    from socialcli import shards
    from socialcli.errors import UsageError

    try:
        shards.check_output_file("-" if file is None else str(file))
    except UsageError as error:
        parser.error(str(error))


def _write(file: Path, text: str) -> None:
    """Whole or not at all: a run may be stopped at any time."""
    from socialcli import shards

    shards.write_bytes(str(file), text.encode("utf-8"))


def figures(file: Path, names: Iterable[str]) -> list[Figure]:
    """The figures that the JSON file has of these benchmarks."""
    body = json.loads(file.read_text(encoding="utf-8"))
    return [Figure(**figure) for name in names if name in body for figure in body[name]["figures"]]


def done(file: Path) -> list[str]:
    """The benchmarks that a run which was stopped has measured."""
    note = _note(file)
    return json.loads(note.read_text(encoding="utf-8")) if note.exists() else []


def note_done(file: Path, names: list[str]) -> None:
    """Note what the run has measured so far; nothing where it is complete."""
    if names:
        _write(_note(file), json.dumps(names))
    else:
        _note(file).unlink(missing_ok=True)


def _note(file: Path) -> Path:
    return file.with_name(file.name + ".run")


def duration(seconds: float) -> str:
    """``75`` as ``1 min 15 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def machine() -> str:
    """When and where, in words."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    cores = os.cpu_count() or 1
    return f"{time.strftime('%Y-%m-%d', time.gmtime())}, {platform.machine()}, {cores} cores{load}"


def page(body: dict[str, Any]) -> str:
    """The whole page, from the JSON."""
    figures = [Figure(**figure) for one in body.values() for figure in one["figures"]]
    parts = [INTRODUCTION.strip(), f"## Goals\n\n{goals(figures)}"]
    for one in body.values():
        parts.append(one["text"].strip())
        if one["measured"]:
            parts.append(f"Measured: {one['measured']}.")
        if one["notes"]:
            parts.append(one["notes"].strip())
    return "\n\n".join(parts) + "\n"


def goals(figures: list[Figure]) -> str:
    """Each figure beside its goal."""
    rows = []
    for figure in figures:
        sign = "at most" if figure.lower else "at least"
        verdict = "reached" if figure.reached else "**missed**"
        rows.append([figure.name, f"{figure.value:.3g}", f"{sign} {figure.goal:g}", verdict])
    return table(["figure", "measured", "goal", ""], rows)

"""How planning and recognising a finished run grow with the number of shards.

A folder of n shards (links to one small shard of 100 samples) and a finished run's output beside
it (links again, with stats files of their own). Timed are making the plan, which is what
``--dry-run`` does, and a run that finds everything finished; then publishing small files into a
folder that holds so many, and into an empty one.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from socialcli import shards
from socialcli.benchmarks import Figure, Section, in_turns, table
from socialcli.benchmarks import io as through
from socialcli.pipeline import plan as planning
from socialcli.pipeline import run as running
from socialcli.pipeline.report import Report

SHARDS, SAMPLES, FILES = 10_000, 100, 100


def run(turns: int, count: int = SHARDS) -> Section:
    """A Markdown table of seconds of the processor at a tenth of the shards, and at all."""
    numbers = (count // 10, count)
    seconds: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="socialcli-benchmark-") as temporary:
        for number in numbers:
            seconds[number] = measured(Path(temporary) / str(number), number, turns)
    few, many = (seconds[number] for number in numbers)
    rows = [
        [what, f"{few[what]:.2f}", f"{many[what]:.2f}", f"{many[what] / max(few[what], 1e-9):.1f}"]
        for what in many
    ]
    head = [f"seconds of the processor, {SAMPLES} samples a shard"]
    header = [*head, *(f"{number:,} shards" for number in numbers), "times"]
    text = f"## Growth with the number of shards\n\n{table(header, rows)}"
    figures = [
        Figure(f"planning {count:,} shards, seconds", many[PLAN], 5, lower=True),
        Figure(f"finding {count:,} shards finished, seconds", many[FINISHED], 10, lower=True),
        Figure(
            f"publishing {FILES} files beside those of {count:,} shards, over beside a tenth",
            many[PUBLISH] / max(few[PUBLISH], 1e-9), 2, lower=True,
        ),
    ]  # fmt: skip
    return Section(text, figures)


PLAN, FINISHED = "planning", "finding them all finished"
PUBLISH = f"publishing {FILES} files beside their outputs"


def measured(root: Path, number: int, turns: int) -> dict[str, float]:
    """The least seconds of the processor that each took in some turns."""
    name = through.stage("benchmark_growth")
    options = running.RunOptions(quiet=True)
    make(root, number, name)
    made: list[Any] = []

    def plan() -> None:
        made[:] = [
            running.planned("stages", name, {}, [str(root / "in")], str(root / "out"), options)
        ]

    def finished() -> None:
        total = running.execute(made[0], "local", {}, Report(quiet=True))
        if total.skipped != number:
            raise SystemExit("shards were not found finished: the benchmark is wrong")

    def publish() -> None:
        for at in range(FILES):
            shards.write_bytes(str(root / "out" / f"extra-{at}.json"), b"{}", synced=False)

    plan()
    runs = {PLAN: plan, FINISHED: finished, PUBLISH: publish}
    seconds = in_turns(runs, turns, before=lambda: None, clock=time.process_time)
    return {what: min(each) for what, each in seconds.items()}


def make(root: Path, number: int, name: str) -> None:
    """Inputs in ``root/in``, and in ``root/out`` what a run of the stage makes of them."""
    (root / "in").mkdir(parents=True)
    first, out = root / "in" / f"{0:06d}.tar", root / "out"
    shards.write(first, ((f"{n:03d}", {"txt": b"a horse"}) for n in range(SAMPLES)))
    options = running.RunOptions(quiet=True)
    plan = running.planned("stages", name, {}, [str(first)], str(out), options)
    running.execute(plan, "local", {}, Report(quiet=True))
    text = (out / f"{0:06d}.stats.json").read_text(encoding="utf-8")
    for at in range(1, number):
        stem = f"{at:06d}"
        os.link(first, root / "in" / f"{stem}.tar")
        os.link(out / f"{0:06d}.tar", out / f"{stem}.tar")
        body = json.loads(text.replace(f"{0:06d}.tar", f"{stem}.tar"))
        body["fingerprint"] = planning.fingerprint(body["identity"])
        (out / f"{stem}.stats.json").write_text(json.dumps(body), encoding="utf-8")
        (out / f"{stem}.errors.jsonl").touch()

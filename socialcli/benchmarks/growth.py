"""How time and memory grow with the number of shards, up to a million samples in 10,000 of them.

A folder of n shards (links to one small shard of 100 samples) and a finished run's output beside
it (links again, with stats files of their own). Timed are making the plan, showing it
(``--dry-run``), a run that finds everything finished, adding up the stats files, and looking at
every sample (`inspect`); then publishing small files into a folder that holds so many. Each has a
process of its own, so that the most memory it ever had is its own too.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import io
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from socialcli import shards
from socialcli.benchmarks import Figure, Section, table
from socialcli.benchmarks import io as through
from socialcli.pipeline import dry_run
from socialcli.pipeline import plan as planning
from socialcli.pipeline import run as running
from socialcli.pipeline.report import Report
from socialcli.reports import gather

SHARDS, SAMPLES, FILES = 10_000, 100, 1000
STAGE = "benchmark_growth"


def run(turns: int, count: int = SHARDS) -> Section:
    """A Markdown table of seconds of the processor and megabytes at a tenth of the shards, and at
    all. Every sample is looked at once, whatever ``turns`` says; the rest counts its best turn."""
    numbers = (count // 10, count)
    costs: dict[str, dict[int, tuple[float, float]]] = {what: {} for what in THINGS}
    with tempfile.TemporaryDirectory(prefix="socialcli-benchmark-") as temporary:
        for number in numbers:
            root = Path(temporary) / str(number)
            make(root, number, through.stage(STAGE))
            for what in THINGS:
                times = 1 if what == LOOK else turns
                costs[what][number] = min(alone(what, root, number) for _ in range(times))
    rows = []
    for what, (few, many) in ((w, (each[n] for n in numbers)) for w, each in costs.items()):
        seconds = [f"{few[0]:.2f}", f"{many[0]:.2f}", f"{many[0] / max(few[0], 1e-9):.1f}"]
        rows.append([what, *seconds, f"{few[1]:.0f}", f"{many[1]:.0f}"])
    head = [f"seconds of the processor, {SAMPLES} samples a shard"]
    header = [*head, *(f"{number:,} shards" for number in numbers), "times",
              *(f"MB with {number:,}" for number in numbers)]  # fmt: skip
    text = f"## Growth with the number of shards\n\n{table(header, rows)}"
    return Section(text, _figures(count, costs))


def _figures(count: int, costs: dict[str, dict[int, tuple[float, float]]]) -> list[Figure]:
    few, many = ({what: each[n] for what, each in costs.items()} for n in (count // 10, count))
    grown = {what: many[what][1] / few[what][1] for what in THINGS}
    beside = many[PUBLISH][0] / max(few[PUBLISH][0], 1e-9)
    samples = f"{count * SAMPLES:,} samples"
    return [
        Figure(f"planning {count:,} shards, seconds", many[PLAN][0], 5, lower=True),
        Figure(f"finding {count:,} shards finished, seconds", many[FINISHED][0], 10, lower=True),
        Figure(f"looking at {samples}, seconds over ten times those of a tenth",
               many[LOOK][0] / max(10 * few[LOOK][0], 1e-9), 1.2, lower=True),
        Figure(f"looking at {samples}, memory over that of a tenth", grown[LOOK], 1.2, lower=True),
        Figure(f"publishing {FILES:,} files beside those of {count:,} shards, over beside a tenth",
               beside, 2, lower=True),
    ]  # fmt: skip


def _plan(root: Path, number: int) -> Any:
    options = running.RunOptions(quiet=True)
    return running.planned("stages", STAGE, {}, [str(root / "in")], str(root / "out"), options)


def _show(root: Path, number: int) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        dry_run.show_plan(_plan(root, number))


def _finish(root: Path, number: int) -> None:
    total = running.execute(_plan(root, number), "local", {}, Report(quiet=True))
    _expect(total.skipped, number)


def _add_up(root: Path, number: int) -> None:
    total = planning.collected(_plan(root, number))
    _expect(total.counts["ok"], number * SAMPLES)


def _look(root: Path, number: int) -> None:
    files = shards.expand([str(root / "in")])
    _expect(gather.look(files, 0).statistics.samples, number * SAMPLES)


def _publish(root: Path, number: int) -> None:
    for at in range(FILES):
        shards.write_bytes(str(root / "out" / f"extra-{at}.json"), b"{}", synced=False)


def _expect(value: int, wanted: int) -> None:
    if value != wanted:
        raise SystemExit(f"{value} and not {wanted}: the benchmark is wrong")


PLAN, FINISHED, LOOK = "planning", "finding them all finished", "`inspect`, every sample"
PUBLISH = f"publishing {FILES:,} files beside their outputs"
THINGS: dict[str, Callable[[Path, int], Any]] = {
    PLAN: _plan, "`--dry-run`": _show, FINISHED: _finish, "adding up their stats": _add_up,
    LOOK: _look, PUBLISH: _publish,
}  # fmt: skip


def alone(what: str, root: Path, number: int) -> tuple[float, float]:
    """(seconds of the processor, megabytes at most) of one thing, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_measured, what, root, number).result()


def _measured(what: str, root: Path, number: int) -> tuple[float, float]:
    through.stage(STAGE)
    started = time.process_time()
    THINGS[what](root, number)
    return time.process_time() - started, _most_memory() / 1e6


def _most_memory() -> int:
    """Bytes that this process had at most."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts what started a process into its ru_maxrss
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


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
        (out / f"{stem}.stats.json").write_text(renamed(text, stem), encoding="utf-8")
        (out / f"{stem}.errors.jsonl").touch()


def renamed(stats: str, stem: str) -> str:
    """The stats file of shard 000000 as that of a shard of another name."""
    body = json.loads(stats.replace(f"{0:06d}.tar", f"{stem}.tar"))
    body["fingerprint"] = planning.fingerprint(body["identity"])
    return json.dumps(body)

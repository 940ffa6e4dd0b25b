"""``python -m socialcli.benchmarks``: all benchmarks, or those named."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same for us and for the peers

import argparse
import importlib
import sys
import time
from pathlib import Path

from socialcli.benchmarks import Figure, publishing

NAMES = (
    "startup", "io", "growth", "remote", "model-bound", "entities", "generate", "layouts", "score",
    "train", "compiled", "dreambooth", "operations", "decoders",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m socialcli.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--turns", type=int, default=5, help="turns of every comparison")
    parser.add_argument(
        "--record", type=Path, metavar="FILE.json",
        help="put what was measured into this file, and make the page beside it anew; the same "
        "command goes on where it was stopped",
    )  # fmt: skip
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    publishing.check(parser, options.record)
    names, file = list(options.names or NAMES), options.record
    measured = [name for name in (publishing.done(file) if file else []) if name in names]
    if measured:
        print(f"measured already: {', '.join(measured)} (a run that was stopped; remove "
              f"{file}.run to measure them again)\n", flush=True)  # fmt: skip
    figures: list[Figure] = []
    failed: list[str] = []
    begun = time.monotonic()
    for name in (name for name in names if name not in measured):
        module = importlib.import_module(f"socialcli.benchmarks.{name.replace('-', '_')}")
        started = time.monotonic()
        try:
            section = module.run(options.turns)
        except (Exception, SystemExit) as error:  # the others are still to be measured
            failed.append(name)
            print(f"## {name}\n\nFailed: {type(error).__name__}: {error}\n", flush=True)
            continue
        seconds = time.monotonic() - started
        figures += section.figures
        print(section.text, f"\nTook {publishing.duration(seconds)}.\n", sep="\n", flush=True)
        if file:
            publishing.record(file, {name: section}, seconds)
            measured.append(name)
            publishing.note_done(file, measured)
    if file:
        figures = publishing.figures(file, names)
        publishing.note_done(file, measured if failed else [])
    if figures:
        print(publishing.goals(figures))
    print(f"\nAll of it took {publishing.duration(time.monotonic() - begun)}.")
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}; the same command tries these again")


if __name__ == "__main__":
    main()

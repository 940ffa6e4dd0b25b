"""``python -m socialcli.benchmarks``: all benchmarks, or those named."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same for us and for the peers

import argparse
import importlib
from pathlib import Path

from socialcli.benchmarks import Section, publishing

NAMES = (
    "startup", "io", "growth", "remote", "model-bound", "generate", "layouts", "score", "train",
    "dreambooth", "operations", "decoders",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m socialcli.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--turns", type=int, default=5, help="turns of every comparison")
    parser.add_argument(
        "--record", type=Path, metavar="FILE.json",
        help="put what was measured into this file, and make the page beside it anew",
    )  # fmt: skip
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    sections: dict[str, Section] = {}
    for name in options.names or NAMES:
        module = importlib.import_module(f"socialcli.benchmarks.{name.replace('-', '_')}")
        sections[name] = module.run(options.turns)
        print(sections[name].text, end="\n\n", flush=True)
        if options.record:
            publishing.record(options.record, {name: sections[name]})
    figures = [figure for section in sections.values() for figure in section.figures]
    if figures:
        print(publishing.goals(figures))


if __name__ == "__main__":
    main()

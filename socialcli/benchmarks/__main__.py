"""``python -m socialcli.benchmarks``: all benchmarks, or those named."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same for us and for the peers

import argparse
import importlib

NAMES = ("startup", "io", "model-bound", "generate", "layouts", "train", "dreambooth")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m socialcli.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--turns", type=int, default=5, help="turns of every comparison")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    for name in options.names or NAMES:
        module = importlib.import_module(f"socialcli.benchmarks.{name.replace('-', '_')}")
        print(module.run(options.turns), flush=True)
        print()


if __name__ == "__main__":
    main()

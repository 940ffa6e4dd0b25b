"""Shards through a stage that adds one small member, against webdataset's way of doing it and cp.

Ours is the production path: one shard after the other through the local engine, with threads,
checksums, fsync, rename and stats files. webdataset's is its reader and ShardWriter, without fsync
and without stats. `cp` copies the files.
"""

from __future__ import annotations

import io
import os
import shutil
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from socialcli import registry, shards
from socialcli.benchmarks import Figure, Section, in_turns, ratio, table
from socialcli.pipeline.plan import Plan, Task
from socialcli.pipeline.report import Report
from socialcli.pipeline.stage import Item, Stage

SHARDS, SAMPLES = 12, 500
PICTURES, SIDE = 16, 420  # noise of so many pixels: about 163 KB as JPEG
MEMBER = b'{"schema":1,"text":"a woman is riding a brown horse"}'


@dataclass
class Config:
    pass


def stage(name: str) -> str:
    """A stage that only adds `MEMBER`, known to this process; returns its name."""

    class AddMember(Stage):
        WRITES = ("caption.json",)
        config_type = Config

        def models(self, config: Any) -> list[Any]:
            return []

        def load(self, config: Any) -> Any:
            return None

        def prepare(self, config: Any, sample: Any) -> Any:
            return None

        def process(
            self, config: Any, loaded: Any, items: list[Item]
        ) -> list[dict[str, bytes] | Exception]:
            return [{"caption.json": MEMBER} for _ in items]

    registry.register("stages", name, AddMember())
    return name


def make(folder: Path) -> list[Path]:
    """Shards of incompressible pictures with a short text each."""
    folder.mkdir()
    pictures = [noise(seed) for seed in range(PICTURES)]
    for number in range(SHARDS):
        rows = (
            (f"{number:03d}{n:06d}", {"jpg": pictures[n % PICTURES], "txt": b"a horse"})
            for n in range(SAMPLES)
        )
        shards.write(folder / f"{number:06d}.tar", rows)
    return sorted(folder.glob("*.tar"))


def noise(seed: int) -> bytes:
    """A JPEG that nothing can compress; a stage refuses bytes that are no picture."""
    import numpy
    from PIL import Image

    rng = numpy.random.default_rng(seed)
    side = SIDE + int(rng.integers(-10, 10))
    stream = io.BytesIO()
    pixels = rng.integers(0, 256, (side, side, 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def ours(sources: list[Path], out: Path, sidecar: bool = False) -> None:
    tasks = [Task(i, str(s), str(out / s.name)) for i, s in enumerate(sources)]
    plan = Plan("stages", stage("benchmark_io"), {}, tuple(tasks), sidecar=sidecar)
    registry.load("engines", "local").run(plan, tasks, {}, Report(quiet=True))


def webdataset_through(sources: list[Path], out: Path, sidecar: bool = False) -> None:
    import webdataset

    with webdataset.ShardWriter(str(out / "%06d.tar"), maxcount=SAMPLES, verbose=0) as sink:
        for sample in webdataset.WebDataset([str(s) for s in sources], shardshuffle=False):
            new = {} if sidecar else {k: v for k, v in sample.items() if not k.startswith("__")}
            sink.write({"__key__": sample["__key__"], **new, "caption.json": MEMBER})


def run(turns: int) -> Section:
    """A Markdown table of MB/s and ratios.

    The folder is taken from ``TMPDIR``; it should be a disk, not memory.
    """
    with tempfile.TemporaryDirectory(prefix="socialcli-benchmark-") as temporary:
        root = Path(temporary)
        sources = make(root / "in")
        _check(root, sources)
        megabytes = sum(s.stat().st_size for s in sources) / 1e6
        out = root / "out"

        def fresh() -> None:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            os.sync()  # nobody pays for what the one before left to be written

        def settled(function: Any) -> Any:
            def both() -> None:
                function()
                os.sync()

            return both

        def copy() -> None:
            subprocess.run(["cp", *sources, out], check=True)

        runs = {
            "socialcli": lambda: ours(sources, out),
            "webdataset": lambda: webdataset_through(sources, out),
            "cp": copy,
            "socialcli, until on disk": settled(lambda: ours(sources, out)),
            "webdataset, until on disk": settled(lambda: webdataset_through(sources, out)),
            "cp, until on disk": settled(copy),
            "socialcli --sidecar": lambda: ours(sources, out, sidecar=True),
            "webdataset, new member only": lambda: webdataset_through(sources, out, sidecar=True),
        }
        seconds = in_turns(runs, turns, before=fresh)
    rows = []
    names = list(runs)
    for group in (names[:3], names[3:6], names[6:]):
        for name in group:
            median = statistics.median(seconds[name])
            times = f"{ratio(seconds, name, group[1]):.2f}"
            rows.append([name, f"{megabytes / median:.0f}", times])
    head = f"## Shards through a stage that adds one member\n\n{SHARDS} shards, {megabytes:.0f} MB"
    text = f"{head}, pictures of 163 KB.\n\n" + table(["", "MB/s", "times webdataset"], rows)
    figures = [
        Figure("a stage over webdataset, until on disk",
               ratio(seconds, "socialcli, until on disk", "webdataset, until on disk"), 3),
        Figure("a stage over cp, until on disk",
               ratio(seconds, "socialcli, until on disk", "cp, until on disk"), 1),
    ]  # fmt: skip
    return Section(text, figures)


def _check(root: Path, sources: list[Path]) -> None:
    """Both wrote the same samples, or the comparison means nothing."""
    outputs = []
    for name, function in (("a", ours), ("b", webdataset_through)):
        (root / name).mkdir()
        function(sources[:1], root / name)
        written = next((root / name).glob("*.tar"))
        outputs.append({s.key: s.members for s in shards.read(str(written))})
    if outputs[0] != outputs[1]:
        raise SystemExit("the two outputs differ: the benchmark is wrong")

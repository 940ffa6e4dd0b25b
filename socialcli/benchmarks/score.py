"""Pictures a minute of `socialcli score`, from nothing and from its store.

Rendered scenes, each its own source, through the metrics of the feedback paper's tables and their
detectors (CLIP, DINO, faces, gaze, objects, interactions), all embedded miniatures, one thread. The
whole path is timed: reading, decoding, models, figures with intervals, the page. Two cores for a
minute are two minutes of the processor, which is what is counted.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from socialcli.benchmarks import Figure, Section, in_turns, ratio, table
from socialcli.benchmarks.train import WEIGHTS, scenes
from socialcli.evaluation import run as running
from socialcli.evaluation import settings

PICTURES, METRICS = 128, "clip-t,clip-i,dino,face,gaze,hoi"


def run(turns: int, pictures: int = PICTURES) -> Section:
    """A Markdown table of pictures in two minutes of the processor."""
    import torch

    torch.set_num_threads(1)
    first, again = "all looked at", "all found in the store"
    with tempfile.TemporaryDirectory(prefix="socialcli-benchmark-") as temporary:
        root = Path(temporary)
        data, out = scenes(root / "world.tar", pictures), root / "out"

        def score() -> None:
            running.score([data], str(out), config(), running.Options(real=True, quiet=True))

        def fresh() -> None:
            shutil.rmtree(out, ignore_errors=True)
            score()

        # The store that the second finds is what the first, or itself, left.
        score()
        runs = {first: fresh, again: score}
        seconds = in_turns(runs, turns, before=lambda: None, clock=time.process_time)
    speed = {name: 120 * pictures / statistics.median(seconds[name]) for name in runs}
    rows = [[n, f"{speed[n]:,.0f}", f"{ratio(seconds, n, first):.1f}"] for n in runs]
    text = f"## Scores\n\n{pictures} pictures of 96 x 96 pixels: {METRICS}.\n\n" + table(
        ["", "pictures in two minutes of the processor", "times"], rows
    )
    what = "pictures scored in two minutes of the processor (two cores for one minute)"
    return Section(text, [Figure(what, speed[first], 1000)])


def config() -> Any:
    """The embedded miniatures, as the profile of the miniature names them."""
    parts = {
        "clip": "clip", "dino": "dino", "face": "face", "ground": "ground", "pose": "pose",
        "gaze": "gaze/sharingan.pt", "interaction": "interaction",
    }  # fmt: skip
    models = {f"{role}_model": str(WEIGHTS / place) for role, place in parts.items()}
    kind: Any = settings.config_type()
    values = vars(kind(metrics=METRICS, box_threshold=0.25, device="cpu", **models))
    return kind(**settings.resolved(values))

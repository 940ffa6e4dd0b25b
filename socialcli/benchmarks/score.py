"""Pictures a minute of `socialcli score`, from nothing and from its store.

Rendered scenes, each its own source, through the metrics of the feedback paper's tables and their
detectors (CLIP, DINO, faces, gaze, objects, interactions), all embedded miniatures, one thread. The
whole path is timed: reading, loading models, decoding, models, figures with intervals, the page.
Two cores for a minute are two minutes of the processor, which is what is counted.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from socialcli.benchmarks import Figure, Section, table
from socialcli.benchmarks.train import WEIGHTS, scenes
from socialcli.evaluation import run as running
from socialcli.evaluation import settings

PICTURES, METRICS = 1000, "clip-t,clip-i,dino,face,gaze,hoi"


def run(turns: int, pictures: int = PICTURES) -> Section:
    """A Markdown table of pictures in two minutes of the processor.

    A thousand pictures are looked at once, whatever ``turns`` says; the store is asked ``turns``
    times, and its best turn counts.
    """
    import torch

    torch.set_num_threads(1)
    first, again = "all looked at", "all found in the store"
    with tempfile.TemporaryDirectory(prefix="socialcli-benchmark-") as temporary:
        root = Path(temporary)
        few, data, out = scenes(root / "few.tar", 8), scenes(root / "world.tar", pictures), "out"

        def score(shard: str, folder: str) -> float:
            started = time.process_time()
            options = running.Options(real=True, quiet=True)
            running.score([shard], str(root / folder), config(), options)
            return time.process_time() - started

        score(few, "warm")  # imports, which a score of any size has once
        seconds = {first: score(data, out), again: min(score(data, out) for _ in range(turns))}
    speed = {name: 120 * pictures / spent for name, spent in seconds.items()}
    rows = [[n, f"{speed[n]:,.0f}", f"{speed[n] / speed[first]:.1f}"] for n in seconds]
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

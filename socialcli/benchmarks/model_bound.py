"""A stage whose time is its model's: the whole stage against the bare model loop.

The model is a vision transformer of about a million parameters with random weights (its time does
not depend on them) on 224 x 224 pixels. The bare loop has its pictures decoded, resized and
batched in memory before the clock starts; the stage reads shards, decodes, batches, runs the same
model on the same batches, and writes, checks and syncs its output.
"""

from __future__ import annotations

import dataclasses
import io
import shutil
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from socialcli import registry, shards
from socialcli.benchmarks import Section, in_turns, ratio, table
from socialcli.pipeline import shard
from socialcli.pipeline.plan import Plan, Task
from socialcli.pipeline.report import Report
from socialcli.pipeline.stage import Item, Stage
from socialcli.vision import images

SAMPLES, BATCH, SIDE = 160, 8, 224


@dataclass
class Config:
    batch_size: int = BATCH


def network() -> Any:
    import torch
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    sizes = ViTConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768,
        image_size=SIDE, patch_size=16,
    )  # fmt: skip
    return ViTModel(sizes).eval()


def pixels(picture: bytes) -> Any:
    """One picture as a (3, SIDE, SIDE) float tensor in [-1, 1]."""
    import numpy
    import torch

    small = images.decode(picture).resize((SIDE, SIDE))
    return torch.from_numpy(numpy.asarray(small).copy()).permute(2, 0, 1).float() / 127.5 - 1


def forward(model: Any, batch: list[Any]) -> Any:
    import torch

    with torch.inference_mode():
        return model(pixel_values=torch.stack(batch)).last_hidden_state[:, 0]


def stage(model: Any) -> str:
    """A stage that runs the model, known to this process; returns its name."""

    class Forward(Stage):
        WRITES = ("features.bin",)
        config_type = Config

        def models(self, config: Any) -> list[Any]:
            return []

        def load(self, config: Any) -> Any:
            return model

        def prepare(self, config: Any, sample: Any) -> Any:
            return pixels(sample.picture())

        def process(
            self, config: Any, loaded: Any, items: list[Item]
        ) -> list[dict[str, bytes] | Exception]:
            features = forward(loaded, [item.work for item in items]).numpy()
            return [{"features.bin": row.tobytes()} for row in features]

    registry.register("stages", "benchmark-model", Forward())
    return "benchmark-model"


def photograph(seed: int) -> bytes:
    """A JPEG of 640 x 480 with the detail of a photograph, so that decoding has its usual cost."""
    import numpy
    from PIL import Image

    noise = numpy.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=numpy.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


def run(turns: int) -> Section:
    """A Markdown table of pictures per second."""
    import torch

    torch.set_num_threads(1)
    model = network()
    with tempfile.TemporaryDirectory(prefix="socialcli-benchmark-") as temporary:
        root = Path(temporary)
        source, out = root / "in.tar", root / "out"
        rows = [(f"{n:05d}", {"jpg": photograph(n)}) for n in range(SAMPLES)]
        shards.write(source, rows)
        ready = [pixels(members["jpg"]) for _, members in rows]
        name = stage(model)

        def bare() -> None:
            for start in range(0, SAMPLES, BATCH):
                forward(model, ready[start : start + BATCH])

        def whole() -> None:
            plan = Plan("stages", name, dataclasses.asdict(Config()), ())
            shard.run(plan, Task(0, str(source), str(out / "0.tar")), model, Report(quiet=True))

        def in_line() -> None:
            """What a plain script does: read, decode, run, write, one after the other."""
            written = []
            for start in range(0, SAMPLES, BATCH):
                part = rows[start : start + BATCH]
                features = forward(model, [pixels(members["jpg"]) for _, members in part])
                written += [
                    (key, {**members, "features.bin": row.numpy().tobytes()})
                    for (key, members), row in zip(part, features, strict=True)
                ]
            shards.write(out / "0.tar", written)

        def fresh() -> None:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()

        runs = {
            "bare model loop": bare,
            "socialcli stage": whole,
            "script without threads": in_line,
        }
        seconds = in_turns(runs, turns, before=fresh)
    lines = [
        [n, f"{SAMPLES / statistics.median(seconds[n]):.1f}",
         f"{ratio(seconds, n, 'bare model loop'):.3f}"]
        for n in runs
    ]  # fmt: skip
    head = "## A stage bound by its model\n\nA ViT-Ti on one thread, batches of 8, 640 x 480 JPEGs."
    return Section(f"{head}\n\n" + table(["", "pictures/s", "of the bare loop"], lines))

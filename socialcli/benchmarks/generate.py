"""Pictures a second of `socialcli generate` against a plain loop over diffusers' pipeline.

Both have the same weights loaded before the clock starts, the same scheduler, steps and guidance,
batches of 8, 96 x 96 pixels, one thread, and a process of its own, so that neither arranges the
other's memory. The plain loop calls the pipeline and saves PNGs; ours is the whole production path:
requests, noise by key, PNGs with provenance, records, a synced shard. The weights are the embedded
miniature's.
"""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from socialcli import registry
from socialcli.benchmarks import Figure, Section, in_turns, ratio, table
from socialcli.benchmarks.train import beside
from socialcli.pipeline import shard
from socialcli.pipeline.plan import Plan, Task
from socialcli.pipeline.report import Report

PICTURES, BATCH, STEPS, GUIDANCE = 16, 8, 30, 5.0
WEIGHTS = Path(__file__).parent.parent / "miniature" / "weights" / "diffusion"


def pipeline(folder: Path) -> Any:
    """diffusers' own, as its documentation shows."""
    import torch
    from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler

    pipe = StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, torch_dtype=torch.float32
    )
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def plain_loop(prompts: list[str], out: Path) -> Callable[[], None]:
    """The peer: every prompt's picture once, as PNG files in a folder."""
    plain = pipeline(WEIGHTS)

    def run() -> None:
        for start in range(0, len(prompts), BATCH):
            part = prompts[start : start + BATCH]
            images = plain(part, num_inference_steps=STEPS, guidance_scale=GUIDANCE).images
            for number, image in enumerate(images, start):
                image.save(out / f"{number:05d}.png")

    return run


def run(turns: int) -> Section:
    """A Markdown table of pictures per second of the processor."""
    import torch

    from socialcli.miniature.world import scene
    from socialcli.miniature.world.captions import captions

    torch.set_num_threads(1)
    prompts = [captions(scene(7, n, 96), 1)[0].text for n in range(PICTURES)]
    peer = "diffusers pipeline in a loop"
    with tempfile.TemporaryDirectory(prefix="socialcli-benchmark-") as temporary:
        out = Path(temporary) / "out"
        text = registry.load("methods.generate", "text")
        config = text.config_type(
            prompt=prompts, model=str(WEIGHTS), steps=STEPS, guidance=GUIDANCE, batch_size=BATCH,
            device="cpu", dtype="float32",
        )  # fmt: skip
        studio = text.load(config)

        def ours() -> None:
            work = Plan("methods.generate", "text", dataclasses.asdict(config), ())
            task = Task(0, f"0:{PICTURES}", str(out / "0.tar"))
            shard.run(work, task, studio, Report(quiet=True))

        def fresh() -> None:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()

        with beside(plain_loop, prompts, out) as (peer_loop, spent):
            runs = {peer: peer_loop, "socialcli generate": ours}
            clock = lambda: time.process_time() + spent()  # noqa: E731
            seconds = in_turns(runs, turns, before=fresh, clock=clock)
    lines = [
        [n, f"{PICTURES / statistics.median(seconds[n]):.2f}", f"{ratio(seconds, n, peer):.3f}"]
        for n in runs
    ]
    head = (
        "## Pictures from prompts\n\nThe miniature Stable Diffusion at 96 x 96 pixels, UniPC, "
        f"{STEPS} steps, guidance {GUIDANCE:g}, batches of {BATCH}, one thread; seconds of the "
        "processor, each in a process of its own."
    )
    text = f"{head}\n\n" + table(["", "pictures/s", "times diffusers"], lines)
    what = "generate over a loop of diffusers' pipeline"
    return Section(text, [Figure(what, ratio(seconds, "socialcli generate", peer), 1.3)])

"""What a layout costs: its segments against as many plain pictures in one batch, in the same run.

Both have the miniature's weights, the same scheduler, steps and guidance, and equally many rows in
the UNet's batch; the clock counts this process alone.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from socialcli import registry
from socialcli.benchmarks import Figure, Section, in_turns, table
from socialcli.shards import Sample

STEPS, GUIDANCE, SIZE = 8, 7.5, 96
COMPOSITION = 30  # of the world's: three subjects and the rest
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "composite, no global steps": ("composite", {"global_steps": 0}),
    "composite": ("composite", {"global_steps": 1}),
    "composite, scaffolding image": ("composite", {"global_steps": 1, "scaffold": "#808080"}),
    "multidiffusion": ("multidiffusion", {"scheduler": "UniPCMultistepScheduler"}),
}


def run(turns: int) -> Section:
    """A Markdown table of ratios; the dearest row of composite has a goal."""
    import torch

    from socialcli.generation.requests import Request
    from socialcli.miniature.world import compositions

    torch.set_num_threads(1)
    sample = Sample("k", compositions.composition(0, COMPOSITION, SIZE, "a {class}"))
    rows = len(compositions.TOGETHER[COMPOSITION // len(compositions.SCENERY)]) + 1
    runs = {f"{rows} plain pictures": _drawing("text", {}, [Request("a woman")] * rows)}
    for name, (method, options) in ROWS.items():
        runs[name] = _drawing(method, options, [sample])
    seconds = in_turns(runs, turns, before=lambda: None, clock=time.process_time)
    plain = seconds[f"{rows} plain pictures"]
    times = {
        name: statistics.median(a / b for a, b in zip(seconds[name], plain, strict=True))
        for name in runs
    }
    lines = [
        [name, f"{statistics.median(seconds[name]):.2f}", f"{times[name]:.2f}"] for name in runs
    ]
    dearest = max(times[name] for name in ROWS if name.startswith("composite"))
    goal = Figure("composite over as many plain pictures as it has segments", dearest, 1.3, True)
    head = (
        f"## Layouts\n\nThe miniature at {SIZE} x {SIZE} pixels, UniPC, {STEPS} steps, guidance "
        f"{GUIDANCE:g}, one thread: one picture of {rows} segments against {rows} plain pictures."
    )
    return Section(f"{head}\n\n" + table(["", "seconds", "times plain"], lines), [goal])


def _drawing(name: str, options: dict[str, Any], asked: list[Any]) -> Any:
    """A function that denoises once."""
    import torch

    from socialcli.benchmarks.generate import WEIGHTS
    from socialcli.diffusion import sampling
    from socialcli.generation import sample_requests
    from socialcli.generation.stage import Ready

    method: Any = registry.load("methods.generate", name)
    config = method.config_type(
        model=str(WEIGHTS), device="cpu", dtype="float32",
        **{"steps": STEPS, "guidance": GUIDANCE, **options},
    )  # fmt: skip
    state = method.load(config)
    embedded = []
    for one in asked:
        request = sample_requests.of_sample(config, one) if isinstance(one, Sample) else one
        ready = Ready(request, (), method.prepare(config, request))
        embedded.append(method.embed(config, state, ready))
    conditioning = method.condition(config, state, embedded)
    diffusion = state.diffusion

    def draw() -> None:
        scheduler = sampling.scheduler("UniPCMultistepScheduler", diffusion.scheduler)
        generators = [sampling.generator(number) for number in range(len(asked))]
        shape = diffusion.latent_shape(SIZE, SIZE)
        with torch.inference_mode():
            sampling.denoise(
                diffusion.unet, scheduler, generators, shape, conditioning, STEPS, GUIDANCE
            )

    return draw

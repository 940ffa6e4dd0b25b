"""What `--compile` gains on the processor, and after how many steps it has paid for itself.

The UNet of the embedded miniature: one denoising step of `generate` and one training step of
`train`, each as the program runs it without and with `--compile`, in turns; seconds of the
processor, one thread. Compiling is told apart: it is what the first call takes more, the C++
compiler's share included, with nothing taken from a cache.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable
from typing import Any

from socialcli.benchmarks import Section, in_turns, ratio, table
from socialcli.benchmarks.train import WEIGHTS

ROWS, SIDE, TOKENS = 8, 24, 77  # pictures at once, latents a side, tokens of a text


def run(turns: int) -> Section:
    """A Markdown table of milliseconds a step, with and without `--compile`."""
    import torch

    torch.set_num_threads(1)
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="socialcli-benchmark-") as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
        try:
            rows = [
                _row("generate, one step", _denoise, turns),
                _row("train, one step", _learn, turns),
            ]
        finally:
            os.environ.clear()
            os.environ.update(before)
    head = ["UNet", "ms", "ms with `--compile`", "times as fast", "compiling, s", "paid after"]
    return Section(f"## Compiling\n\n{table(head, rows)}")


def _row(name: str, step: Callable[[Any], Callable[[], None]], turns: int) -> list[str]:
    plain, fast = step(_unet(False)), step(_unet(True))
    started = spent()
    fast()
    first = spent() - started
    seconds = in_turns({"plain": plain, "fast": fast}, max(turns, 3), lambda: None, spent)
    usual, later = statistics.median(seconds["plain"]), statistics.median(seconds["fast"])
    saved = usual - later
    paid = f"{(first - later) / saved:,.0f} steps" if saved > 0 else "never"
    times = f"{ratio(seconds, 'fast', 'plain'):.2f}"
    return [name, f"{usual * 1e3:.0f}", f"{later * 1e3:.0f}", times, f"{first - later:.0f}", paid]


def spent() -> float:
    """Seconds of the processor that this process and those it has waited for took."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _unet(fast: bool) -> Any:
    from diffusers import UNet2DConditionModel

    from socialcli.backends import devices

    devices.keep_memory()
    unet = UNet2DConditionModel.from_pretrained(WEIGHTS / "diffusion", subfolder="unet")
    if fast:
        devices.compile_network(unet, "cpu")
    return unet


def _inputs(unet: Any) -> tuple[Any, Any, Any]:
    import torch

    torch.manual_seed(0)
    latents = torch.randn(ROWS, 4, SIDE, SIDE)
    states = torch.randn(ROWS, TOKENS, unet.config.cross_attention_dim)
    return latents, torch.full((ROWS,), 500), states


def _denoise(unet: Any) -> Callable[[], None]:
    import torch

    from socialcli.diffusion import inference

    inputs = _inputs(unet.eval())

    def step() -> None:
        with torch.inference_mode(), inference.lean(unet):
            unet(*inputs, return_dict=False)

    return step


def _learn(unet: Any) -> Callable[[], None]:
    inputs = _inputs(unet.train())

    def step() -> None:
        unet(*inputs, return_dict=False)[0].square().mean().backward()
        for weights in unet.parameters():
            weights.grad = None

    return step

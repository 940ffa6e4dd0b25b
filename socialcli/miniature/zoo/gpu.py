"""``python -m socialcli.miniature.zoo.gpu``: the generative miniatures in a few minutes of one GPU.

Autoencoder, captioner, UNet, ControlNet, SSR-Encoder, IP-Adapter and InteractDiffusion learn one
after the other, each in its share of the minutes: cosines last so long and not so many steps,
batches are large, and all cores draw scenes. Everything else is the roles' own. Weights and cards
go to a folder of their own, which begins as a copy of the published ones. The same command goes on
where it was stopped.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

# Role, its share of the minutes, its batch.
PARTS = (
    ("vae", 0.20, 64), ("caption", 0.17, 256), ("diffusion", 0.34, 256), ("controlnet", 0.08, 128),
    ("ssr", 0.11, 128), ("ip_adapter", 0.03, 128), ("interactdiffusion", 0.07, 128),
)  # fmt: skip
COMMAND = "pipelines/zoo-gpu.sh"


def main() -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, all together")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--work", type=Path, default=Path("zoo-gpu"), help="checkpoints, weights")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="draw scenes")
    parser.add_argument("--batch", type=int, help="of every role; default: large ones")
    parser.add_argument("--scenes", type=int, default=60_000, help="that are encoded once")
    parser.add_argument("--no-measure", action="store_true", help="train and export only")
    options = parser.parse_args()
    import torch

    from socialcli.errors import UsageError
    from socialcli.miniature.zoo import cards, training

    try:
        if options.device != "cpu" and not torch.cuda.is_available():
            raise UsageError(f"torch finds no {options.device}; --device cpu trains without")
        cards.publish_in(options.work / "weights")
        encode(options.scenes)
        for role, share, batch in PARTS:
            training.PACE = training.Pace(60 * options.minutes * share, options.workers)
            _train(role, options.work, options.batch or batch, options.device)
        for role, _, _ in () if options.no_measure else PARTS:
            module = importlib.import_module(f"socialcli.miniature.zoo.{role}")
            cards.remeasure(role, module.measure(cards.folder(role)))
    except UsageError as error:
        print(f"{COMMAND}: {error}", file=sys.stderr)
        return 2
    return 0


def encode(scenes: int) -> None:
    """Let the roles that learn from encoded scenes encode so many."""
    from socialcli.miniature.zoo import controlnet, diffusion, interactdiffusion, latents, ssr

    latents.CHUNK = min(latents.CHUNK, scenes)
    diffusion.CHUNKS = controlnet.CHUNKS = max(1, scenes // latents.CHUNK)
    interactdiffusion.CHUNKS = min(interactdiffusion.CHUNKS, diffusion.CHUNKS)
    ssr.GROUPS = min(ssr.GROUPS, max(1, scenes // ssr.SCENES))
    ssr.CHUNKS = min(ssr.CHUNKS, max(1, scenes // (ssr.GROUPS * ssr.SCENES)))


def _train(role: str, work: Path, batch: int, device: str) -> None:
    """Train and export a role, unless that is done."""
    import torch

    from socialcli.miniature.zoo import cards

    done = work / f"{role}.done"
    if done.exists():
        return
    module: Any = importlib.import_module(f"socialcli.miniature.zoo.{role}")
    module.BATCH = batch
    run = module.train(work / role, getattr(module, "CYCLES", 0), None, device)
    run.model.to("cpu")
    module.export(run.model, cards.folder(role))
    name = torch.cuda.get_device_name() if device != "cpu" else ""
    cards.write(role, module, run, {}, COMMAND, name)
    done.touch()


if __name__ == "__main__":
    sys.exit(main())

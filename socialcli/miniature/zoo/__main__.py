"""``python -m socialcli.miniature.zoo ROLE``: train one miniature, or with --check recompute its
card; ROLE ``table`` prints what the cards say against what was asked."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

ROLES = ("ground", "segment", "face", "identity", "pose", "gaze", "clip", "caption", "interaction",
         "dino", "vae", "decoder", "diffusion", "ssr", "controlnet", "ip_adapter",
         "interactdiffusion")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m socialcli.miniature.zoo", description=__doc__)
    parser.add_argument("role", choices=(*ROLES, "table"))
    parser.add_argument("--work", default="zoo-work", help="where checkpoints and logs go")
    parser.add_argument("--steps", type=int, help="training steps; default: the role's")
    parser.add_argument(
        "--minutes", type=float, help="stop (cleanly) after this long, resume later"
    )
    parser.add_argument(
        "--seconds", type=float, help="of every cosine, in place of a number of steps: a short form"
    )
    parser.add_argument(
        "--grow", action="store_true",
        help="begin with the published weights: only the cycles that their card does not have",
    )  # fmt: skip
    parser.add_argument(
        "--weights", type=Path,
        help="read and publish weights and cards here, not in the package; begins as a copy of it",
    )  # fmt: skip
    parser.add_argument("--batch", type=int, help="of a training step; default: the role's")
    parser.add_argument(
        "--scenes", type=int, help="encode and measure so many at most; default: the role's"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--check", action="store_true", help="measure the committed weights only")
    parser.add_argument(
        "--measure", action="store_true",
        help="measure the committed weights and write the result into their card",
    )  # fmt: skip
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    import torch

    from socialcli.backends import devices
    from socialcli.errors import UsageError
    from socialcli.miniature.zoo import cards

    if options.weights:
        cards.publish_in(options.weights)
    if options.role == "table":
        print(cards.table())
        return 0
    try:
        devices.check(options.device)
    except UsageError as error:
        parser.error(str(error))
    torch.set_num_threads(options.threads)
    role: Any = importlib.import_module(f"socialcli.miniature.zoo.{options.role}")
    if options.seconds:
        from socialcli.miniature.zoo import training

        training.PACE = training.Pace(options.seconds)
    if options.batch:
        role.BATCH = options.batch
    if options.scenes:
        from socialcli.miniature.zoo import gpu

        gpu.encode(options.scenes)
        role.TEST = min(role.TEST, options.scenes)
    if (options.check or options.measure) and not cards.card(options.role).exists():
        print(f"{options.role}: no published weights, nothing to measure")
        return 0
    if options.measure:
        cards.remeasure(options.role, role.measure(cards.folder(options.role)))
        return 0
    if options.check:
        return cards.check(options.role, role.measure(cards.folder(options.role)))
    work = Path(options.work) / options.role
    steps = options.steps or getattr(role, "CYCLES", None) or role.STEPS
    before = cards.grown(options.role, role) if options.grow else {}
    done = {"done": len(before["cycles"])} if before else {}
    run = role.train(work, steps, options.minutes, options.device, **done)
    if not run.finished:
        print(f"{options.role}: stopped at step {run.step}; the same command goes on")
        return 0
    target = cards.folder(options.role)
    role.export(run.model, target)
    run.seconds += 60 * before.get("minutes", 0.0)
    cards.write(options.role, role, run, role.measure(target))
    return 0


if __name__ == "__main__":
    sys.exit(main())

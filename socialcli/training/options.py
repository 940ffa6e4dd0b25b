"""The options every training method has; a method's Config inherits them and adds its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from socialcli.backends import naming
from socialcli.config import check_bounds, option
from socialcli.errors import UsageError
from socialcli.training import fields

SCHEDULES = ("constant", "linear", "cosine")
OPTIMISERS = ("adamw", "adam", "sgd")
PRECISIONS = ("auto", "no", "bf16")
LOGS = (naming.TENSORBOARD, naming.WANDB)


@dataclass
class TrainingOptions:
    """A method that wants another default declares the field again.

    What cannot change the result (``affects_result=False``) may differ when a run is resumed.
    """

    FIRST: ClassVar[tuple[str, ...]] = (
        "steps", "batch_size", "micro_batch", "learning_rate", "seed", "device", "model",
    )  # fmt: skip
    GROUPS: ClassVar[dict[str, str]] = {
        "steps": "Optimisation",
        "seed": "Samples and randomness",
        "device": "Machine",
        "checkpoint_every": "Checkpoints, validation and messages",
    }

    steps: int = option(1000, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = fields.batch_size(8)
    micro_batch: int = fields.micro_batch(8)
    learning_rate: float = option(5e-5, "Peak learning rate.", above=0)
    schedule: str = option(
        "constant", "Learning rate after warm-up: constant, linear, cosine.", choices=SCHEDULES
    )
    warm_up: int = option(0, "Steps over which the learning rate grows from zero.", at_least=0)
    optimiser: str = option("adamw", "adamw, adam or sgd.", choices=OPTIMISERS)
    beta1: float = option(
        0.9, "Decay of Adam's first moment (momentum of sgd).", at_least=0, at_most=1
    )
    beta2: float = option(0.999, "Decay of Adam's second moment.", at_least=0, at_most=1)
    epsilon: float = option(1e-8, "Adam's epsilon.", above=0)
    weight_decay: float = option(1e-2, "Weight decay.", at_least=0)
    max_grad_norm: float = option(
        1.0, "Clip the gradient's norm to this; 0 for no clipping.", at_least=0
    )
    seed: int = option(0, "Seed of the data's order, of augmentation and of all noise.", at_least=0)
    variants: int = option(
        0, "Augmented versions of each sample, used in turn; 0: a new one every epoch.", at_least=0
    )
    device: str = option(
        "auto", "Where it runs: auto, cpu, cuda, cuda:N, mps.", affects_result=False
    )
    dtype: str = option("auto", "Of frozen networks: auto, float32, bfloat16, float16.")
    mixed_precision: str = option("auto", "Of what trains: auto, no, bf16.", choices=PRECISIONS)
    gradient_checkpointing: bool = option(
        False, "Compute activations again in the backward pass: less memory, more time.",
        affects_result=False,
    )  # fmt: skip
    compile: bool = option(
        False, "Compile the networks for this machine when they are called first: a minute or "
        "several, then faster steps, whose last bits are others.", affects_result=False,
    )  # fmt: skip
    threads: int = option(
        2, "Threads that read and decode samples ahead.", affects_result=False, at_least=1
    )
    cache_memory: float = option(
        2.0, "GB of memory for what depends on a sample alone (latents, features).",
        affects_result=False, at_least=0,
    )  # fmt: skip
    cache_disk: float = option(20.0, "GB of disk for the same.", affects_result=False, at_least=0)
    cache: str = option(
        "", "Folder of that cache, which runs may share; default: cache in the output folder.",
        affects_result=False,
    )  # fmt: skip
    checkpoint_every: int = option(
        100, "Steps between checkpoints.", affects_result=False, at_least=1
    )
    keep: int = option(2, "Checkpoints that are kept.", affects_result=False, at_least=1)
    save_every: int = option(
        0, "Steps between copies of the result in step-NNNNNN/; 0: only at the end.",
        affects_result=False, at_least=0,
    )  # fmt: skip
    validate_every: int = option(
        0, "Steps between grids of validation pictures; 0: none.", affects_result=False, at_least=0
    )
    log_every: int = option(
        1, "Steps between lines of log.jsonl.", affects_result=False, at_least=1
    )
    log_to: str = option(
        "",
        "Besides log.jsonl: tensorboard, wandb, or both with a comma.",
        affects_result=False,
        choices=LOGS,
        many=True,
    )
    profile_steps: int = option(
        0, "Train this many steps, print where the time goes, and save nothing.",
        affects_result=False, at_least=0,
    )  # fmt: skip
    log_json: bool = option(False, "Messages on stderr as JSON lines.", affects_result=False)
    quiet: bool = option(False, "Say only warnings and errors.", affects_result=False)


def resolved(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration's values with ``mixed_precision = "auto"`` made definite.

    bf16 on an accelerator, whose matrix units it feeds at twice the speed; float32 on the CPU.
    """
    if values.get("mixed_precision") == "auto":
        on_cpu = str(values.get("device", "cpu")).startswith("cpu")
        return {**values, "mixed_precision": "no" if on_cpu else "bf16"}
    return values


def check(config: TrainingOptions) -> None:
    """Refuse values that make no sense.

    Raises:
        UsageError: one line that names the option.
    """
    check_bounds(type(config), vars(config))
    for name in ("beta1", "beta2") if config.optimiser != "sgd" else ():
        if getattr(config, name) >= 1:
            raise UsageError(
                f"--{name} {getattr(config, name)}: below 1 with --optimiser {config.optimiser}"
            )


def remark(config: TrainingOptions) -> str:
    """A line on options that make sense and are hardly meant; "" without any."""
    if config.warm_up <= config.steps:
        return ""
    most = rate(config, config.steps - 1)
    return (
        f"--warm-up {config.warm_up} is longer than the run's {config.steps} steps, whose learning "
        f"rate is at most {most:.3g} of {config.learning_rate:.3g}"
    )


def logs(config: TrainingOptions) -> list[str]:
    """What ``--log-to`` names."""
    return [name.strip() for name in config.log_to.split(",") if name.strip()]


def rate(config: TrainingOptions, step: int) -> float:
    """The learning rate of step number ``step`` (from 0): a function of the step alone.

    Warm-up is linear and reaches the peak in step ``warm_up``; linear and cosine schedules then
    fall to zero at ``steps``.
    """
    import math

    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    left = max(config.steps - config.warm_up, 1)
    done = min((step - config.warm_up) / left, 1.0)
    if config.schedule == "linear":
        return config.learning_rate * (1 - done)
    if config.schedule == "cosine":
        return config.learning_rate * (0.5 + 0.5 * math.cos(math.pi * done))
    return config.learning_rate

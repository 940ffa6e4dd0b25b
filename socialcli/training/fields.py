"""Options that several training methods have with the same words.

Each function gives a new field, for one line in the body of a Config.
"""

from __future__ import annotations

from typing import Any

from socialcli.config import option


def batch_size(default: int, more: str = "") -> Any:
    return option(default, f"Samples per optimiser step, over all processes{more}.", at_least=1)


def micro_batch(default: int) -> Any:
    return option(
        default,
        "Samples that go through the networks at once; bound by memory.",
        affects_result=False,
        at_least=1,
    )


def size() -> Any:
    return option(
        0, "Side of the square that is trained on, pixels; 0: the model's own.", at_least=0
    )


def crop(default: str, of: str = "") -> Any:
    return option(
        default,
        f"Which square{of}, once the shortest side fits: random, centre.",
        choices=("random", "centre"),
    )


def mirror() -> Any:
    return option(0.5, "Probability of mirroring.", at_least=0, at_most=1)


def mirror_in_turn() -> Any:
    return option(True, "Mirror every second version of a sample.")


def sampling_steps() -> Any:
    return option(25, "Denoising steps of these pictures.", affects_result=False, at_least=1)


def guidance(default: float) -> Any:
    return option(default, "Their guidance.", affects_result=False, at_least=1)

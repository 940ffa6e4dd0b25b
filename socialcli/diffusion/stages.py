"""Stages: the timesteps of a noise schedule in equal parts."""

from __future__ import annotations

TIMESTEPS = 1000  # of Stable Diffusion's noise schedule
ORDERS = ("noisy-first", "clean-first")


def stage(
    timestep: float, stages: int, order: str = "noisy-first", timesteps: int = TIMESTEPS
) -> int:
    """Number of the stage that a timestep is in, from 0.

    Of 1000 timesteps in five stages, 0 to 199 are one stage, 200 to 399 the next, and so on.

    Args:
        timestep: in [0, timesteps); samplers may ask between two whole ones.
        order: "noisy-first": stage 0 is the noisiest, in which a picture's layout comes about, as
            Identity Embedding (arXiv 2402.00631, Fig. 4) describes them. "clean-first": stage 0 is
            the one with the least noise, as ProSpect numbers its ten.
    """
    part = min(max(int(timestep * stages // timesteps), 0), stages - 1)
    return part if order == "clean-first" else stages - 1 - part

"""LoRAs that act only in the segments that call their subjects.

A LoRA whose file names identifiers ("sks") acts in the rows of segments whose prompts have one of
them, and in the text of these prompts; one that names none acts everywhere, and so do all of them
in the global diffuser's steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from socialcli.generation import adapters, layouts

if TYPE_CHECKING:
    from socialcli.generation.drawing import Studio

Bound = tuple[Any, float, list[str]]  # a LoRA, its weight, its subjects' identifiers


def of_run(config: Any, studio: Studio) -> list[Bound]:
    """The run's LoRAs, each with its weight and the identifiers that its file names."""
    from socialcli.networks import lora, lora_files

    networks = lora.networks_of(studio.diffusion)
    bound = []
    for given, adapter in zip(config.lora, studio.loras, strict=True):
        place, scale = lora_files.split(given)
        bound.append((adapter, scale, adapters.identifiers(lora_files.read(place, networks)[1])))
    return bound


def acts(identifiers: list[str], prompt: str) -> bool:
    """Whether a LoRA acts where a prompt is drawn: where it is called, or nobody can call it."""
    return not identifiers or any(adapters.calls(prompt, one) for one in identifiers)


def texts(
    config: Any, studio: Studio, bound: Sequence[Bound], plan: layouts.Planned
) -> list[tuple[Any, Any]]:
    """Text states, each by the text encoder with those LoRAs that act there."""
    if not bound:
        return layouts.texts(config, studio, plan)
    whole = config.negative or plan.layout.negative
    asked = [(whole, plan.layout.prompt)]
    asked += [(segment.negative or whole, segment.prompt) for segment in plan.segments]
    states = []
    for negative, prompt in asked:
        for adapter, scale, identifiers in bound:
            adapter.weigh(scale if acts(identifiers, prompt) else 0.0)
        studio.forget()  # an empty negative prompt is another text with other adapters
        states.append(studio.texts(negative, prompt))
    for adapter, scale, _ in bound:  # what stands behind short texts is the same for all
        adapter.weigh(scale)
    studio.forget()
    return states


def weigher(
    config: Any, bound: Sequence[Bound], plans: Sequence[layouts.Planned]
) -> Callable[[bool], None]:
    """Sets the LoRAs' weights for rows of segments (False) or of whole pictures (True)."""
    import torch

    halves = 1 if config.guidance == 1 else 2
    prompts = [segment.prompt for plan in plans for segment in plan.segments]
    weights = [
        torch.tensor([scale * acts(identifiers, prompt) for prompt in prompts] * halves)
        for _, scale, identifiers in bound
    ]

    def weigh(whole: bool) -> None:
        for (adapter, scale, _), rows in zip(bound, weights, strict=True):
            adapter.weigh(scale if whole else rows)

    return weigh

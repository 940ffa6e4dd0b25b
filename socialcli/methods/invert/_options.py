"""The options of every method of `invert`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from socialcli.config import option
from socialcli.diffusion import options
from socialcli.training import fields
from socialcli.training.options import TrainingOptions


@dataclass
class InversionOptions(TrainingOptions):
    """Options of every method of invert."""

    FIRST: ClassVar[tuple[str, ...]] = (*TrainingOptions.FIRST, "concept", "initial_word", "token")
    GROUPS: ClassVar[dict[str, str]] = {
        "concept": "Concepts and words",
        "backend": "Model and pictures",
        "prompt": "Validation",
    }

    steps: int = option(2000, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = fields.batch_size(4)
    micro_batch: int = fields.micro_batch(4)
    learning_rate: float = option(
        2e-3, "Peak learning rate. Others state 5e-4 and multiply it by the batch.", above=0
    )
    variants: int = option(
        2, "Augmented versions of each sample, used in turn; 0: a new one every epoch.", at_least=0
    )
    concept: list[str] = option(
        [], "A concept as TOKEN=GLOB of its samples' keys. Repeatable; default: by --by."
    )
    by: str = option(
        "auto", "What tells concepts apart: a field of meta.json's extra (subject, concept), "
        "folder (of the key), none; auto: the first of these that there is."
    )  # fmt: skip
    token: str = option("<{name}>", "Pseudo-word of a concept; {name} is the concept's.")
    initial_word: list[str] = option(
        [], "What it starts as: WORD, or TOKEN=WORD of one concept. Repeatable; default: the "
        "samples' class."
    )  # fmt: skip
    templates: str = option(
        "object", "Texts it is learnt in: object, style, captions (the samples' own, with what "
        "they call by the initial word replaced), or a file with a {} in each line.", file=True
    )  # fmt: skip
    backend: str = options.backend()
    model: str = options.model()
    revision: str | None = options.revision()
    variant: str | None = options.variant()
    size: int = fields.size()
    crop: str = fields.crop("centre")
    flip: bool = fields.mirror_in_turn()
    prompt: list[str] = option(
        [], "Drawn by --validate-every, with {} for each pseudo-word. Repeatable; default: the "
        "first templates.", affects_result=False, only="validate_every",
    )  # fmt: skip
    sampling_steps: int = fields.sampling_steps()
    guidance: float = fields.guidance(5.0)

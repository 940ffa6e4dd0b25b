"""Options of `socialcli invert --method interaction`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from socialcli.config import option
from socialcli.diffusion import options
from socialcli.errors import UsageError
from socialcli.training import fields
from socialcli.training.options import TrainingOptions

STAGES = ("both", "poses", "relation", "relation-only")
PRIORS = ("reparameterise", "project", "none")
NORMS = ("min-max", "sum", "none")  # of `losses.cross_attention`


@dataclass
class Config(TrainingOptions):
    FIRST: ClassVar[tuple[str, ...]] = (*TrainingOptions.FIRST, "concept", "token", "stages")
    GROUPS: ClassVar[dict[str, str]] = {
        "concept": "Interactions and words",
        "prior": "Priors and attention",
        "backend": "Models and pictures",
    }

    steps: int = option(1000, "Optimiser steps of the relation (stage II).", at_least=1)
    batch_size: int = fields.batch_size(4)
    micro_batch: int = fields.micro_batch(4)
    learning_rate: float = option(2e-3, "Peak learning rate of the words.", above=0)
    weight_decay: float = option(0.0, "Weight decay.", at_least=0)
    variants: int = option(
        4, "Pictures that ControlNet draws of each skeleton in stage I, and augmented versions of "
        "an exemplar in stage II, used in turn.", at_least=1,
    )  # fmt: skip
    concept: list[str] = option(
        [], "An interaction as TOKEN=GLOB of its exemplars' keys. Repeatable; default: by --by."
    )
    by: str = option(
        "auto", "What tells interactions apart: a field of meta.json's extra (subject, concept), "
        "folder (of the key), none; auto: the first of these that there is."
    )  # fmt: skip
    token: str = option(
        "<{name}>", "Relation word of an interaction; {name} is its name. The pose words are this "
        "with -1 and -2: <hug>, <hug-1>, <hug-2>."
    )  # fmt: skip
    stages: str = option(
        "both", "both: the pose words, then the relation; poses: only stage I; relation: only "
        "stage II, with --pose-words; relation-only: three relation words and no pose words.",
        choices=STAGES,
    )  # fmt: skip
    vectors: int = option(
        0, "Vectors of a relation word; 0: one, with --stages relation-only three.", at_least=0
    )
    pose_words: str = option(
        "",
        "What stage I learnt: its folder or file, for --stages relation; both knows it.",
        affects_result=False,  # what it holds does, see `_state.State.facts`
    )
    pose_steps: int = option(0, "Optimiser steps of stage I; 0: as many as --steps.", at_least=0)
    initial_word: str = option(
        "", "What a relation word starts as; default: the mean of its two pose words, without them "
        "'with'."
    )  # fmt: skip
    pose_initial_word: str = option("standing", "What the pose words start as.")
    prior: str = option(
        "reparameterise", "How words are held to the statistics of verbs (poses) and prepositions "
        "(relation): reparameterise in every step, project after each step, none.",
        choices=PRIORS,
    )  # fmt: skip
    verbs: str = option(
        "", "File of verbs, one a line, in place of the package's list.", affects_result=False
    )
    prepositions: str = option("", "File of prepositions, likewise.", affects_result=False)
    weight_attention: float = option(
        0.01, "Weight of the cross-attention loss in stage II (lambda of Eq. 8).", at_least=0
    )
    attention_norm: str = option(
        "min-max", "How maps are normalised before they are compared: min-max, sum, none.",
        choices=NORMS,
    )  # fmt: skip
    attention_side: int = option(
        16, "Side of the maps that are compared; layers' maps are averaged at this size.",
        at_least=1,
    )  # fmt: skip
    backend: str = options.backend()
    model: str = options.model()
    revision: str | None = options.revision()
    controlnet_backend: str = option("diffusers", "ControlNet backend.", role="controlnet")
    controlnet_model: str = option("", "ControlNet that reads OpenPose skeletons: folder, hub id.")
    controlnet_scale: float = option(1.0, "Weight of the skeleton in stage I.", at_least=0)
    size: int = fields.size()
    crop: str = fields.crop("centre")
    flip: bool = fields.mirror_in_turn()
    sampling_steps: int = option(
        25, "Denoising steps of stage I's pictures, and of those of --validate-every.", at_least=1
    )
    guidance: float = option(5.0, "Their guidance.", at_least=1)


def check(config: Config) -> None:
    """Refuse options that do not belong together.

    Raises:
        UsageError: one line.
    """
    if config.stages == "relation" and not config.pose_words:
        raise UsageError(
            "--stages relation needs --pose-words FOLDER, what --stages poses wrote "
            "(--stages relation-only learns without pose words)"
        )
    if config.pose_words and config.stages != "relation":
        raise UsageError(f"--pose-words is for --stages relation, not {config.stages}")

"""The options of `feedback`, with the paper's defaults, and what they mean.

000_742de2d20f4a0d3a.txt, sections 3 and 4.1. What the paper leaves open was decided in
``docs/feedback.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from socialcli.backends import ModelSpec
from socialcli.backends.ssr.ssr_encoder import CLIP, own_tower
from socialcli.config import option
from socialcli.errors import UsageError
from socialcli.methods.train.feedback import scene
from socialcli.training.options import TrainingOptions

NAMES = ("boundary", "identity", "gaze", "pose", "interaction")
NEW = "new"  # as --ssr-model: begin with an encoder that knows nothing
SSR_GET = (
    "download the checkpoint named at https://github.com/Xiaojiu-z/SSR_Encoder and pass "
    "--ssr-model FOLDER (or --ssr-model new for one that knows nothing yet)"
)


@dataclass
class Config(TrainingOptions):
    FIRST: ClassVar[tuple[str, ...]] = (*TrainingOptions.FIRST, "ssr_model", "feedback")
    GROUPS: ClassVar[dict[str, str]] = {
        "aligner_learning_rate": "Feedback: learning",
        "backend": "Models",
        "query": "Words and references",
        "feedback": "Feedback: which, when, how much",
        "regularisation": "Feedback: how each loss is read",
        "validation_pictures": "Validation",
    }

    # section 4.1
    steps: int = option(100, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = option(1024, "Samples per optimiser step, over all processes.", at_least=1)
    learning_rate: float = option(5e-5, "Peak learning rate of the UNet's subject layers.", above=0)
    aligner_learning_rate: float = option(
        5e-7, "Peak learning rate of the image-text aligner.", at_least=0
    )
    max_grad_norm: float = option(
        0.0, "Clip the gradient's norm to this; 0 for no clipping.", at_least=0
    )
    size: int = option(
        0, "Side of the square that is trained on, pixels; 0: the model's own.", at_least=0
    )
    crop: str = option(
        "random",
        "Which square, once the shortest side fits: random, centre.",
        choices=("random", "centre"),
    )
    flip: float = option(0.5, "Probability of mirroring.", at_least=0, at_most=1)
    likely_below: int = option(
        500, "Timesteps below this are more likely than those above.", at_least=0
    )
    likely_ratio: float = option(2.0, "How many times more likely; 1: all alike.", above=0)
    # models
    backend: str = option("stable-diffusion", "Which diffusion backend.", role="diffusion")
    model: str = option("", "Its model: hub id, folder in diffusers' layout, or one file.")
    revision: str | None = option(None, "Its commit or tag on the hub.")
    ssr_model: str = option("", "SSR-Encoder to start from: a folder with its two files, or new.")
    clip_model: str = option(
        "", "CLIP whose vision tower SSR-Encoder looks through: hub id or folder; default: "
        f"image_encoder in --ssr-model, else {CLIP}."
    )  # fmt: skip
    identity_backend: str = option("iresnet", "Which face embedder gives feedback.", role="face")
    identity_model: str = option("", "Its model: a backbone.pth.")
    gaze_backend: str = option("sharingan", "Which gaze estimator gives feedback.", role="gaze")
    gaze_model: str = option("", "Its model: a checkpoint file for sharingan.")
    pose_backend: str = option("vitpose", "Which keypoint estimator gives feedback.", role="pose")
    pose_model: str = option("", "Its model: hub id or folder.")
    interaction_backend: str = option(
        "pairwise", "Which interaction recogniser gives feedback.", role="interaction"
    )
    interaction_model: str = option("", "Its model: a folder; default: the package's own.")
    # words and references
    query: str = option(
        "nouns",
        "What names the subjects: nouns, phrases, or the whole caption.",
        choices=scene.QUERIES,
    )
    caption_drop: float = option(
        0.8, "Probability that the UNet is not told the caption.", at_least=0, at_most=1
    )
    reference: str = option(
        "whole",
        "What CLIP sees: the whole picture, or the same square that is trained on.",
        choices=("whole", "square"),
    )
    # which feedback, when, how much
    feedback: str = option(
        "all",
        "Which: boundary, identity, gaze, pose, interaction, with commas; all or none.",
        choices=(*NAMES, "all", "none"),
        many=True,
    )
    weight_regularisation: float = option(0.01, "Weight of the regularisation.", at_least=0)
    weight_boundary: float = option(0.01, "Weight of the boundary feedback.", at_least=0)
    weight_identity: float = option(0.01, "Weight of the identity feedback.", at_least=0)
    weight_gaze: float = option(0.01, "Weight of the gaze feedback.", at_least=0)
    weight_pose: float = option(0.01, "Weight of the pose feedback.", at_least=0)
    weight_interaction: float = option(0.01, "Weight of the interaction feedback.", at_least=0)
    gate_boundary: str = option("all", "Timesteps of the boundary feedback: 0-200, all or none.")
    gate_identity: str = option("0-400", "Timesteps of the identity feedback.")
    gate_gaze: str = option("0-200", "Timesteps of the gaze feedback.")
    gate_pose: str = option("0-700", "Timesteps of the pose feedback.")
    gate_interaction: str = option("0-500", "Timesteps of the interaction feedback.")
    weighting: str = option(
        "gates",
        "gates, or inverse: no gates, weights inverse to --curves (Table 1, row 10).",
        choices=("gates", "inverse"),
    )
    curves: str = option("", "JSON file of loss curves for --weighting inverse.", file=True)
    write_curves: str = option(
        "", "Train nothing: measure each loss at all timesteps and write the curves here.",
        affects_result=False,
    )  # fmt: skip
    originals: str = option(
        "picture",
        "What detectors see of the original: the picture, or its reconstruction.",
        choices=("picture", "reconstruction"),
    )
    # how each loss is read
    regularisation: str = option(
        "paper", "How it is read: paper or official.", choices=("paper", "official")
    )
    boundary_thickness: int = option(
        3, "Side of the morphological gradient's square, odd pixels.", at_least=3
    )
    boundary_kernel: str = option("4", "Neighbours of the Laplacian: 4 or 8.", choices=("4", "8"))
    boundary_mean: str = option(
        "boundary",
        "Mean over the boundary's pixels, or the picture's.",
        choices=("boundary", "picture"),
    )
    identity_aligned: bool = option(True, "Align faces that have landmarks; else cut out boxes.")
    identity_normalised: bool = option(True, "Compare directions of embeddings, not raw numbers.")
    least_face: float = option(
        12.0, "Faces smaller than this many pixels a side are left alone.", at_least=0
    )
    gaze_term: str = option(
        "point", "Target term: point (soft argmax) or heatmap.", choices=("point", "heatmap")
    )
    gaze_targets: str = option(
        "shards",
        "Where people look: as the shards say, or the detector.",
        choices=("shards", "detector"),
    )
    gaze_source: str = option(
        "annotation",
        "Whose gazes are learnt from: annotation, or any (a model's estimates too).",
        choices=scene.SOURCES,
    )
    interaction_source: str = option(
        "annotation",
        "Whose interactions are learnt from: annotation, or any (estimates too).",
        choices=scene.SOURCES,
    )
    pose_targets: str = option(
        "detector",
        "Where keypoints are: as the detector says, or shards.",
        choices=("detector", "shards"),
    )
    pose_least_score: float = option(
        0.3, "Keypoints of x0 scored below this are not asked for.", at_least=0, at_most=1
    )
    focal_alpha: float = option(
        0.5, "Weight of positives in the focal loss; 1 - it of negatives.", at_least=0, at_most=1
    )
    focal_gamma: float = option(0.2, "Focus of the focal loss on what is wrong.", at_least=0)
    # validation
    validation_pictures: int = option(4, "Pictures of a grid.", affects_result=False, at_least=1)
    validation_steps: int = option(
        30, "Sampling steps (UniPC) of each.", affects_result=False, at_least=1
    )
    guidance: float = option(5.0, "Guidance scale of validation.", affects_result=False, above=1)
    subject_scale: float = option(0.65, "Subject's scale in validation.", affects_result=False)

    def __post_init__(self) -> None:
        if not self.clip_model:
            self.clip_model = own_tower(self.ssr_model)


def wanted(config: Config) -> tuple[str, ...]:
    """The feedbacks that ``--feedback`` names, in `NAMES`' order.

    Raises:
        UsageError: it names another.
    """
    text = config.feedback.strip()
    named = {"all": set(NAMES), "none": set()}.get(text) if text in ("all", "none") else None
    if named is None:
        named = {part.strip() for part in text.split(",") if part.strip()}
    unknown = sorted(named - set(NAMES))
    if unknown:
        raise UsageError(
            f"--feedback: '{', '.join(unknown)}' is unknown; there are {', '.join(NAMES)}, "
            "divided by commas, all and none"
        )
    return tuple(name for name in NAMES if name in named)


def estimates(config: Config) -> frozenset[str]:
    """The feedbacks whose targets may be estimates."""
    asked = {"gaze": config.gaze_source, "interaction": config.interaction_source}
    return frozenset(name for name, source in asked.items() if source == "any")


def gates(config: Config) -> dict[str, Any]:
    """`timesteps.Gate` of each wanted feedback, of weight 1 (`weights` has the real ones), or 0
    where nothing would come of asking.

    Raises:
        UsageError: a gate or a curve that cannot be read.
    """
    from socialcli.diffusion import timesteps

    if config.weighting == "gates" and not config.write_curves:
        spans = {n: timesteps.parse(n, getattr(config, f"gate_{n}")) for n in wanted(config)}
        return {n: timesteps.Gate(*span, _counts(config, n)) for n, span in spans.items()}
    curves = timesteps.read_curves(config.curves) if config.weighting == "inverse" else {}
    missing = [n for n in wanted(config) if curves and n not in curves]
    if missing:
        raise UsageError(f"--curves {config.curves}: no curve of {', '.join(missing)}")
    everywhere = timesteps.parse("", "all")
    return {
        n: timesteps.Gate(*everywhere, _counts(config, n), curves.get(n, ()))
        for n in wanted(config)
    }


def _counts(config: Config, name: str) -> float:
    return float(getattr(config, f"weight_{name}") > 0)


def check_options(config: Config) -> None:
    """Refuse what makes no sense, before anything is read.

    Raises:
        UsageError: one line that names the option.
    """
    if config.boundary_thickness % 2 == 0:
        raise UsageError("--boundary-thickness must be odd and at least 3")
    if config.weighting == "inverse" and not (config.curves or config.write_curves):
        raise UsageError("--weighting inverse needs --curves FILE; --write-curves FILE makes one")
    if not config.ssr_model:
        raise UsageError(f"feedback starts from an SSR-Encoder: {SSR_GET}")
    gates(config)


def base_spec(config: Config, device: str, dtype: str) -> ModelSpec:
    """The diffusion model."""
    return ModelSpec("diffusion", config.backend, config.model, config.revision, device, dtype)


def models(config: Config) -> list[ModelSpec]:
    """Every model that `load` would load."""
    from socialcli.methods.train.feedback import watch

    base = [
        base_spec(config, config.device, config.dtype),
        ModelSpec("clip", "clip", config.clip_model or CLIP),
        ModelSpec("ssr", "ssr-encoder", config.ssr_model),
    ]
    return base + list(watch.specs(config, wanted(config), config.device, config.dtype).values())


def weights(config: Config) -> dict[str, float]:
    """Eq. 7's factors; all 0 where curves are only measured."""
    names = ("regularisation", *wanted(config))
    factors = {"denoise": 1.0, **{name: getattr(config, f"weight_{name}") for name in names}}
    return dict.fromkeys(factors, 0.0) if config.write_curves else factors

"""What can be chosen about a score: the fields are flags and keys of a profile's [score] table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from socialcli.config import ModelOptions, check_bounds, option
from socialcli.errors import UsageError
from socialcli.evaluation.metrics import available as metrics_there
from socialcli.evaluation.metrics import load as metric

AGAINST = ("auto", "source", "references", "subject")
CROPS = ("none", "references", "both")
FID_FEATURES = ("clip", "dino", "inception")


@dataclass
class Config(ModelOptions):
    FIRST: ClassVar[tuple[str, ...]] = ("metrics", "against", "device")
    GROUPS: ClassVar[dict[str, str]] = {"metrics": "Metrics", "clip_backend": "Models"}

    metrics: str = option(
        "clip-t,clip-i,dino,face",
        f"What to measure, divided by commas: {', '.join(metrics_there())}.",
        choices=metrics_there,
        many=True,
    )
    against: str = option(
        "auto",
        "What clip-i and dino compare with: source (the picture a sample was made from), "
        "references (those it was given), subject (all of their subject), auto (source if any).",
        choices=AGAINST,
    )
    crops: str = option(
        "none",
        "Compare subjects instead of whole pictures in clip-i and dino: none, references "
        "(crop those), both (find the subjects in the generated picture too).",
        choices=CROPS,
    )
    clip_backend: str = option("clip", "Which picture and text embedder.", role="clip")
    clip_model: str = option("", "Its model: hub id or folder.")
    dino_backend: str = option("vit", "Which DINO.", role="dino")
    dino_model: str = option("", "Its model: hub id or folder.")
    face_backend: str = option("insightface", "Which face detector.", role="face")
    face_model: str = option("", "Its model: an insightface pack's name or folder.")
    face_threshold: float = option(
        0.5, "Faces scored below this are not faces (0 to 1).", at_least=0, at_most=1
    )
    identity_backend: str | None = option(
        None,
        "Which identity embedder; by default the face detector's own, if it has one.",
        role="face",
    )
    identity_model: str = option("", "Its model: a backbone.pth for iresnet, a pack otherwise.")
    gaze_backend: str = option("sharingan", "Which gaze estimator.", role="gaze")
    gaze_model: str = option("", "Its model: a checkpoint file for sharingan.")
    ground_backend: str = option(
        "grounding-dino", "Which detector finds objects by their name.", role="ground"
    )
    ground_model: str = option("", "Its model: hub id or folder.")
    box_threshold: float = option(
        0.35, "An object's box scores at least this (0 to 1).", at_least=0, at_most=1
    )
    text_threshold: float = option(
        0.25, "It belongs to the labels that score above this.", at_least=0, at_most=1
    )
    interaction_backend: str = option(
        "pairwise", "Which interaction recogniser.", role="interaction"
    )
    interaction_model: str = option("", "Its model.")
    hoi_classes: str = option(
        "auto", "Classes of hoi: hico-det, world, a JSON file, or auto (from the references)."
    )
    hoi_box_threshold: float = option(
        0.2,
        "Objects of hoi score at least this: low, since precision ranks them (CMMP's: 0.2).",
        at_least=0,
        at_most=1,
    )
    hoi_ap: str = option(
        "11", "Recalls at which precision is taken: 11, or all.", choices=("11", "all")
    )
    fid_features: str = option(
        "clip", "Features of fid and kid: clip, dino or inception.", choices=FID_FEATURES
    )
    inception_model: str = option(
        "", "TorchScript file of Inception, for --fid-features inception."
    )


def chosen(config: Config) -> dict[str, Any]:
    """Metric name -> module, as ``--metrics`` asks, in its order; every option checked.

    Raises:
        UsageError: no such metric, or an option with a value it cannot have.
    """
    names = [name.strip() for name in config.metrics.split(",") if name.strip()]
    if not names:
        raise UsageError(f"--metrics is empty. There are: {', '.join(metrics_there())}")
    check_bounds(Config, vars(config))
    return {name: metric(name) for name in dict.fromkeys(names)}

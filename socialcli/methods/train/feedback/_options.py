"""The options of `feedback`, with the paper's defaults, and what they mean.

Social Context Feedback, sections 3 and 4.1. What the paper leaves open was decided in
``docs/feedback.md``.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from dataclasses import dataclass
from typing import Any, ClassVar

from socialcli import shards
from socialcli.backends import ModelSpec, variants
from socialcli.backends.ssr.ssr_encoder import CLIP, own_tower
from socialcli.config import option
from socialcli.diffusion import options
from socialcli.errors import SocialcliError, UsageError
from socialcli.methods.train.feedback import _scene
from socialcli.training import fields
from socialcli.training.feedback import Feedback, all_feedbacks
from socialcli.training.options import TrainingOptions

NEW = "new"  # as --ssr-model: begin with an encoder that knows nothing
SSR_GET = (
    "download the checkpoint named at https://github.com/Xiaojiu-z/SSR_Encoder and pass "
    "--ssr-model FOLDER (or --ssr-model new for one that knows nothing yet)"
)


class _Behaviour:
    """What a Config does besides holding options."""

    clip_model: str
    ssr_model: str

    FIRST: ClassVar[tuple[str, ...]] = (*TrainingOptions.FIRST, "ssr_model", "feedback")
    GROUPS: ClassVar[dict[str, str]] = {
        "aligner_learning_rate": "Feedback: learning",
        "backend": "Models",
        "query": "Words and references",
        "feedback": "Feedback: which, when, how much",
        "regularisation": "Feedback: how each loss is read",
        "validation_pictures": "Validation",
    }

    def __post_init__(self) -> None:
        if not self.clip_model:
            self.clip_model = own_tower(self.ssr_model)


@dataclass
class Options(TrainingOptions):
    """The options of every run; a Config has those of all feedbacks besides (`config_type`)."""

    # section 4.1
    steps: int = option(100, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = fields.batch_size(1024)
    learning_rate: float = option(5e-5, "Peak learning rate of the UNet's subject layers.", above=0)
    aligner_learning_rate: float = option(
        5e-7, "Peak learning rate of the image-text aligner.", at_least=0
    )
    max_grad_norm: float = option(
        0.0, "Clip the gradient's norm to this; 0 for no clipping.", at_least=0
    )
    size: int = fields.size()
    crop: str = fields.crop("random")
    flip: float = fields.mirror()
    likely_below: int = option(
        500, "Timesteps below this are more likely than those above.", at_least=0
    )
    likely_ratio: float = option(2.0, "How many times more likely; 1: all alike.", above=0)
    # models
    backend: str = option("stable-diffusion", "Which diffusion backend.", role="diffusion")
    model: str = option("", "Its model: hub id, folder in diffusers' layout, or one file.")
    revision: str | None = option(None, "Its commit or tag on the hub.")
    variant: str | None = options.variant()
    ssr_model: str = option("", "SSR-Encoder to start from: a folder with its two files, or new.")
    clip_model: str = option(
        "", "CLIP whose vision tower SSR-Encoder looks through: hub id or folder; default: "
        f"image_encoder in --ssr-model, else {CLIP}."
    )  # fmt: skip
    decoder: str = option(
        "full", "What decodes the estimates that detectors see: full, the model's own decoder, or "
        "tiny, a small one (cheaper, not quite the same gradients).",
        choices=("full", "tiny"),
    )  # fmt: skip
    decoder_model: str = option(
        "", "The small decoder: hub id or folder of an AutoencoderTiny; default: TAESD."
    )
    # words and references
    query: str = option(
        "nouns",
        "What names the subjects: nouns, phrases, or the whole caption.",
        choices=_scene.QUERIES,
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
        "Which: {}, with commas; all or none.",
        choices=lambda: [*all_feedbacks(), "all", "none"],
        many=True,
    )
    feedback_share: float = option(
        1.0,
        "Ask the feedbacks about this share of the samples, drawn at random in every step, and "
        "multiply what they say by its inverse: cheaper, noisier, the same on average.",
        above=0,
        at_most=1,
    )
    weight_regularisation: float = option(0.01, "Weight of the regularisation.", at_least=0)
    weighting: str = option(
        "gates",
        "gates, or inverse: no gates, weights inverse to --curves (Table 1, row 10).",
        choices=("gates", "inverse"),
    )
    curves: str = option(
        "", "JSON file of loss curves for --weighting inverse.", file=True, only="weighting=inverse"
    )
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
    # validation
    validation_pictures: int = option(4, "Pictures of a grid.", affects_result=False, at_least=1)
    validation_steps: int = option(
        30, "Sampling steps (UniPC) of each.", affects_result=False, at_least=1
    )
    guidance: float = option(5.0, "Guidance scale of validation.", affects_result=False, above=1)
    subject_scale: float = option(0.65, "Subject's scale in validation.", affects_result=False)


@functools.cache
def config_type() -> type[Options]:
    """The Config: `Options` with those of all feedbacks, their weights and their gates, each at the
    place where its group stands.

    Raises:
        SocialcliError: a feedback has an option that another part has.
    """
    feedbacks = all_feedbacks()
    hints = typing.get_type_hints(Options)
    fields_by_name: dict[str, tuple[str, Any, Any]] = {}

    def add(name: str, kind: Any, value: Any) -> None:
        if name in fields_by_name:
            raise SocialcliError(f"two parts of train feedback have an option '{name}'")
        fields_by_name[name] = (name, kind, value)

    def add_own(chosen: bool) -> None:
        """Of all feedbacks, the options that choose a model, or the others."""
        for feedback in feedbacks.values():
            kinds = typing.get_type_hints(feedback.config_type)
            models = {f"{feedback.name}_backend", f"{feedback.name}_model"}
            for field in dataclasses.fields(feedback.config_type):
                if (field.name in models) == chosen:
                    add(field.name, kinds[field.name], _again(field))

    for field in dataclasses.fields(Options):
        add(field.name, hints[field.name], _again(field, ", ".join(feedbacks)))
        if field.name == "clip_model":
            add_own(chosen=True)
        elif field.name == "weight_regularisation":
            for name in feedbacks:
                text = f"Weight of the {name} feedback."
                add(f"weight_{name}", float, option(0.01, text, at_least=0))
            for name, feedback in feedbacks.items():
                how = ": 0-200, all or none." if name == next(iter(feedbacks)) else "."
                text = f"Timesteps of the {name} feedback{how}"
                add(f"gate_{name}", str, option(feedback.GATE, text))
        elif field.name == "regularisation":
            add_own(chosen=False)
    bases = (_Behaviour, TrainingOptions)
    namespace = {"__module__": __name__}
    return dataclasses.make_dataclass(
        "Config", fields_by_name.values(), bases=bases, namespace=namespace
    )


def _again(field: dataclasses.Field[Any], names: str = "") -> Any:
    """A field as `dataclasses.field` makes it, for another dataclass."""
    metadata = dict(field.metadata)
    if field.name == "feedback":
        metadata["help"] = metadata["help"].format(names)
    if field.default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=field.default_factory, metadata=metadata)
    return dataclasses.field(default=field.default, metadata=metadata)


def wanted(config: Any) -> dict[str, Feedback]:
    """The feedbacks that ``--feedback`` names, in their order.

    Raises:
        UsageError: it names another.
    """
    there = all_feedbacks()
    text = config.feedback.strip()
    named = {"all": set(there), "none": set()}.get(text) if text in ("all", "none") else None
    if named is None:
        named = {part.strip() for part in text.split(",") if part.strip()}
    unknown = sorted(named - set(there))
    if unknown:
        raise UsageError(
            f"--feedback: '{', '.join(unknown)}' is unknown; there are {', '.join(there)}, "
            "divided by commas, all and none"
        )
    return {name: part for name, part in there.items() if name in named}


def features() -> tuple[str, ...]:
    """Options that what is kept of a sample depends on, of all feedbacks."""
    names: list[str] = []
    for name, feedback in all_feedbacks().items():
        if feedback.ROLE:
            names += [f"{name}_backend", f"{name}_model"]
        names += feedback.FEATURES
    return tuple(names)


def gates(config: Any) -> dict[str, Any]:
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


def _counts(config: Any, name: str) -> float:
    return float(getattr(config, f"weight_{name}") > 0)


def check_options(config: Any) -> None:
    """Refuse what makes no sense, before anything is read.

    Raises:
        UsageError: one line that names the option.
    """
    for feedback in all_feedbacks().values():
        feedback.check_options(config)
    if config.weighting == "inverse" and not (config.curves or config.write_curves):
        raise UsageError("--weighting inverse needs --curves FILE; --write-curves FILE makes one")
    if config.write_curves:
        shards.check_output_file(config.write_curves, "--write-curves")
    if not config.ssr_model:
        raise UsageError(f"feedback starts from an SSR-Encoder: {SSR_GET}")
    gates(config)


def base_spec(config: Any, device: str, dtype: str) -> ModelSpec:
    """The diffusion model."""
    own = variants.options(config.variant)
    return ModelSpec("diffusion", config.backend, config.model, config.revision, device, dtype, own)


def decoder_spec(config: Any, device: str, dtype: str) -> ModelSpec | None:
    """The small decoder; None where the model's own decodes."""
    if config.decoder == "full":
        return None
    return ModelSpec(
        "decoder", "autoencoder-tiny", config.decoder_model, device=device, dtype=dtype
    )


def specs(config: Any, device: str, dtype: str) -> dict[str, ModelSpec]:
    """The model behind each wanted feedback that has one."""
    # Torch's PReLU crashes in bfloat16 on CPUs, and these nets are small.
    kind = "float32" if device == "cpu" else dtype
    return {
        name: ModelSpec(
            feedback.ROLE, getattr(config, f"{name}_backend"), getattr(config, f"{name}_model"),
            None, device, kind,
        )
        for name, feedback in wanted(config).items()
        if feedback.ROLE
    }  # fmt: skip


def models(config: Any) -> list[ModelSpec]:
    """Every model that `load` would load."""
    base = [
        base_spec(config, config.device, config.dtype),
        ModelSpec("clip", "clip", config.clip_model or CLIP),
        ModelSpec("ssr", "ssr-encoder", config.ssr_model),
    ]
    small = decoder_spec(config, config.device, config.dtype)
    base += [small] if small else []
    return base + list(specs(config, config.device, config.dtype).values())


def weights(config: Any) -> dict[str, float]:
    """Eq. 7's factors; all 0 where curves are only measured."""
    names = ("regularisation", *wanted(config))
    factors = {"denoise": 1.0, **{name: getattr(config, f"weight_{name}") for name in names}}
    return dict.fromkeys(factors, 0.0) if config.write_curves else factors

"""SSR-Encoder: subjects of reference pictures, named by words, several with a weight each."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.config import option
from socialcli.diffusion import conditioning
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import drawing
from socialcli.generation.method import GenerateMethod
from socialcli.generation.options import ReferenceOptions

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.generation.drawing import Studio

QUERY_BY = ("text", "mask")
KEPT = 32  # pictures whose features are kept: one subject often serves many prompts


@dataclass
class Config(ReferenceOptions):
    """Options of `socialcli generate --method ssr`."""

    ssr_model: str = option("", "SSR-Encoder: a folder with its two files.")
    clip_model: str = option(
        "", "CLIP whose vision tower it looks through: hub id or folder; default: image_encoder in "
        "--ssr-model, else openai/clip-vit-large-patch14."
    )  # fmt: skip
    query_by: str = option(
        "text", "What finds the subject in a reference: text (the words of --query), or mask (that "
        "of its masks.json or --mask; its caption is the query then, unless one is given).",
        choices=QUERY_BY,
    )  # fmt: skip
    mask: list[str] = option(
        [], "For --query-by mask: a picture file, white where the subject is; one for each "
        "--reference. Repeatable."
    )  # fmt: skip
    mask_weight: float = option(
        5.0,
        "How much a mask binds (--query-by mask); the reference implementation's demo: 1.",
        above=0,
        only="query_by=mask",
    )
    compat: bool = option(
        False, "Weigh several subjects as the reference implementation does: all like the first."
    )


@dataclass
class State:
    """The studio's models, the encoder, and the features of pictures that were just seen."""

    studio: Studio
    ssr: Any
    features: OrderedDict[str, Tensor] = field(default_factory=OrderedDict)
    unseen: Any = None  # features of no picture, (1, scales * N, D)
    unsaid: Any = None  # states of no words, (1, L, D)
    nothing: Any = None  # (scales * L, D): the tokens of no picture and no words

    def __getattr__(self, name: str) -> Any:
        return getattr(self.studio, name)


class SsrMethod(GenerateMethod):
    """See `GenerateMethod`."""

    VERSION = 2  # the unconditional branch of --query-by mask is masked
    REFERENCES = True
    MASKS = "--query-by mask"
    SCALE = 0.65  # what the reference implementation recommends (0.5 to 0.8)
    config_type = Config

    def check_options(self, config: Config) -> None:
        """Refuse masks that make no sense.

        Raises:
            UsageError: one line that names the option.
        """
        if config.mask and (config.query_by != "mask" or len(config.mask) != len(config.reference)):
            raise UsageError("--mask goes with --query-by mask: give one for each --reference")

    def masks(self, config: Config) -> list[str] | None:
        return config.mask if config.query_by == "mask" else None

    def models(self, config: Config) -> list[ModelSpec]:
        return [drawing.spec(config), spec(config)]

    def load(self, config: Config) -> State:
        """The diffusion model with the encoder attached to its UNet.

        Raises:
            ModelMissing: weights that are not here. UsageError: weights that do not fit each other.
        """
        ssr = backends.load(spec(config))
        ssr.encoder.compat = config.compat
        studio = drawing.studio(config)
        state = attached(config, ssr, studio)
        if config.query_by == "mask":
            how = {"query_by": "mask", "mask_weight": config.mask_weight}
            studio.models["ssr"] = replace(ssr.model, options={**ssr.model.options, **how})
        return state

    def embed(self, config: Config, state: State, request: Any) -> Any:
        """(negative text states, text states, [(tokens of nothing, tokens of the subject) for each
        subject], [weight of each]). Where a mask is the query, both are masked, as in the official
        code.

        Raises:
            SampleFailed: a reference that no words go with, or a mask of nothing.
        """
        subjects = [subject(state, one, config.mask_weight) for one in request.references]
        scales = [self.SCALE if r.scale is None else r.scale for r in request.references]
        texts = state.studio.texts(request.negative, request.prompt)
        return *texts, subjects, scales

    def condition(self, config: Config, state: State, embedded: list[Any]) -> Conditioning:
        """Attention to the text and, beside it, to the tokens of all subjects."""
        without, of, subjects, scales = zip(*embedded, strict=True)
        text = conditioning.of_text(config.guidance, without, of)
        tokens = [
            conditioning.rows(config.guidance, *zip(*nth, strict=True))
            for nth in zip(*subjects, strict=True)
        ]
        return text.adding(
            lambda arguments: state.ssr.encoder.condition(
                arguments["encoder_hidden_states"], tokens, scales[0]
            )
        )


def subject(state: State, reference: Any, mask_weight: float) -> tuple[Tensor, Tensor]:
    """(tokens of nothing, tokens of what a reference shows), each (scales * T, text_dim).

    Raises:
        SampleFailed: a reference that no words go with, or a mask of nothing.
    """
    import torch

    if not reference.query.strip():
        raise SampleFailed(
            f"what is meant in the reference {reference.key}? Give --query WORDS, or a "
            "column 'query'"
        )
    query = state.studio.text(reference.query)[None]
    with torch.inference_mode():
        seen = _features(state, reference.image).to(query)
        masks = _seen_mask(state, reference)
        encode = state.ssr.encoder.subject_tokens
        without = state.nothing
        if masks is not None:
            without = encode(state.unseen, state.unsaid, masks, mask_weight)[0]
        return without, encode(seen, query, masks, mask_weight)[0]


def attached(config: Any, ssr: Any, studio: Studio) -> State:
    """An encoder in a studio's UNet."""
    import torch

    ssr.encoder.attach(studio.diffusion.unet, config.ssr_model)
    studio.models["ssr"] = ssr.model
    state = State(studio, ssr)
    with torch.inference_mode():
        state.unsaid = studio.text("")[None]
        state.unseen = ssr.nothing(1).to(state.unsaid)
        state.nothing = ssr.encoder.subject_tokens(state.unseen, state.unsaid)[0]
    return state


def spec(config: Any) -> ModelSpec:
    return ModelSpec(
        "ssr",
        "ssr-encoder",
        model=config.ssr_model,
        device=config.device,
        dtype=config.dtype,
        options={"clip": config.clip_model} if config.clip_model else {},
    )


def _seen_mask(state: State, reference: Any) -> Tensor | None:
    """The reference's mask as the vision tower sees the picture; None where none is asked for."""
    if reference.mask is None:
        return None
    mask = state.ssr.mask(reference.mask)
    if not mask.any():
        raise SampleFailed(
            f"the mask of the reference {reference.key} is empty in the square that CLIP sees"
        )
    return mask


def _features(state: State, image: Any) -> Tensor:
    """(1, scales * T, C), kept for a while."""
    name = hashlib.sha256(image.tobytes() + repr(image.size).encode()).hexdigest()
    kept = state.features.get(name)
    if kept is None:
        kept = state.features[name] = state.ssr.features([image])
        while len(state.features) > KEPT:
            state.features.popitem(last=False)
    return kept

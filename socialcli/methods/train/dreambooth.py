"""DreamBooth: several subjects at once, each with an identifier, in full weights or as a LoRA.

Ruiz et al., DreamBooth (arXiv 2208.12242); jointly for many subjects as in Multi-Subject
Personalization (arXiv 2405.12742). Each subject is learnt as "sks dog", an identifier before its
class; pictures of the class keep the model from forgetting what other dogs look like. The result is
a folder in diffusers' layout, or with ``--adapter lora`` a file that `generate --lora`, diffusers
and, exported, other tools load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.config import option
from socialcli.errors import UsageError
from socialcli.methods.train import _examples, _subjects, _tuning
from socialcli.methods.train._prior import PriorOptions
from socialcli.training import fields
from socialcli.training.method import Phase

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.networks.lora import Lora
    from socialcli.randomness import Variant
    from socialcli.shards import Sample
    from socialcli.training.place import Place

IDENTIFIERS = ("sks", "ktn", "pll", "ucd")  # rare words of CLIP, as trainers use them
RATES = {"none": 5e-6, "lora": 1e-4}


@dataclass
class Config(PriorOptions):
    FIRST: ClassVar[tuple[str, ...]] = (
        *PriorOptions.FIRST, "subject", "identifier", "class_word", "adapter",
    )  # fmt: skip
    GROUPS: ClassVar[dict[str, str]] = {
        "subject": "Subjects and their pictures",
        "backend": "Model",
        "prior_weight": "Pictures of the class",
        "adapter": "What is trained",
        "prompt": "Validation",
    }

    steps: int = option(800, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = fields.batch_size(1, "; each brings a class picture")
    micro_batch: int = fields.micro_batch(1)
    learning_rate: float = option(
        0.0, "Peak learning rate; 0: 5e-6, or 1e-4 with --adapter lora.", at_least=0
    )
    adapter: str = option(
        "none", "none: the weights themselves; lora: low-rank adapters beside them.",
        choices=("none", "lora"),
    )  # fmt: skip
    rank: int = option(4, "Rank of the adapters.", at_least=1, only="adapter=lora")
    alpha: float = option(
        0.0, "They count alpha / rank; 0: as the rank.", at_least=0, only="adapter=lora"
    )
    lora_targets: str = option(
        "to_q,to_k,to_v,to_out.0", "Layers of the UNet that get one: ends of their names."
    )
    export: str = option(
        "", "Other layouts of the adapters that are written as well: kohya.", choices=("kohya",),
        many=True,
    )  # fmt: skip
    train_text_encoder: bool = option(False, "Train the text encoders as well as the UNet.")
    masked_loss: bool = option(False, "Count the loss where the subject's mask is.")
    outside_weight: float = option(0.0, "How much the rest counts then.", at_least=0, at_most=1)
    identifier: list[str] = option(
        [], "Word before a subject's class: WORD for the subjects in their order, or NAME=WORD. "
        "Repeatable; default: sks, ktn, pll, ucd.",
    )  # fmt: skip
    prompt: list[str] = option(
        [], "Drawn by --validate-every, with {} for each subject. Repeatable; default: the "
        "templates.", affects_result=False, only="validate_every",
    )  # fmt: skip
    sampling_steps: int = fields.sampling_steps()
    guidance: float = fields.guidance(7.5)


@dataclass
class State(_tuning.State):
    """With the adapters, and texts that were encoded."""

    lora: Lora | None = None
    texts: dict[str, Any] = field(default_factory=dict)

    def given(self, texts: list[str]) -> Conditioning:
        """B texts as what rows are conditioned on; while the encoder does not train, each is
        encoded once, by itself."""
        import torch

        from socialcli.diffusion import conditioning

        if self.config.train_text_encoder:
            return conditioning.of_encoded(*self.diffusion.encoded(texts))
        for text in texts:
            if text not in self.texts:
                with torch.no_grad():
                    (self.texts[text],) = conditioning.encode(self.diffusion, [text])
        return conditioning.of_text(1, [], [self.texts[text] for text in texts])


class DreamboothMethod(_tuning.SubjectMethod):
    """See `TrainMethod`."""

    VERSION = 1
    TWO_ENCODERS = True
    FEATURES = (
        "backend", "model", "revision", "variant", "subject", "by", "class_word", "size", "crop",
        "flip", "augment", "backgrounds", "background_count", "masked_loss",
    )  # fmt: skip
    config_type = Config
    state_type = State

    def identifiers(self, count: int) -> Sequence[str]:
        return IDENTIFIERS

    def check_options(self, config: Config) -> None:
        super().check_options(config)
        if config.export and config.adapter == "none":
            raise UsageError(f"--export {config.export} writes adapters: give --adapter lora")

    def phases(self, config: Config, output: Path) -> list[Phase]:
        """One, with the learning rate and alpha that are meant by 0."""
        import dataclasses

        rate = config.learning_rate or RATES[config.adapter]
        alpha = config.alpha or float(config.rank)
        return [Phase("", self, dataclasses.replace(config, learning_rate=rate, alpha=alpha))]

    def check(self, config: Config, sample: Sample) -> None:
        _examples.check(config, sample, config.masked_loss)

    def load(self, config: Config, place: Place) -> State:
        """The model; of the networks only those that train themselves are in float32."""
        trained = ["unet", *_encoders(config)] if config.train_text_encoder else ["unet"]
        state: State = self.begin(config, place, trained if config.adapter == "none" else [])
        state.module, state.lora = _trained(config, state.diffusion)
        if config.gradient_checkpointing:
            state.diffusion.unet.enable_gradient_checkpointing()
        return state

    def compiled(self, state: Any) -> list[Any]:
        return [state.diffusion.unet]

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``pixels`` (3, S, S) in [-1, 1], ``subject`` (its number), and with ``--masked-loss``
        ``mask`` (1, S, S) float32 in [0, 1]."""
        return _examples.example(
            sample, variant, state.config, state.side, state.subjects, state.of[sample.number],
            state.behind, state.config.masked_loss,
        )  # fmt: skip

    def encode(self, state: State, texts: list[str]) -> Conditioning:
        """See `State.given`."""
        return state.given(texts)

    def weight(self, state: State, batch: Any) -> Tensor | None:
        """The mask, and `--outside-weight` of what is not the subject."""
        config = state.config
        if not config.masked_loss:
            return None
        weight: Tensor = config.outside_weight + (1 - config.outside_weight) * batch["mask"]
        return weight

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """The whole model in diffusers' layout, or the adapters; the header's ``subjects`` says
        what each is called."""
        from socialcli import shards
        from socialcli.methods.train import _pipeline
        from socialcli.networks import lora_files

        notes = {**metadata, "subjects": state.known()}
        if state.lora is None:
            _pipeline.save(state.diffusion, folder, notes)
            return
        layers = state.lora.layers()
        lora_files.write(folder / lora_files.FILE, layers, notes)
        if "kohya" in state.config.export:
            title = "-".join(_subjects.file_name(s.identifier) for s in state.subjects)
            width = state.diffusion.unet.config.cross_attention_dim
            tags = {s.phrase: len(s.samples) for s in state.subjects}
            more = lora_files.kohya_notes(
                layers, width, state.side, state.prediction_type, title, tags,
                len(state.diffusion.encoders) > 1,
            )  # fmt: skip
            file = folder / "kohya" / f"{shards.file_stem(title)}.safetensors"
            file.parent.mkdir(exist_ok=True)
            lora_files.write_kohya(file, layers, {**notes, **more}, state.diffusion.unet)


def _encoders(config: Config) -> Sequence[str]:
    """Names of the model's text encoders."""
    from socialcli import backends
    from socialcli.networks import lora

    return lora.TEXTS[: backends.info("diffusion", config.backend).text_encoders]


def _trained(config: Config, diffusion: Any) -> tuple[Any, Lora | None]:
    """The module that trains: networks of the model, or adapters on them."""
    from torch import nn

    from socialcli.networks import lora

    parts = {lora.UNET: diffusion.unet}
    for name in _encoders(config) if config.train_text_encoder else ():
        parts[name] = getattr(diffusion, name)
    if config.adapter == "none":
        for network in parts.values():
            network.requires_grad_(True)
        return nn.ModuleDict(parts), None
    names = {
        lora.UNET: [n.strip() for n in config.lora_targets.split(",") if n.strip()],
        **{name: list(lora.TEXT_TARGETS) for name in lora.TEXTS},
    }
    layers = {
        (part, path): layer
        for part, network in parts.items()
        for path, layer in lora.targets(network, names[part]).items()
    }
    adapters = lora.Lora(parts, lora.fresh(layers, config.rank, config.alpha))
    return adapters, adapters

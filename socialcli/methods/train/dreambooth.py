"""DreamBooth: several subjects at once, each with an identifier, in full weights or as a LoRA.

Ruiz et al., DreamBooth (arXiv 2208.12242); jointly for many subjects as in Multi-Subject
Personalization (arXiv 2405.12742). Each subject is learnt as "sks dog", an identifier before its
class; pictures of the class keep the model from forgetting what other dogs look like. The result is
a folder in diffusers' layout, or with ``--adapter lora`` a file that `generate --lora`, diffusers
and, exported, other tools load.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.config import option
from socialcli.errors import UsageError
from socialcli.methods.train import _augment, _examples, _prior, _subjects
from socialcli.methods.train._prior import PriorOptions
from socialcli.training.method import Phase, TrainMethod

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.methods.train._subjects import Subject
    from socialcli.networks.lora import Lora
    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.shards.index import Index
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
    batch_size: int = option(
        1, "Samples per optimiser step, over all processes; each brings a class picture.",
        at_least=1,
    )  # fmt: skip
    micro_batch: int = option(
        1, "Samples that go through the networks at once; bound by memory.", affects_result=False,
        at_least=1,
    )  # fmt: skip
    learning_rate: float = option(
        0.0, "Peak learning rate; 0: 5e-6, or 1e-4 with --adapter lora.", at_least=0
    )
    adapter: str = option(
        "none", "none: the weights themselves; lora: low-rank adapters beside them.",
        choices=("none", "lora"),
    )  # fmt: skip
    rank: int = option(4, "Rank of the adapters.", at_least=1)
    alpha: float = option(0.0, "They count alpha / rank; 0: as the rank.", at_least=0)
    lora_targets: str = option(
        "to_q,to_k,to_v,to_out.0", "Layers of the UNet that get one: ends of their names."
    )
    export: str = option(
        "", "Other layouts of the adapters that are written as well: kohya.", choices=("kohya",),
        many=True,
    )  # fmt: skip
    train_text_encoder: bool = option(False, "Train the text encoder as well as the UNet.")
    masked_loss: bool = option(False, "Count the loss where the subject's mask is.")
    outside_weight: float = option(0.0, "How much the rest counts then.", at_least=0, at_most=1)
    identifier: list[str] = option(
        [], "Word before a subject's class: WORD for the subjects in their order, or NAME=WORD. "
        "Repeatable; default: sks, ktn, pll, ucd.",
    )  # fmt: skip
    prompt: list[str] = option(
        [], "Drawn by --validate-every, with {} for each subject. Repeatable; default: the "
        "templates.", affects_result=False,
    )  # fmt: skip
    sampling_steps: int = option(
        25, "Denoising steps of these pictures.", affects_result=False, at_least=1
    )
    guidance: float = option(7.5, "Their guidance.", affects_result=False, at_least=1)


@dataclass
class State:
    """The model, its adapters, and what is the same for every step."""

    config: Config
    place: Place
    diffusion: Any
    alphas: Tensor
    kind: str
    side: int  # pixels
    subjects: list[Subject]
    of: dict[str, list[int]]  # key -> numbers of the subjects it shows
    behind: _augment.Backgrounds
    module: Any  # what trains
    lora: Lora | None = None
    prior: _prior.Prior | None = None
    texts: dict[str, Tensor] = field(default_factory=dict)  # text -> (L, D)

    def states(self, texts: list[str]) -> Tensor:
        """(B, L, D) of texts; while the encoder does not train, each is encoded once, by itself."""
        import torch

        if self.config.train_text_encoder:
            return self.diffusion.prompts(texts)
        for text in texts:
            if text not in self.texts:
                with torch.no_grad():
                    self.texts[text] = self.diffusion.prompts([text])[0]
        return torch.stack([self.texts[text] for text in texts])


class DreamboothMethod(TrainMethod):
    """See `TrainMethod`."""

    VERSION = 1
    FEATURES = (
        "backend", "model", "revision", "variant", "subject", "by", "class_word", "size", "crop",
        "flip", "augment", "backgrounds", "background_count", "masked_loss",
    )  # fmt: skip
    config_type = Config

    def check_options(self, config: Config) -> None:
        _prior.check(config)
        if config.augment:
            _augment.files(config.backgrounds)
        if config.export and config.adapter == "none":
            raise UsageError(f"--export {config.export} writes adapters: give --adapter lora")
        for prompt in config.prompt:
            if "{}" not in prompt:
                raise UsageError(f"--prompt '{prompt}': write {{}} where the subject goes")

    def models(self, config: Config) -> list[ModelSpec]:
        return _prior.models(config)

    def phases(self, config: Config, output: Path) -> list[Phase]:
        """One, with the learning rate and alpha that are meant by 0."""
        import dataclasses

        rate = config.learning_rate or RATES[config.adapter]
        alpha = config.alpha or float(config.rank)
        return [Phase("", self, dataclasses.replace(config, learning_rate=rate, alpha=alpha))]

    def select(self, config: Config, index: Index) -> Index:
        """The samples that show a subject.

        Raises:
            UsageError: a subject without samples, class or identifier.
        """
        subjects = _subjects.find(config, index)
        _subjects.name_them(subjects, config.identifier, IDENTIFIERS)
        return index.select(sorted({n for subject in subjects for n in subject.samples}))

    def check(self, config: Config, sample: Sample) -> None:
        _examples.check(config, sample, config.masked_loss)

    def load(self, config: Config, place: Place) -> State:
        """The model; class pictures are drawn before anything about it is changed."""
        import dataclasses

        from socialcli import backends
        from socialcli.diffusion import latents, schedule

        (spec,) = self.models(config)
        diffusion = backends.load(dataclasses.replace(spec, device=str(place.device)))
        for part in diffusion.networks:
            trains = config.adapter == "none" and (
                part is diffusion.unet
                or (part is diffusion.text_encoder and config.train_text_encoder)
            )
            if not trains and part.dtype != place.dtype:
                part.to(place.dtype)
        alphas, kind = schedule.schedule(diffusion.scheduler)
        subjects = _subjects.find(config, place.index)
        _subjects.name_them(subjects, config.identifier, IDENTIFIERS)
        side = latents.size(diffusion, config.size)
        templates = config.template or _prior.TEMPLATES
        prompts = {s.word: latents.fill(templates[0], s.word) for s in subjects}
        prior = _prior.prepare(config, place, diffusion, side, prompts)
        behind = _augment.backgrounds(config.backgrounds, config.background_count, side)
        module, lora = _trained(config, diffusion)
        if config.gradient_checkpointing:
            diffusion.unet.enable_gradient_checkpointing()
        return State(
            config, place, diffusion, alphas, kind, side, subjects,
            _subjects.of_samples(subjects, place.index), behind, module, lora, prior,
        )  # fmt: skip

    def facts(self, state: State) -> dict[str, str]:
        """What the folders of class pictures and backgrounds hold."""
        return _prior.facts(state.config) | _examples.facts(state.config, state.behind)

    def trainable(self, state: State) -> Any:
        return state.module

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``pixels`` (3, S, S) in [-1, 1], ``subject`` (its number), and with ``--masked-loss``
        ``mask`` (1, S, S) float32 in [0, 1]."""
        return _examples.example(
            sample, variant, state.config, state.side, state.subjects, state.of[sample.key],
            state.behind, state.config.masked_loss,
        )  # fmt: skip

    def features(self, state: State, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """``mean`` and ``deviation`` (C, h, w) of the latents, the mask at their size."""
        return _examples.features(state.diffusion, examples)

    def losses(self, state: State, batch: dict[str, Any], draw: Draw) -> dict[str, Tensor]:
        """``denoise`` and ``prior`` (B,): the subject's picture under its identifier, and one of
        its class under the class alone, in one batch of 2B rows."""
        from socialcli.diffusion import latents
        from socialcli.diffusion.conditioning import Conditioning
        from socialcli.losses import denoise

        config, prior = state.config, state.prior
        templates = config.template or _prior.TEMPLATES
        subjects = [state.subjects[n] for n in batch["subject"]]
        texts = [
            latents.fill(draw.random(at, "text").choice(templates), subject.phrase)
            for at, subject in enumerate(subjects)
        ]
        noised = latents.add_noise(
            state.alphas, state.kind, batch["mean"], batch["deviation"], draw
        )
        if prior is not None:
            texts += [latents.fill(templates[0], subject.word) for subject in subjects]
            with state.place.clock("class pictures"):
                means, stds = prior.drawn([s.word for s in subjects], draw)
            noised = noised.and_also(
                latents.add_noise(state.alphas, state.kind, means, stds, draw, "class ")
            )
        with state.place.clock("text"):
            states = state.states(texts)
        said = latents.predict(
            state.diffusion.unet, noised, Conditioning({"encoder_hidden_states": states})
        )
        count = len(subjects)
        weight = None
        if config.masked_loss:
            weight = config.outside_weight + (1 - config.outside_weight) * batch["mask"]
        found = {"denoise": denoise.loss(said[:count], noised.target[:count], weight)}
        if prior is not None:
            found["prior"] = denoise.loss(said[count:], noised.target[count:])
        return found

    def weights(self, config: Config) -> dict[str, float]:
        return _prior.weights(config)

    def validate(self, state: State) -> list[tuple[str, Image]]:
        """Each subject in the prompts (or the templates)."""
        return _examples.look(state)

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """The whole model in diffusers' layout, or the adapters; the header's ``subjects`` says
        what each is called."""
        from socialcli.methods.train import _pipeline
        from socialcli.networks import lora_files

        known = [
            {"name": s.name, "identifier": s.identifier, "class": s.word} for s in state.subjects
        ]
        notes = {**metadata, "subjects": json.dumps(known, ensure_ascii=False)}
        if state.lora is None:
            _pipeline.save(state.diffusion, folder, notes)
            return
        layers = state.lora.layers()
        lora_files.write(folder / lora_files.FILE, layers, notes)
        if "kohya" in state.config.export:
            title = "-".join(_subjects.file_name(s.identifier) for s in state.subjects)
            width = state.diffusion.unet.config.cross_attention_dim
            tags = {s.phrase: len(s.samples) for s in state.subjects}
            more = lora_files.kohya_notes(layers, width, state.side, state.kind, title, tags)
            file = folder / "kohya" / f"{title}.safetensors"
            file.parent.mkdir(exist_ok=True)
            lora_files.write_kohya(file, layers, {**notes, **more})


def _trained(config: Config, diffusion: Any) -> tuple[Any, Lora | None]:
    """The module that trains: networks of the model, or adapters on them."""
    from torch import nn

    from socialcli.networks import lora

    parts = {lora.UNET: diffusion.unet}
    if config.train_text_encoder:
        parts[lora.TEXT] = diffusion.text_encoder
    if config.adapter == "none":
        for network in parts.values():
            network.requires_grad_(True)
        return nn.ModuleDict(parts), None
    names = {
        lora.UNET: [n.strip() for n in config.lora_targets.split(",") if n.strip()],
        lora.TEXT: list(lora.TEXT_TARGETS),
    }
    layers = {
        (part, path): layer
        for part, network in parts.items()
        for path, layer in lora.targets(network, names[part]).items()
    }
    adapters = lora.Lora(parts, lora.fresh(layers, config.rank, config.alpha))
    return adapters, adapters

"""Custom Diffusion: each subject a new word, with keys and values of the cross-attention.

Kumari et al., Multi-Concept Customization of Text-to-Image Diffusion (arXiv 2212.04488). What
trains is the projection of texts in every cross-attention (``--parts all``: all its projections)
and the embedding of one word a subject. Files of both public layouts come out; `generate
--custom-diffusion` reads them, several at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.config import option
from socialcli.methods.train import _augment, _examples, _prior, _subjects
from socialcli.methods.train._prior import PriorOptions
from socialcli.training.method import TrainMethod

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.methods.train._subjects import Subject
    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.shards.index import Index
    from socialcli.training.place import Place

INITIAL = ("ktn", "pll", "ucd")  # rare words of CLIP, as the authors use them


@dataclass
class Config(PriorOptions):
    FIRST: ClassVar[tuple[str, ...]] = (
        *PriorOptions.FIRST, "subject", "identifier", "class_word", "parts",
    )  # fmt: skip
    GROUPS: ClassVar[dict[str, str]] = {
        "subject": "Subjects and their pictures",
        "backend": "Model",
        "prior_weight": "Pictures of the class",
        "parts": "What is trained",
        "prompt": "Validation",
    }

    steps: int = option(500, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = option(
        2, "Samples per optimiser step, over all processes; each brings a class picture.",
        at_least=1,
    )  # fmt: skip
    micro_batch: int = option(
        2, "Samples that go through the networks at once; bound by memory.", affects_result=False,
        at_least=1,
    )  # fmt: skip
    learning_rate: float = option(
        4e-5, "Peak learning rate. Others state 1e-5 and multiply it by the batch, and by 2.",
        above=0,
    )  # fmt: skip
    parts: str = option(
        "keys-values", "Projections of the cross-attention: keys-values, or all (faces).",
        choices=("keys-values", "all"),
    )  # fmt: skip
    identifier: list[str] = option(
        [], "Word of a subject: WORD for the subjects in their order, or NAME=WORD. Repeatable; "
        "default: <new1>, <new2>, ...",
    )  # fmt: skip
    initial_word: list[str] = option(
        [], "What it starts as: WORD, or NAME=WORD of one subject. Repeatable; default: ktn, pll, "
        "ucd in turn.",
    )  # fmt: skip
    zoom: bool = option(
        True, "Scale pictures at random, and say in the text that the subject is far or near."
    )
    prompt: list[str] = option(
        [], "Drawn by --validate-every, with {} for each subject. Repeatable; default: the "
        "templates.", affects_result=False,
    )  # fmt: skip
    sampling_steps: int = option(
        25, "Denoising steps of these pictures.", affects_result=False, at_least=1
    )
    guidance: float = option(6.0, "Their guidance.", affects_result=False, at_least=1)


@dataclass
class State:
    """The model, its new words, and what is the same for every step."""

    config: Config
    place: Place
    diffusion: Any
    alphas: Tensor
    kind: str
    side: int  # pixels
    subjects: list[Subject]
    of: dict[str, list[int]]  # key -> numbers of the subjects it shows
    behind: _augment.Backgrounds
    module: Any  # what trains: parameters of the UNet, and the words
    words: Any  # `pseudo_words.Words`
    prior: _prior.Prior | None


class CustomDiffusionMethod(TrainMethod):
    """See `TrainMethod`."""

    VERSION = 1
    FEATURES = (
        "backend", "model", "revision", "variant", "subject", "by", "class_word", "size", "crop",
        "flip", "augment", "backgrounds", "background_count", "zoom",
    )  # fmt: skip
    config_type = Config

    def check_options(self, config: Config) -> None:
        _prior.check(config)
        if config.augment:
            _augment.files(config.backgrounds)

    def models(self, config: Config) -> list[ModelSpec]:
        return _prior.models(config)

    def select(self, config: Config, index: Index) -> Index:
        """The samples that show a subject.

        Raises:
            UsageError: a subject without samples, class or word.
        """
        subjects = _find(config, index)
        return index.select(sorted({n for subject in subjects for n in subject.samples}))

    def check(self, config: Config, sample: Sample) -> None:
        _examples.check(config, sample, masked=False)

    def load(self, config: Config, place: Place) -> State:
        """The model; class pictures are drawn before anything about it is changed."""
        import dataclasses

        import torch
        from torch import nn

        from socialcli import backends
        from socialcli.diffusion import latents, schedule
        from socialcli.diffusion.pseudo_words import insert
        from socialcli.networks import custom_diffusion

        (spec,) = self.models(config)
        diffusion = backends.load(dataclasses.replace(spec, device=str(place.device)))
        for part in (diffusion.vae, diffusion.text_encoder):
            if part.dtype != place.dtype:
                part.to(place.dtype)
        alphas, kind = schedule.schedule(diffusion.scheduler)
        subjects = _find(config, place.index)
        side = latents.size(diffusion, config.size)
        templates = config.template or _prior.TEMPLATES
        prompts = {s.word: latents.fill(templates[0], s.word) for s in subjects}
        prior = _prior.prepare(config, place, diffusion, side, prompts)
        initial = _subjects.words("--initial-word", config.initial_word,
                                  [s.name for s in subjects])  # fmt: skip
        table = diffusion.text_encoder.get_input_embeddings().weight.detach()
        starts = {}
        for number, subject in enumerate(subjects):
            usual = INITIAL[number % len(INITIAL)]
            word = initial.get(subject.name) or initial.get("") or usual
            ids = diffusion.tokenizer(word, add_special_tokens=False)["input_ids"]
            starts[subject.identifier] = table[torch.tensor(ids)].float().mean(0, keepdim=True)
        words = insert(diffusion.tokenizer, diffusion.text_encoder, starts).words
        names = custom_diffusion.ALL if config.parts == "all" else custom_diffusion.KEYS_AND_VALUES
        for path, layer in custom_diffusion.layers(diffusion.unet, names).items():
            layer.requires_grad_(True)
            if path.endswith((".to_k", ".to_v")):
                layer.register_forward_hook(_without_first)
        if config.gradient_checkpointing:
            diffusion.unet.enable_gradient_checkpointing()
        behind = _augment.backgrounds(config.backgrounds, config.background_count, side)
        return State(
            config, place, diffusion, alphas, kind, side, subjects,
            _subjects.of_samples(subjects, place.index), behind,
            nn.ModuleDict({"unet": diffusion.unet, "words": words}), words, prior,
        )  # fmt: skip

    def facts(self, state: State) -> dict[str, str]:
        """What the folders of class pictures and backgrounds hold."""
        return _prior.facts(state.config) | _examples.facts(state.config, state.behind)

    def trainable(self, state: State) -> Any:
        return state.module

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``pixels`` (3, S, S) in [-1, 1], ``mask`` (1, S, S) of the loss, ``subject`` (its
        number), ``before`` (what the text begins with)."""
        return _examples.zoomed(
            sample, variant, state.config, state.side, state.subjects, state.of[sample.key],
            state.behind,
        )  # fmt: skip

    def features(self, state: State, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """``mean`` and ``deviation`` (C, h, w) of the latents, the mask at their size."""
        return _examples.features(state.diffusion, examples)

    def losses(self, state: State, batch: dict[str, Any], draw: Draw) -> dict[str, Tensor]:
        """``denoise`` and ``prior`` (B,), in one batch of 2B rows."""
        from socialcli.diffusion import latents
        from socialcli.diffusion.conditioning import Conditioning
        from socialcli.losses import denoise

        templates = state.config.template or _prior.TEMPLATES
        subjects = [state.subjects[n] for n in batch["subject"]]
        texts = []
        for at, (subject, before) in enumerate(zip(subjects, batch["before"], strict=True)):
            text = latents.fill(draw.random(at, "text").choice(templates), subject.phrase)
            texts.append(f"{before} {text}".strip())
        noised = latents.add_noise(
            state.alphas, state.kind, batch["mean"], batch["deviation"], draw
        )
        if state.prior is not None:
            texts += [latents.fill(templates[0], subject.word) for subject in subjects]
            with state.place.clock("class pictures"):
                means, stds = state.prior.drawn([s.word for s in subjects], draw)
            more = latents.add_noise(state.alphas, state.kind, means, stds, draw, "class ")
            noised = noised.and_also(more)
        with state.place.clock("text"):
            states = state.diffusion.prompts(texts)
        said = latents.predict(
            state.diffusion.unet, noised, Conditioning({"encoder_hidden_states": states})
        )
        count = len(subjects)
        found = {"denoise": denoise.loss(said[:count], noised.target[:count], batch["mask"])}
        if state.prior is not None:
            found["prior"] = denoise.loss(said[count:], noised.target[count:])
        return found

    def weights(self, config: Config) -> dict[str, float]:
        return _prior.weights(config)

    def validate(self, state: State) -> list[tuple[str, Image]]:
        """Each subject in the prompts (or the templates)."""
        return _examples.look(state)

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """``delta.bin`` as the authors write it, and what diffusers writes; the header of a
        word's file says what it is."""
        from socialcli.networks import custom_diffusion

        known = [
            {"name": s.name, "identifier": s.identifier, "class": s.word} for s in state.subjects
        ]
        words = json.dumps({s.identifier: s.word for s in state.subjects}, ensure_ascii=False)
        notes = {
            **metadata, "subjects": json.dumps(known, ensure_ascii=False), "initial_words": words,
        }  # fmt: skip
        unet = state.diffusion.unet
        trained = {name: p for name, p in unet.named_parameters() if p.requires_grad}
        vectors = state.words.new.detach()
        tokens = {s.identifier: v for s, v in zip(state.subjects, vectors, strict=True)}
        custom_diffusion.write(folder, unet, trained, tokens, notes)


def _find(config: Config, index: Index) -> list[Subject]:
    subjects = _subjects.find(config, index)
    usual = [f"<new{n + 1}>" for n in range(len(subjects))]
    _subjects.name_them(subjects, config.identifier, usual)
    return subjects


def _without_first(layer: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """Keys and values learn nothing from the mark that begins every text: it says nothing of any
    subject, and all texts share it."""
    import torch

    if not torch.is_grad_enabled():
        return output
    return torch.cat([output[:, :1].detach(), output[:, 1:]], 1)

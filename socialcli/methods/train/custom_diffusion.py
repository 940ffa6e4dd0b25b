"""Custom Diffusion: each subject a new word, with keys and values of the cross-attention.

Kumari et al., Multi-Concept Customization of Text-to-Image Diffusion (arXiv 2212.04488). What
trains is the projection of texts in every cross-attention (``--parts all``: all its projections)
and the embedding of one word a subject. Files of both public layouts come out; `generate
--custom-diffusion` reads them, several at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.config import option
from socialcli.methods.train import _examples, _tuning
from socialcli.methods.train._prior import PriorOptions
from socialcli.training import fields, groups

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
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
    batch_size: int = fields.batch_size(2, "; each brings a class picture")
    micro_batch: int = fields.micro_batch(2)
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
        "templates.", affects_result=False, only="validate_every",
    )  # fmt: skip
    sampling_steps: int = fields.sampling_steps()
    guidance: float = fields.guidance(6.0)


@dataclass
class State(_tuning.State):
    """With the new words among what trains."""

    @property
    def words(self) -> Any:
        """`pseudo_words.Words`."""
        return self.module["words"]


class CustomDiffusionMethod(_tuning.SubjectMethod):
    """See `TrainMethod`."""

    VERSION = 1
    FEATURES = (
        "backend", "model", "revision", "variant", "subject", "by", "class_word", "size", "crop",
        "flip", "augment", "backgrounds", "background_count", "zoom",
    )  # fmt: skip
    config_type = Config
    state_type = State

    def identifiers(self, count: int) -> Sequence[str]:
        return [f"<new{n + 1}>" for n in range(count)]

    def check(self, config: Config, sample: Sample) -> None:
        _examples.check(config, sample, masked=False)

    def load(self, config: Config, place: Place) -> State:
        """The model with a new word for each subject; the UNet is in float32."""
        import torch
        from torch import nn

        from socialcli.diffusion.pseudo_words import insert
        from socialcli.networks import custom_diffusion

        state: State = self.begin(config, place, ["unet"])
        diffusion, subjects = state.diffusion, state.subjects
        names = [s.name for s in subjects]
        initial = groups.words(
            "--initial-word", config.initial_word, names, "subjects", "NAME=WORD"
        )
        table = diffusion.text_encoder.get_input_embeddings().weight.detach()
        starts = {}
        for number, subject in enumerate(subjects):
            usual = INITIAL[number % len(INITIAL)]
            word = initial.get(subject.name) or initial.get("") or usual
            ids = diffusion.tokenizer(word, add_special_tokens=False)["input_ids"]
            starts[subject.identifier] = table[torch.tensor(ids)].float().mean(0, keepdim=True)
        words = insert(diffusion.tokenizer, diffusion.text_encoder, starts).words
        parts: tuple[str, ...] = custom_diffusion.KEYS_AND_VALUES
        if config.parts == "all":
            parts = custom_diffusion.ALL
        for path, layer in custom_diffusion.layers(diffusion.unet, parts).items():
            layer.requires_grad_(True)
            if path.endswith((".to_k", ".to_v")):
                layer.register_forward_hook(_without_first)
        if config.gradient_checkpointing:
            diffusion.unet.enable_gradient_checkpointing()
        state.module = nn.ModuleDict({"unet": diffusion.unet, "words": words})
        return state

    def compiled(self, state: Any) -> list[Any]:
        return [state.diffusion.unet]

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``pixels`` (3, S, S) in [-1, 1], ``mask`` (1, S, S) of the loss, ``subject`` (its
        number), ``before`` (what the text begins with)."""
        return _examples.zoomed(
            sample, variant, state.config, state.side, state.subjects, state.of[sample.number],
            state.behind,
        )  # fmt: skip

    def texts(self, state: State, batch: Any, draw: Draw) -> list[str]:
        """The usual ones, behind what the picture's scale is called."""
        usual = super().texts(state, batch, draw)
        return [f"{before} {text}".strip() for before, text in zip(batch["before"], usual,
                                                                   strict=True)]  # fmt: skip

    def weight(self, state: State, batch: Any) -> Tensor | None:
        """Where the picture is: a small one has nothing around it."""
        mask: Tensor = batch["mask"]
        return mask

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """``delta.bin`` as the authors write it, and what diffusers writes; the header of a
        word's file says what it is."""
        from socialcli.networks import custom_diffusion

        words = json.dumps({s.identifier: s.word for s in state.subjects}, ensure_ascii=False)
        notes = {
            **metadata, "subjects": state.known(), "initial_words": words,
        }  # fmt: skip
        unet = state.diffusion.unet
        trained = {name: p for name, p in unet.named_parameters() if p.requires_grad}
        vectors = state.words.new.detach()
        tokens = {s.identifier: v for s, v in zip(state.subjects, vectors, strict=True)}
        custom_diffusion.write(folder, unet, trained, tokens, notes)


def _without_first(layer: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """Keys and values learn nothing from the mark that begins every text: it says nothing of any
    subject, and all texts share it."""
    import torch

    if not torch.is_grad_enabled():
        return output
    return torch.cat([output[:, :1].detach(), output[:, 1:]], 1)

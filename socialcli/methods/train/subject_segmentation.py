"""Subject segmentation: a U-Net on ResNet-34 that marks the pixels of each subject.

Multi-Subject Personalization (arXiv 2405.12742), A.1 and A.4: trained on the same pictures with the
same augmentation as DreamBooth. Its encoder is what `score --metrics sas` compares pictures by, and
its marks are what subject-aware guidance leads to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.config import option
from socialcli.errors import SampleFailed, UsageError
from socialcli.methods.train import _augment, _examples, _subjects
from socialcli.methods.train._subjects import SubjectOptions
from socialcli.training import fields
from socialcli.training.method import TrainMethod

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from socialcli.methods.train._subjects import Subject
    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.shards.index import Index
    from socialcli.training.place import Place


@dataclass
class Config(SubjectOptions):
    FIRST: ClassVar[tuple[str, ...]] = (*SubjectOptions.FIRST, "subject", "encoder_model")
    GROUPS: ClassVar[dict[str, str]] = {
        "subject": "Subjects and their pictures",
        "encoder_model": "Network and loss",
    }

    steps: int = option(3700, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = fields.batch_size(4)
    micro_batch: int = option(
        4, "Samples that go through the network at once; batch normalisation sees so many.",
        at_least=1,
    )  # fmt: skip
    learning_rate: float = option(1e-4, "Peak learning rate.", above=0)
    augment: float = option(
        0.9, "Probability that the subject is cut out by its mask, scaled, and placed on a "
        "background.", at_least=0, at_most=1,
    )  # fmt: skip
    size: int = option(512, "Side of the square that is trained on, pixels.", at_least=32)
    encoder_model: str = option(
        "", "Weights that the encoder starts with: torchvision's ResNet-34, or another U-Net's; "
        "default: random ones."
    )  # fmt: skip
    dice_weight: float = option(1.0, "Weight of the overlap beside the cross-entropy.", at_least=0)
    held_back: int = option(
        200, "Augmented pictures that are never trained on, for the IoU.", affects_result=False,
        at_least=1,
    )  # fmt: skip


@dataclass
class State:
    """The network, and whom it is to find."""

    config: Config
    place: Place
    network: Any
    subjects: list[Subject]
    of: dict[int, list[int]]  # number of a sample -> numbers of the subjects it shows
    behind: _augment.Backgrounds


class SubjectSegmentationMethod(TrainMethod):
    """See `TrainMethod`."""

    VERSION = 1
    READS = ("masks.json",)
    config_type = Config

    def check_options(self, config: Config) -> None:
        from socialcli.networks.subject_unet import STRIDE

        if config.size % STRIDE:
            raise UsageError(f"--size {config.size}: a multiple of {STRIDE}")
        if config.augment:
            _augment.files(config.backgrounds)

    def select(self, config: Config, index: Index) -> Index:
        """The samples that show a subject.

        Raises:
            UsageError: a subject without samples or class.
        """
        subjects = _subjects.find(config, index)
        return index.select(sorted({n for subject in subjects for n in subject.samples}))

    def load(self, config: Config, place: Place) -> State:
        """The network, in float32."""
        from socialcli.networks import subject_unet

        subjects = _subjects.find(config, place.index)
        network = subject_unet.SubjectUNet(len(subjects))
        if config.encoder_model:
            subject_unet.load_encoder(network, config.encoder_model)
        behind = _augment.backgrounds(config.backgrounds, config.background_count, config.size)
        return State(
            config, place, network.to(place.device), subjects,
            _subjects.of_samples(subjects), behind,
        )  # fmt: skip

    def facts(self, state: State) -> dict[str, str]:
        """What the folder of backgrounds holds."""
        return _examples.facts(state.config, state.behind)

    def trainable(self, state: State) -> Any:
        return state.network

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``pixels`` (3, S, S) in [0, 1], ``masks`` (K, S, S) float32 in [0, 1].

        Raises:
            SampleFailed: no mask says where a subject is.
        """
        return _examples.marked(
            sample, variant, state.config, state.config.size, state.subjects,
            state.of[sample.number], state.behind,
        )  # fmt: skip

    def losses(self, state: State, batch: dict[str, Any], draw: Draw) -> dict[str, Tensor]:
        """``cross-entropy`` and ``dice`` (B,)."""
        from socialcli.losses import dice, mask_cross_entropy

        logits = state.network(batch["pixels"]).float()
        values = {"cross-entropy": mask_cross_entropy.loss(logits, batch["masks"])}
        if state.config.dice_weight:
            values["dice"] = dice.loss(logits, batch["masks"])
        return values

    def weights(self, config: Config) -> dict[str, float]:
        dice = {"dice": config.dice_weight} if config.dice_weight else {}
        return {"cross-entropy": 1.0, **dice}

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """The network in the layout of segmentation_models_pytorch, and ``iou.json``: each
        subject's intersection over union in pictures that were never trained on."""
        from socialcli.networks import subject_unet

        iou = overlaps(state, self)
        for name, value in iou.items():
            state.place.say(f"IoU of {name}: {value:.3f}")
        text = json.dumps(iou, indent=1, ensure_ascii=False)
        (folder / "iou.json").write_text(text, encoding="utf-8")
        known = [{"name": s.name, "class": s.word} for s in state.subjects]
        notes = {
            **metadata, "subjects": json.dumps(known, ensure_ascii=False),
            "side": str(state.config.size), "iou": json.dumps(iou, ensure_ascii=False),
        }  # fmt: skip
        subject_unet.save(state.network, folder, notes)


def _looked_at(number: int, count: int, total: int) -> int:
    """Which of ``total`` samples is the ``number``-th of ``count`` that are looked at: all in turn,
    or evenly many of them, since the subjects of a data set stand one behind the other."""
    return number % total if count >= total else number * total // count


def overlaps(state: State, method: SubjectSegmentationMethod) -> dict[str, float]:
    """Subject -> intersection over union of the pixels marked with 0.5 or more.

    In augmented versions of the data's pictures that no step is trained on, as the paper divides
    its augmented pictures. A subject that none of them shows, and that is marked nowhere, is left
    out.
    """
    import torch

    from socialcli.randomness import Variant

    config, place, index = state.config, state.place, state.place.index
    both = torch.zeros(len(state.subjects))
    either = torch.zeros(len(state.subjects))
    state.network.eval()
    for number in range(config.held_back):
        sample = index.read(_looked_at(number, config.held_back, len(index)))
        variant = Variant(config.seed, f"held back {sample.key}", number)
        try:
            example = method.prepare(state, sample, variant)
        except SampleFailed:
            continue
        with torch.no_grad():
            marked = state.network(example["pixels"][None].to(place.device))[0].cpu() >= 0
        there = example["masks"] >= 0.5
        both += (marked & there).flatten(1).sum(1)
        either += (marked | there).flatten(1).sum(1)
    pairs = zip(state.subjects, both.tolist(), either.tolist(), strict=True)
    return {s.name: round(i / u, 6) for s, i, u in pairs if u}

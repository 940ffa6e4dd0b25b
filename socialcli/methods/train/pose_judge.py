"""Judges of interactions: learn from exemplars which interaction two bodies perform.

Customizing Text-to-Image Generation with Inverted Interaction, section 5.2: what `score --metrics
pose-s,pose-kp` asks. Of each exemplar the two bodies are looked at by a pose backend; a linear
support vector machine learns from its encoder's features, a graph network of two layers from its
keypoints (`networks.pose_judge`). A share of each interaction's exemplars is held out, and how many
of them each judge gets right is written into its file, so that every score can show it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.backends import ModelSpec
from socialcli.config import option
from socialcli.errors import SampleFailed, UsageError
from socialcli.training.method import TrainMethod
from socialcli.training.options import TrainingOptions
from socialcli.validation import members

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from socialcli.randomness import Draw, Variant
    from socialcli.records import XYXY
    from socialcli.shards import Sample
    from socialcli.shards.index import Index
    from socialcli.training.place import Place

FEWEST = 2  # exemplars of an interaction: one to learn from, one that is held out


@dataclass
class Config(TrainingOptions):
    FIRST: ClassVar[tuple[str, ...]] = (*TrainingOptions.FIRST, "by", "held_out")
    GROUPS: ClassVar[dict[str, str]] = {"by": "Interactions", "pose_backend": "Models"}

    steps: int = option(300, "Optimiser steps of the graph network.", at_least=1)
    batch_size: int = option(64, "Exemplars per optimiser step, over all processes.", at_least=1)
    micro_batch: int = option(
        64, "Exemplars that go through the network at once.", affects_result=False, at_least=1
    )
    learning_rate: float = option(1e-2, "Peak learning rate of the graph network.", above=0)
    weight_decay: float = option(1e-3, "Its weight decay.", at_least=0)
    hidden: int = option(64, "Channels of its layers.", at_least=1)
    by: str = option("concept", "Field of meta.json's extra that names the interaction.")
    held_out: float = option(
        0.2, "Share of each interaction's exemplars, the last by key, that is only tested with.",
        at_least=0, at_most=0.9,
    )  # fmt: skip
    svm_c: float = option(0.01, "Weight C of the support vector machine's errors.", above=0)
    pose_backend: str = option("vitpose", "Which pose estimator.", role="pose")
    pose_model: str = option("", "Its model: hub id or folder.")


@dataclass
class Exemplar:
    """One exemplar, looked at.

    Attributes:
        label: number of its class. held_out: only tested with.
        features: (2, D), of the picture and of its mirror image. bodies: (2, 2, 17, 3) likewise.
    """

    label: int
    held_out: bool
    features: Any
    bodies: Any


@dataclass
class State:
    config: Config
    place: Place
    classes: list[str]
    graph: Any
    exemplars: dict[int, Exemplar]
    unseen: dict[int, str] = field(default_factory=dict)  # number of a sample -> why it is none
    pose: dict[str, Any] = field(default_factory=dict)


class PoseJudgeMethod(TrainMethod):
    """See `TrainMethod`."""

    VERSION = 1
    READS = ("people.json", "meta.json")
    config_type = Config

    def models(self, config: Config) -> list[ModelSpec]:
        return [ModelSpec("pose", config.pose_backend, config.pose_model)]

    def select(self, config: Config, index: Index) -> Index:
        """The exemplars of a named interaction with two bodies.

        Raises:
            UsageError: fewer than two interactions, or one with a single exemplar.
        """
        from socialcli.vision import images

        counts: dict[str, int] = {}
        chosen, reason = [], ""
        for number in range(len(index)):
            try:
                sample = index.read(number)
                members.refuse_malformed(sample)
                images.decode(sample.picture())  # all are looked at before the first step
                _two(sample)
                name = _name(sample, config.by)
            except SampleFailed as error:
                key = index.entries[number].key
                reason = reason or f"{key}: {error}"
                index.unusable[key] = str(error)
                continue
            counts[name] = counts.get(name, 0) + 1
            chosen.append(number)
        if len(counts) < 2:
            there = ", ".join(counts) or "none"
            why = f"; {reason}" if reason else ""
            raise UsageError(
                f"a judge tells at least two interactions apart; meta.json's extra.{config.by} "
                f"names {there}{why}"
            )
        few = [name for name, count in counts.items() if count < FEWEST]
        if few:
            raise UsageError(f"interaction {few[0]} has one exemplar; give at least {FEWEST}")
        return index.select(chosen)

    def load(self, config: Config, place: Place) -> State:
        """Every exemplar looked at, and the network that is to learn from them.

        Raises:
            UsageError: a pose backend without an encoder, or one that finds too few bodies.
        """
        from socialcli import backends
        from socialcli.networks.pose_judge import Graph

        (spec,) = self.models(config)
        spec = dataclasses.replace(spec, device=str(place.device), dtype=config.dtype)
        estimator = backends.load(spec)
        if not hasattr(estimator, "encode"):
            raise UsageError(
                f"--pose-backend {config.pose_backend} has no encoder whose features a judge could "
                "learn from; vitpose has"
            )
        looks: dict[int, tuple[Any, Any]] = {}
        unseen: dict[int, str] = {}
        names: dict[str, list[tuple[str, int]]] = {}
        for number in range(len(place.index)):
            sample = place.index.read(number)
            own = names.setdefault(_name(sample, config.by), [])
            try:
                looks[number] = _look(estimator, sample)
                own.append((sample.key, number))
            except SampleFailed as error:
                unseen[number] = str(error)
        classes = sorted(names)
        exemplars: dict[int, Exemplar] = {}
        for label, name in enumerate(classes):
            own = sorted(names[name])
            if len(own) < FEWEST:
                raise UsageError(
                    f"the pose backend finds both people in {len(own)} of the exemplars of "
                    f"interaction {name}; give at least {FEWEST} in which it does"
                )
            tested = len(own) - _held_out(config.held_out, len(own))
            for at, (_, number) in enumerate(own):
                exemplars[number] = Exemplar(label, at >= tested, *looks[number])
        graph = Graph(len(classes), config.hidden).to(place.device)
        pose = dataclasses.asdict(estimator.model)
        exemplars = dict(sorted(exemplars.items()))  # the machine's last bits are of this order
        return State(config, place, classes, graph, exemplars, unseen, pose)

    def trainable(self, state: State) -> Any:
        return state.graph

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``bodies`` (2, 17, 3), every second time mirrored; ``label`` ; ``weight``: 0 for an
        exemplar that is held out.

        Raises:
            SampleFailed: the pose backend has not found both bodies.
        """
        import torch

        if reason := state.unseen.get(sample.number):
            raise SampleFailed(reason)
        one = state.exemplars[sample.number]
        return {
            "bodies": one.bodies[variant.number % 2],
            "label": torch.tensor(one.label),
            "weight": torch.tensor(0.0 if one.held_out else 1.0),
        }

    def losses(self, state: State, batch: dict[str, Any], draw: Draw) -> dict[str, Tensor]:
        """``graph`` (B,): cross entropy, 0 of what is held out."""
        import torch.nn.functional as F

        logits = state.graph(batch["bodies"])
        return {
            "graph": F.cross_entropy(logits, batch["label"], reduction="none") * batch["weight"]
        }

    def weights(self, config: Config) -> dict[str, float]:
        return {"graph": 1.0}

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """``pose_judge.safetensors``: the graph network as it is now, the machine as it follows
        from the exemplars, and what both get right of those that are held out."""
        import torch

        from socialcli.networks.pose_judge import PoseJudge, fit_svm

        learned = [one for one in state.exemplars.values() if not one.held_out]
        rows = torch.cat([one.features for one in learned]).double()
        labels = torch.tensor([one.label for one in learned for _ in range(2)])
        mean, std = rows.mean(0), rows.std(0, correction=0).clamp(min=1e-6)
        weight, bias = fit_svm(
            ((rows - mean) / std).numpy(), labels.numpy(), len(state.classes), state.config.svm_c
        )
        graph = state.graph
        graph.eval()
        judge = PoseJudge(
            state.classes, mean, std, torch.from_numpy(weight.copy()),
            torch.from_numpy(bias.copy()), graph, state.pose,
        )  # fmt: skip
        tested = [one for one in state.exemplars.values() if one.held_out]
        judge.held_out = {"count": float(len(tested)), **_right(judge, tested)}
        graph.train()
        judge.save(folder, metadata)


def _right(judge: Any, tested: list[Exemplar]) -> dict[str, float]:
    """The share of exemplars that each judge names rightly."""
    import torch

    if not tested:
        return {}
    device = judge.graph.adjacency.device
    features = torch.stack([one.features[0] for one in tested])
    nodes = torch.stack([one.bodies[0] for one in tested]).to(device)
    wanted = [judge.classes[one.label] for one in tested]
    answers = {"pose_s": judge.of_features(features), "pose_kp": judge.of_bodies(nodes)}
    return {
        name: sum(a == b for a, b in zip(names, wanted, strict=True)) / len(wanted)
        for name, names in answers.items()
    }


def _held_out(share: float, count: int) -> int:
    """How many of so many exemplars are held out: at least one where any are, and never all."""
    return min(max(round(share * count), 1), count - 1) if share > 0 else 0


def _name(sample: Sample, by: str) -> str:
    from socialcli import records

    name = sample.record(records.Meta).extra.get(by)
    if not isinstance(name, str) or not name:
        raise SampleFailed(f"meta.json: extra.{by} names no interaction")
    return name


def _two(sample: Sample) -> list[XYXY]:
    """The boxes of the two largest people, the left one first.

    Raises:
        SampleFailed: there are fewer than two with a body box.
    """
    from socialcli import records
    from socialcli.vision import boxes as geometry

    listed = sample.record(records.Boxes).boxes if sample.has("boxes.json") else []
    by_id = {box.id: box.xyxy for box in listed}
    people = sample.record(records.People).people
    all_boxes = [by_id.get(p.box) if p.box is not None else p.xyxy for p in people]
    bodies = sorted((b for b in all_boxes if b is not None), key=lambda b: -geometry.area(b))[:2]
    if len(bodies) < 2:
        raise SampleFailed(f"{len(bodies)} people with a body box, an interaction needs two")
    return sorted(bodies, key=lambda box: box[0] + box[2])


def _look(estimator: Any, sample: Sample) -> tuple[Tensor, Tensor]:
    """``features`` and ``bodies`` of an exemplar and its mirror image, as the pose backend sees
    them.

    Raises:
        SampleFailed: it does not see both bodies.
    """
    import torch
    from PIL import ImageOps

    from socialcli.networks.pose_judge import bodies
    from socialcli.vision import images

    image, boxes = images.decode(sample.picture()), _two(sample)
    turned: list[XYXY] = [(1 - r, top, 1 - left, b) for left, top, r, b in reversed(boxes)]
    both, where = [image, ImageOps.mirror(image)], [boxes, turned]
    features = [torch.from_numpy(rows).flatten() for rows in estimator.encode(both, where)]
    seen = estimator.estimate(both, where)
    if any(k is None for two in seen for k in two):
        raise SampleFailed("the pose backend finds nobody in one of the two boxes")
    skeletons = [bodies([[*map(tuple, k.points)] for k in two]) for two in seen]
    return torch.stack(features), torch.stack(skeletons)

"""Interaction feedback: the annotated interactions are seen in the picture (Eq. 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.config import option
from socialcli.records.sources import is_annotation
from socialcli.training.feedback import Feedback

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.records import XYXY
    from socialcli.training.feedback import Examples, View


@dataclass
class Options:
    interaction_backend: str = option(
        "pairwise", "Which interaction recogniser gives feedback.", role="interaction"
    )
    interaction_model: str = option("", "Its model: a folder; default: the package's own.")
    interaction_source: str = option(
        "annotation",
        "Whose interactions are learnt from: annotation, or any (estimates too).",
        choices=("annotation", "any"),
    )
    interaction_pairs: str = option(
        "annotated",
        "Which pairs are judged: annotated, or detected (by CMMP's own detector in the estimate).",
        choices=("annotated", "detected"),
    )
    focal_alpha: float = option(
        0.5, "Weight of positives in the focal loss; 1 - it of negatives.", at_least=0, at_most=1
    )
    focal_gamma: float = option(0.2, "Focus of the focal loss on what is wrong.", at_least=0)


@dataclass
class Pair:
    """A person and an object, normalised xyxy, and every verb that is between them."""

    human: XYXY
    object: XYXY
    label: str
    verbs: list[str]


class InteractionFeedback(Feedback):
    """See `Feedback`."""

    ORDER = 6
    config_type = Options
    ROLE = "interaction"
    MEMBER, STAGE = "interactions.json", "annotate-pose --with interaction"
    LACKS = "no annotated interaction (--interaction-source any: or estimated) between two boxes"
    GATE = "0-500"
    FEATURES = ("interaction_source",)

    def check_options(self, config: Any) -> None:
        from socialcli import backends
        from socialcli.errors import UsageError

        name = config.interaction_backend
        if (
            config.interaction_pairs == "detected"
            and not backends.info("interaction", name).detects
        ):
            raise UsageError(
                f"--interaction-pairs detected: --interaction-backend {name} has no detector of "
                "its own (cmmp has)"
            )

    def read(self, config: Any, view: View) -> list[Pair]:
        if not view.sample.has("interactions.json"):
            return []
        acts = view.sample.record(records.Interactions).interactions
        if config.interaction_source != "any":
            acts = [one for one in acts if is_annotation(one)]
        return _pairs(acts, view.boxes, view.bodies)

    def tensors(self, scene: list[Pair]) -> dict[str, Any]:
        import torch

        return {
            "interaction_boxes": torch.tensor([(pair.human, pair.object) for pair in scene]),
            "interaction_objects": [pair.label for pair in scene],
            "interaction_verbs": [pair.verbs for pair in scene],
        }

    def coverage(self, config: Any, scenes: list[list[Pair]]) -> str:
        """Whether the recogniser knows the annotated interactions."""
        from socialcli.backends import coverage

        asked = [(verb, pair.label) for pairs in scenes for pair in pairs for verb in pair.verbs]
        known = coverage.expressible(config.interaction_backend, config.interaction_model)
        return coverage.check(asked, known, "--interaction-model") or ""

    def load(self, config: Any, loaded: Any) -> InteractionWatcher:
        return InteractionWatcher(config, loaded)


def _pairs(
    acts: list[records.Interaction], boxes: dict[int, records.Box], bodies: dict[int, XYXY]
) -> list[Pair]:
    pairs: dict[tuple[XYXY, XYXY], Pair] = {}
    for one in acts:
        human = bodies.get(one.subject) if one.subject is not None else None
        if human is None and one.subject_box in boxes:
            human = boxes[one.subject_box].xyxy
        thing = boxes[one.object].xyxy if one.object in boxes else None
        if thing is None and one.object_person is not None:
            thing = bodies.get(one.object_person)
        if human is None or thing is None:
            continue
        label = one.object_label or (boxes[one.object].label if one.object in boxes else "person")
        pair = pairs.setdefault((human, thing), Pair(human, thing, label, []))
        if one.verb not in pair.verbs:
            pair.verbs.append(one.verb)
    return list(pairs.values())


class InteractionWatcher:
    """Eq. 6 with a recogniser."""

    def __init__(self, config: Any, loaded: Any) -> None:
        self.recogniser, self.pairs = loaded, config.interaction_pairs
        self.alpha, self.gamma = config.focal_alpha, config.focal_gamma

    def targets(self, pictures: Tensor, examples: Examples) -> Examples:
        """(n, C) labels of each pair and (n, C) prior: which verbs its object allows."""
        per_sample = []
        for example in examples:
            objects, verbs = example["interaction_objects"], example["interaction_verbs"]
            labels, prior = self.recogniser.labels(objects, verbs)
            per_sample.append(
                {"interaction_labels": labels.cpu(), "interaction_prior": prior.cpu()}
            )
        return per_sample

    def values(self, pictures: Tensor, examples: Examples) -> Tensor:
        from socialcli.losses import interaction

        boxes = [e["interaction_boxes"].to(pictures.device) for e in examples]
        if self.pairs == "detected":
            verbs = [self.recogniser.verb_labels(e["interaction_verbs"]) for e in examples]
            return interaction.of_detections(
                self.recogniser, pictures, boxes, verbs, self.alpha, self.gamma
            )
        return interaction.of_pictures(
            self.recogniser,
            pictures,
            boxes,
            [e["interaction_objects"] for e in examples],
            [e["interaction_labels"] for e in examples],
            [e["interaction_prior"] for e in examples],
            self.alpha,
            self.gamma,
        )

"""Pose feedback: keypoints stay where they were (Eq. 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from socialcli import records
from socialcli.config import option
from socialcli.errors import UsageError
from socialcli.records import keypoint_layouts
from socialcli.training.feedback import Feedback, apart, together

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from socialcli.records import XYXY
    from socialcli.training.feedback import Examples, View

BODY = ("person", keypoint_layouts.BODY)


class Subject(NamedTuple):
    """Somebody or something whose keypoints are watched; ``kind`` is what it is called and the name
    of its keypoints' layout."""

    box: XYXY
    keypoints: records.Keypoints | None
    kind: tuple[str, str] = BODY


@dataclass
class Options:
    pose_backend: str = option("vitpose", "Which keypoint estimator gives feedback.", role="pose")
    pose_model: str = option("", "Its model: hub id, folder, or a file for xpose.")
    pose_targets: str = option(
        "detector",
        "Where keypoints are: as the detector says, or shards.",
        choices=("detector", "shards"),
    )
    pose_least_score: float = option(
        0.3, "Keypoints of x0 scored below this are not asked for.", at_least=0, at_most=1
    )
    pose_subjects: str = option(
        "people",
        "Whose: people, or all (animals and things that xpose knows, too).",
        choices=("people", "all"),
    )
    pose_window: int = option(
        384, "Side of the square in which xpose looks at a subject, pixels.", at_least=96
    )


class PoseFeedback(Feedback):
    """See `Feedback`."""

    ORDER = 5
    config_type = Options
    ROLE = "pose"
    MEMBER, STAGE = "people.json", "annotate-pose"
    LACKS = "nobody with a body box"
    GATE = "0-700"
    FEATURES = ("pose_targets", "pose_least_score", "pose_subjects", "pose_window")

    def check_options(self, config: Any) -> None:
        if config.pose_subjects == "all" and config.pose_backend == "vitpose":
            raise UsageError("--pose-subjects all: vitpose knows people only; xpose knows more")

    def read(self, config: Any, view: View) -> list[Subject]:
        """Everybody's body box with their keypoints; the same of animals and things if wanted."""
        bodies = [Subject(box, view.people[n].keypoints) for n, box in view.bodies.items()]
        return bodies + (_things(view) if config.pose_subjects == "all" else [])

    def tensors(self, scene: list[Subject]) -> dict[str, Any]:
        import torch

        marked = [_marked(one) for one in scene]
        widest = max(len(points) for points in marked)
        unseen = (float("nan"), float("nan"), 0.0)
        return {
            "pose_boxes": torch.tensor([one.box for one in scene]),
            "pose_keypoints": torch.tensor([p + [unseen] * (widest - len(p)) for p in marked]),
            "pose_kinds": [list(one.kind) for one in scene],
        }

    def load(self, config: Any, loaded: Any) -> PoseWatcher:
        return PoseWatcher(config, loaded)


def _things(view: View) -> list[Subject]:
    """The boxes that are nobody's, of animals and things that have a layout."""
    persons = {person.box for person in view.people.values()}
    entities: dict[int, records.Entity] = {}
    if view.sample.has("entities.json"):
        entities = {e.id: e for e in view.sample.record(records.Entities).entities}
    subjects = []
    for box in view.boxes.values():
        kind = keypoint_layouts.of_box(box, entities.get(box.entity or 0))
        if box.id not in persons and kind is not None:
            subjects.append(Subject(box.xyxy, box.keypoints, kind))
    return subjects


def _marked(one: Subject) -> list[tuple[float, float, float]]:
    """Annotated or estimated keypoints of a subject; NaN where there are none of its layout."""
    layout = keypoint_layouts.layout(one.kind[1])
    count = len(layout.names) if layout is not None else 0
    if one.keypoints is None or one.keypoints.layout != one.kind[1]:
        return [(float("nan"), float("nan"), 0.0)] * count
    return list(one.keypoints.points)


class PoseWatcher:
    """Eq. 5 with an estimator of heat maps, or one that is asked in words."""

    def __init__(self, config: Any, loaded: Any) -> None:
        from socialcli.losses import pose

        self.estimator: pose.HeatMaps | pose.Queries
        if hasattr(loaded, "look"):
            side = config.pose_window
            self.estimator = pose.Queries(loaded.look, (side, side), [])
        else:
            self.estimator = pose.vitpose(loaded.network, loaded.processor)
        self.least = config.pose_least_score
        self.annotated = config.pose_targets == "shards"

    def targets(self, pictures: Tensor, examples: Examples) -> Examples:
        """Keypoints in the estimator's windows, and weights: 1 where a keypoint is visible (by
        annotation) and the estimator is sure enough of it (where it is asked), else 0."""
        from socialcli.losses import pose

        boxes, owners = together(examples, "pose_boxes", pictures.device)
        marked = _padded(examples, "pose_keypoints", pictures.device)
        high, wide = pictures.shape[-2:]
        if self.annotated:
            points = pose.to_window(marked[..., :2], boxes, wide, high, self.estimator.size)
            weights = (marked[..., 2] > 1).float()
        else:
            kinds = self._kinds(examples)
            estimated = pose.keypoints(self.estimator, pictures, owners, boxes, kinds)
            points, weights = estimated.points, (estimated.scores >= self.least).float()
            # A keypoint annotated as beyond the square or hidden is a guess of the estimator.
            labelled = (marked[..., 2] > 0).any(-1, keepdim=True)
            weights = weights * ((marked[..., 2] > 1) | ~labelled)
        parts = (apart(value, examples, "pose_boxes") for value in (points, weights))
        return [{"pose_points": p, "pose_weights": w} for p, w in zip(*parts, strict=True)]

    def values(self, pictures: Tensor, examples: Examples) -> Tensor:
        from socialcli.losses import pose

        boxes, owners = together(examples, "pose_boxes", pictures.device)
        points, weights = (
            _padded(examples, f"pose_{what}", pictures.device) for what in ("points", "weights")
        )
        kinds = self._kinds(examples)
        return pose.loss(self.estimator, pictures, owners, boxes, points, weights, kinds)

    def _kinds(self, examples: Examples) -> Tensor | None:
        """The number of each subject's kind; None for an estimator that knows people only."""
        import torch

        from socialcli.losses import pose

        if not isinstance(self.estimator, pose.Queries):
            return None
        known = self.estimator.kinds
        numbers = []
        for kind in (tuple(pair) for example in examples for pair in example["pose_kinds"]):
            if kind not in known:
                known.append(kind)
            numbers.append(known.index(kind))
        return torch.tensor(numbers)


def _padded(examples: Examples, name: str, device: torch.device) -> Tensor:
    """`together` of subjects that may have different numbers of keypoints: what is missing is 0."""
    import torch
    import torch.nn.functional as F

    rows = [example[name] for example in examples]
    widest = max(part.shape[1] for part in rows)
    padded = [F.pad(r, (0, 0) * (r.ndim - 2) + (0, widest - r.shape[1])) for r in rows]
    return torch.cat(padded).to(device)

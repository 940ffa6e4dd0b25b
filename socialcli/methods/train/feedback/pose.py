"""Pose feedback: keypoints stay where they were (Eq. 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.config import option
from socialcli.training.feedback import Feedback, apart, together

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.records import XYXY
    from socialcli.training.feedback import Examples, View

    Bodies = list[tuple[XYXY, records.Keypoints | None]]


@dataclass
class Options:
    pose_backend: str = option("vitpose", "Which keypoint estimator gives feedback.", role="pose")
    pose_model: str = option("", "Its model: hub id or folder.")
    pose_targets: str = option(
        "detector",
        "Where keypoints are: as the detector says, or shards.",
        choices=("detector", "shards"),
    )
    pose_least_score: float = option(
        0.3, "Keypoints of x0 scored below this are not asked for.", at_least=0, at_most=1
    )


class PoseFeedback(Feedback):
    """See `Feedback`."""

    ORDER = 5
    config_type = Options
    ROLE = "pose"
    MEMBER, STAGE = "people.json", "annotate-pose"
    LACKS = "nobody with a body box"
    GATE = "0-700"
    FEATURES = ("pose_targets", "pose_least_score")

    def read(self, config: Any, view: View) -> Bodies:
        """Everybody's body box with their keypoints."""
        return [(body, view.people[number].keypoints) for number, body in view.bodies.items()]

    def tensors(self, scene: Bodies) -> dict[str, Any]:
        import torch

        unseen = [(float("nan"), float("nan"), 0.0)] * len(records.COCO_KEYPOINTS)
        points = [k.points if k is not None and k.layout == "coco17" else unseen for _, k in scene]
        return {
            "pose_boxes": torch.tensor([body for body, _ in scene]),
            "pose_keypoints": torch.tensor(points),
        }

    def load(self, config: Any, loaded: Any) -> PoseWatcher:
        return PoseWatcher(config, loaded)


class PoseWatcher:
    """Eq. 5 with an estimator of heat maps."""

    def __init__(self, config: Any, loaded: Any) -> None:
        from socialcli.losses import pose

        self.estimator = pose.vitpose(loaded.network, loaded.processor)
        self.least = config.pose_least_score
        self.annotated = config.pose_targets == "shards"

    def targets(self, pictures: Tensor, examples: Examples) -> Examples:
        """Keypoints in the estimator's windows, and weights: 1 where a keypoint is visible (by
        annotation) and the estimator is sure enough of it (where it is asked), else 0."""
        from socialcli.losses import pose

        boxes, owners = together(examples, "pose_boxes", pictures.device)
        marked, _ = together(examples, "pose_keypoints", pictures.device)
        high, wide = pictures.shape[-2:]
        if self.annotated:
            points = pose.to_window(marked[..., :2], boxes, wide, high, self.estimator.size)
            weights = (marked[..., 2] > 1).float()
        else:
            estimated = pose.keypoints(self.estimator, pictures, owners, boxes)
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
            together(examples, f"pose_{what}", pictures.device)[0] for what in ("points", "weights")
        )
        return pose.loss(self.estimator, pictures, owners, boxes, points, weights)

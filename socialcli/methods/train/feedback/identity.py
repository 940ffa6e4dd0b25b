"""Identity feedback: faces keep their embeddings (Eq. 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.config import option
from socialcli.training.feedback import Feedback, apart, together

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from socialcli.records import XYXY
    from socialcli.training.feedback import Examples, View


@dataclass
class Options:
    identity_backend: str = option("iresnet", "Which face embedder gives feedback.", role="face")
    identity_model: str = option("", "Its model: a backbone.pth.")
    identity_aligned: bool = option(True, "Align faces that have landmarks; else cut out boxes.")
    identity_normalised: bool = option(True, "Compare directions of embeddings, not raw numbers.")
    least_face: float = option(
        12.0, "Faces smaller than this many pixels a side are left alone.", at_least=0
    )


class Identity(Feedback):
    """See `Feedback`."""

    ORDER = 3
    config_type = Options
    ROLE = "face"
    MEMBER, STAGE = "people.json", "annotate-pose"
    LACKS = "no face"
    GATE = "0-400"
    FEATURES = ("identity_aligned", "least_face")

    def read(self, config: Any, view: View) -> list[records.Face]:
        """Faces that are large enough for an embedding to say something."""
        faces = [person.face for person in view.people.values() if person.face is not None]
        return [face for face in faces if _side(face.xyxy) * view.frame.size >= config.least_face]

    def tensors(self, scene: list[records.Face]) -> dict[str, Any]:
        import torch

        empty = [(float("nan"), float("nan"))] * 5
        return {
            "identity_boxes": torch.tensor([face.xyxy for face in scene]),
            "identity_landmarks": torch.tensor([face.landmarks or empty for face in scene]),
        }

    def load(self, config: Any, loaded: Any) -> IdentityWatcher:
        return IdentityWatcher(config, loaded)


def _side(xyxy: XYXY) -> float:
    return min(xyxy[2] - xyxy[0], xyxy[3] - xyxy[1])


class IdentityWatcher:
    """Eq. 3 with a face embedder."""

    def __init__(self, config: Any, loaded: Any) -> None:

        network = loaded.network
        self.dtype: torch.dtype = next(network.parameters()).dtype
        self.network = lambda crops: network(crops.to(self.dtype))
        self.aligned, self.normalised = config.identity_aligned, config.identity_normalised

    def targets(self, pictures: Tensor, examples: Examples) -> Examples:
        from socialcli.losses import identity

        rows = identity.embed(self.network, pictures, *self._where(pictures, examples))
        parts = apart(rows, examples, "identity_boxes")
        return [{"identity_targets": part} for part in parts]

    def values(self, pictures: Tensor, examples: Examples) -> Tensor:
        from socialcli.losses import identity

        owners, boxes, landmarks = self._where(pictures, examples)
        goal, _ = together(examples, "identity_targets", pictures.device)
        return identity.loss(
            self.network, pictures, owners, goal, boxes, landmarks, self.normalised
        )

    def _where(self, pictures: Tensor, examples: Examples) -> tuple[Tensor, Tensor, Tensor | None]:
        boxes, owners = together(examples, "identity_boxes", pictures.device)
        if not self.aligned:
            return owners, boxes, None
        return owners, boxes, together(examples, "identity_landmarks", pictures.device)[0]

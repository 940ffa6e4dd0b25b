"""Boundary feedback: edges along the subjects' outlines stay (Eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.config import option
from socialcli.errors import UsageError
from socialcli.training.feedback import Feedback
from socialcli.vision import masks as rle

if TYPE_CHECKING:
    import numpy
    from torch import Tensor

    from socialcli.training.feedback import Examples, View


@dataclass
class Options:
    boundary_thickness: int = option(
        3, "Side of the morphological gradient's square, odd pixels.", at_least=3
    )
    boundary_kernel: str = option("4", "Neighbours of the Laplacian: 4 or 8.", choices=("4", "8"))
    boundary_mean: str = option(
        "boundary",
        "Mean over the boundary's pixels, or the picture's.",
        choices=("boundary", "picture"),
    )


class Boundary(Feedback):
    """See `Feedback`."""

    ORDER = 2
    config_type = Options
    MEMBER, STAGE = "masks.json", "segment"
    LACKS = "no mask of a subject"
    GATE = "all"

    def check_options(self, config: Any) -> None:
        if config.boundary_thickness % 2 == 0:
            raise UsageError("--boundary-thickness must be odd and at least 3")

    def read(self, config: Any, view: View) -> numpy.ndarray | None:
        """(size, size) bool: the union of the subjects' masks; of all masks where none is linked
        to an entity. None where the square has no outline."""
        import numpy

        if not view.sample.has("masks.json"):
            return None
        masks = view.sample.record(records.Masks)
        subjects = [m for m in masks.masks if m.entity is not None] or masks.masks
        union = numpy.zeros((view.frame.size, view.frame.size), bool)
        for mask in subjects:
            union |= view.frame.mask(rle.decode(mask.rle))
        return union if union.any() and not union.all() else None

    def tensors(self, scene: numpy.ndarray) -> dict[str, Any]:
        import torch

        return {"boundary_mask": torch.from_numpy(scene)}

    def load(self, config: Any, loaded: Any) -> BoundaryWatcher:
        return BoundaryWatcher(config)


class BoundaryWatcher:
    """No network."""

    def __init__(self, config: Any) -> None:
        self.how = (config.boundary_thickness, config.boundary_kernel, config.boundary_mean)
        self.bytes = config.originals == "picture"  # a reconstruction has no 8-bit values

    def targets(self, pictures: Tensor, examples: Examples) -> Examples:
        pictures = pictures * 127.5 + 127.5
        pictures = pictures.round().byte() if self.bytes else pictures.float()
        return [{"boundary_picture": picture.cpu()} for picture in pictures.clone()]

    def values(self, pictures: Tensor, examples: Examples) -> Tensor:
        import torch

        from socialcli.losses import boundary

        truth = torch.stack([e["boundary_picture"] for e in examples]).to(pictures.device)
        mask = torch.stack([e["boundary_mask"] for e in examples])[:, None].to(pictures.device)
        return boundary.loss(pictures, truth / 127.5 - 1, mask, *self.how)

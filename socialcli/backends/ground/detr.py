"""DETR through transformers: the 80 kinds of things of COCO, by their name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.backends import BackendInfo
from socialcli.backends.ground._detectors import ClassDetector

if TYPE_CHECKING:
    import torch

    from socialcli.backends import ModelSpec

INFO = BackendInfo(
    summary="DETR (ResNet-50): boxes of COCO's 80 classes; knows no other thing, reads no phrases.",
    licence="Apache-2.0",
    model="facebook/detr-resnet-50",
    get="hf download facebook/detr-resnet-50 (which needs pip install timm)",
    size="167 MB",
    packages=("torch", "transformers"),
    fixed=True,
)


class Detr(ClassDetector):
    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """A query is one class or nothing: its best class has that class's probability, the last
        class is nothing."""
        import torch

        sure = logits.softmax(-1)[:, :-1]
        best = sure.argmax(-1, keepdim=True)
        return torch.zeros_like(sure).scatter(-1, best, sure.gather(-1, best))


def load(spec: ModelSpec) -> Detr:
    return Detr(spec, INFO, "DetrForObjectDetection", "DetrImageProcessorPil")

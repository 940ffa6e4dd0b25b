"""RT-DETR through transformers: the 80 kinds of things of COCO, by their name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.backends import BackendInfo
from socialcli.backends.ground._detectors import ClassDetector

if TYPE_CHECKING:
    import torch

    from socialcli.backends import ModelSpec

INFO = BackendInfo(
    summary="RT-DETR (ResNet-50): boxes of COCO's 80 classes; better and faster than DETR.",
    licence="Apache-2.0",
    model="PekingU/rtdetr_r50vd",
    get="hf download PekingU/rtdetr_r50vd",
    size="172 MB",
    packages=("torch", "transformers"),
    fixed=True,
)


class RtDetr(ClassDetector):
    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Each class has a probability of its own."""
        return logits.sigmoid()


def load(spec: ModelSpec) -> RtDetr:
    return RtDetr(spec, INFO, "RTDetrForObjectDetection", "RTDetrImageProcessorPil")

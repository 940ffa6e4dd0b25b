"""SAM 2 through transformers: a newer Segment Anything, for single pictures.

transformers' own picture processor for it needs torchvision, which this project does without; the
few lines that it takes are here. Unlike SAM, the picture is squashed into the square, not padded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo
from socialcli.backends.segment import masks

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.backends.roles import Segment
    from socialcli.records import XYXY

INFO = BackendInfo(
    summary="SAM 2.1 (Hiera-L): a mask for every box, smaller and faster than SAM (ViT-H)",
    licence="Apache-2.0",
    model="facebook/sam2.1-hiera-large",
    get="hf download facebook/sam2.1-hiera-large",
    size="0.9 GB",
    packages=("torch", "transformers"),
)
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Sam2:
    """See `roles.Segmenter`. Options: ``mask_threshold`` (logit, 0), ``prompts`` per pass (32)."""

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends import checkpoints, devices

        load = checkpoints.pretrained
        self.network = load("Sam2Model", spec, INFO.model, INFO.get, dtype=devices.dtype("float32"))
        self.dtype = devices.dtype(spec.dtype)
        self.side = int(self.network.prompt_encoder.input_image_size)
        self.threshold = float(spec.options.get("mask_threshold", 0.0))
        self.prompts = int(spec.options.get("prompts", 32))
        self.device = spec.device
        self.model = checkpoints.describe(spec, INFO.model, {"mask_threshold": self.threshold})

    def segment(self, images: list[Image], boxes: list[list[XYXY]]) -> list[list[Segment]]:
        import torch

        with torch.inference_mode():
            pixels = torch.cat([prepare(image, self.side) for image in images]).to(self.device)
            # Half precision is for the encoder, where the time goes; boxes need all their digits.
            half = self.dtype != torch.float32
            with torch.autocast(pixels.device.type, self.dtype if half else None, enabled=half):
                features = self.network.get_image_embeddings(pixels)
            features = [level.float() for level in features]
            return [
                self._prompted([level[i : i + 1] for level in features], images[i], boxes[i])
                for i in range(len(images))
            ]

    def _prompted(self, features: Any, image: Image, boxes: list[XYXY]) -> list[Segment]:
        import torch

        corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) * self.side
        size = (image.height, image.width)
        segments: list[Segment] = []
        for part in corners.to(self.device).split(self.prompts) if boxes else ():
            # One mask a box: what its authors advise for boxes, which say enough.
            out = self.network(
                image_embeddings=features, input_boxes=part[None], multimask_output=False
            )
            segments += [
                masks.best(logits, scores, self.threshold, size, size, size)
                for logits, scores in zip(out.pred_masks[0], out.iou_scores[0], strict=True)
            ]
        return segments


def prepare(image: Image, side: int) -> Tensor:
    """(1, 3, side, side) float32: the picture squashed into the square, ImageNet's colours."""
    import numpy
    import torch
    import torch.nn.functional as F

    rgb = torch.from_numpy(numpy.array(image.convert("RGB"))).permute(2, 0, 1)[None] / 255
    square = F.interpolate(rgb, (side, side), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    return (square - mean) / std


def load(spec: ModelSpec) -> Sam2:
    return Sam2(spec)

"""Segment Anything through transformers: the default segmenter.

Reads a Hugging Face folder or hub id, and the original ``.pth`` files as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo
from socialcli.backends.segment import masks, official_sam

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.backends import ModelSpec
    from socialcli.backends.roles import Segment
    from socialcli.records import XYXY

INFO = BackendInfo(
    summary="Segment Anything (ViT-H): a mask for every box; reads original .pth files too",
    licence="Apache-2.0",
    model="facebook/sam-vit-huge",
    get="hf download facebook/sam-vit-huge",
    size="2.6 GB",
    packages=("torch", "transformers"),
)


class Sam:
    """See `roles.Segmenter`. Options: ``mask_threshold`` (logit, 0), ``prompts`` per pass (32)."""

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends import checkpoints, devices

        if official_sam.is_file(spec.model):
            network = official_sam.to_transformers(official_sam.read(spec.model), spec.model)
            self.network = network.to(spec.device)
            self.processor = _processor(self.network.config.vision_config.image_size)
        else:
            load = checkpoints.pretrained
            whole = devices.dtype("float32")
            self.network = load("SamModel", spec, INFO.model, INFO.get, dtype=whole)
            # The PIL processor whether or not torchvision is there: one machine, one result.
            self.processor = load("SamImageProcessorPil", spec, INFO.model, INFO.get)
        # Half precision is for the image encoder, where the time goes. The prompt encoder needs
        # all digits: in bfloat16 a box could move by a 256th of the picture.
        self.dtype = devices.dtype(spec.dtype)
        self.network.vision_encoder.to(self.dtype)
        side = self.network.config.vision_config.image_size
        self.padded = (side, side)
        self.threshold = float(spec.options.get("mask_threshold", 0.0))
        self.prompts = int(spec.options.get("prompts", 32))
        self.device = spec.device
        self.model = checkpoints.describe(spec, INFO.model, {"mask_threshold": self.threshold})

    def segment(self, images: list[Image], boxes: list[list[XYXY]]) -> list[list[Segment]]:
        import torch

        with torch.inference_mode():
            inputs = self.processor(images=images, return_tensors="pt")
            pixels = inputs["pixel_values"].to(self.device, self.dtype)
            features = self.network.get_image_embeddings(pixels).float()
            resized = [tuple(int(n) for n in size) for size in inputs["reshaped_input_sizes"]]
            return [
                self._prompted(features[i : i + 1], images[i], boxes[i], resized[i])
                for i in range(len(images))
            ]

    def _prompted(
        self, features: Any, image: Image, boxes: list[XYXY], resized: tuple[int, ...]
    ) -> list[Segment]:
        import torch

        height, width = resized
        corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        corners = (corners * torch.tensor([width, height, width, height])).to(self.device)
        segments: list[Segment] = []
        for start in range(0, len(boxes), self.prompts):
            out = self.network(
                image_embeddings=features,
                input_boxes=corners[None, start : start + self.prompts],
                multimask_output=True,
            )
            segments += [
                masks.best(
                    logits,
                    scores,
                    self.threshold,
                    self.padded,
                    (height, width),
                    (image.height, image.width),
                )
                for logits, scores in zip(out.pred_masks[0], out.iou_scores[0], strict=True)
            ]
        return segments


def _processor(side: int) -> Any:
    """The original preprocessing: longest side to ``side``, ImageNet colours, padded square."""
    from transformers import SamImageProcessorPil

    square = {"height": side, "width": side}
    return SamImageProcessorPil(size={"longest_edge": side}, pad_size=square)


def load(spec: ModelSpec) -> Sam:
    return Sam(spec)

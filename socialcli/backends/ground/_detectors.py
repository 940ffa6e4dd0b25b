"""Detectors of fixed classes as grounders: a phrase is looked for by the class that it means.

They cannot read: "the woman in red" is any person, and a thing that is none of their classes is
never found. `socialcli.vision.classes` says which class a phrase means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.backends import checkpoints
from socialcli.backends.roles import Detection
from socialcli.vision.boxes import area, clip
from socialcli.vision.classes import class_of

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from socialcli.backends import BackendInfo, ModelSpec


class ClassDetector:
    """A `roles.Grounder` over a detector of transformers; ``labels`` are its classes.

    Pictures are looked at one by one, so that none is padded and a result does not depend on the
    company a picture was in.
    """

    def __init__(self, spec: ModelSpec, info: BackendInfo, network: str, processor: str) -> None:
        self.network = checkpoints.pretrained(network, spec, info.model, info.get)
        self.processor = checkpoints.pretrained(processor, spec, info.model, info.get)
        names: dict[int, str] = self.network.config.id2label
        self.labels = [names[number] for number in range(len(names))]
        self.device = spec.device
        self.model = checkpoints.describe(spec, info.model, {})

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """(Q, C) in [0, 1] of a picture's queries; 0 for a class that a query is not."""
        raise NotImplementedError

    def knows(self, phrase: str) -> bool:
        """Whether a phrase means one of its classes."""
        return class_of(phrase, self.labels) is not None

    def ground(
        self,
        images: list[Image],
        phrases: list[list[str]],
        box_threshold: float,
        text_threshold: float,
    ) -> list[list[Detection]]:
        """Boxes of each phrase's class that score above ``box_threshold``, the best first."""
        return [
            self._one(image, asked, box_threshold) if asked else []
            for image, asked in zip(images, phrases, strict=True)
        ]

    def _one(self, image: Image, phrases: list[str], least: float) -> list[Detection]:
        import torch

        wanted = [class_of(phrase, self.labels) for phrase in phrases]
        if all(number is None for number in wanted):
            return []
        pixels = self.processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            out: Any = self.network(pixel_values=pixels.to(self.device, self.network.dtype))
        scores = self.scores(out.logits[0].float()).cpu()
        middle, size = out.pred_boxes[0].float().cpu().split(2, -1)
        boxes = torch.cat([middle - size / 2, middle + size / 2], -1).tolist()
        detections = []
        for phrase, number in enumerate(wanted):
            if number is None:
                continue
            of_phrase = scores[:, number]
            for query in of_phrase.argsort(descending=True, stable=True).tolist():
                box = clip(tuple(boxes[query]))
                if float(of_phrase[query]) > least and area(box) > 0:
                    detections.append(Detection(phrase, box, float(of_phrase[query])))
        return detections

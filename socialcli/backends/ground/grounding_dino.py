"""GroundingDINO through transformers: the default grounder.

The default checkpoint is the Swin-B one, the strongest of the two that were released; paper 000
says "Grounding-DINO" and no more (Social Context Feedback, arXiv 2507.16095, section 4.1). The
smaller Swin-T is
``--model IDEA-Research/grounding-dino-tiny``.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo
from socialcli.backends.ground import phrases as phrases_
from socialcli.backends.ground._remembered import Remembered

if TYPE_CHECKING:
    import numpy

    from socialcli.backends import ModelSpec

INFO = BackendInfo(
    summary="GroundingDINO (Swin-B): open-vocabulary boxes for every phrase",
    licence="Apache-2.0",
    model="IDEA-Research/grounding-dino-base",
    get="hf download IDEA-Research/grounding-dino-base",
    size="0.9 GB",
    packages=("torch", "transformers"),
)


class GroundingDino:
    """See `roles.Grounder`; ``spec.options["phrase_score"]`` is "max" (default) or "mean"."""

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends import checkpoints

        load = checkpoints.pretrained
        self.network = load("GroundingDinoForObjectDetection", spec, INFO.model, INFO.get)
        # The PIL processor whether or not torchvision is there: one machine, one result.
        self.remembered = Remembered(
            load("GroundingDinoImageProcessorPil", spec, INFO.model, INFO.get)
        )
        tokenizer = load("AutoTokenizer", spec, INFO.model, INFO.get)
        self.words = phrases_.vocabulary(tokenizer, self.network.config.max_text_len)
        self.pooling = spec.options.get("phrase_score", "max")
        self.device = spec.device
        _look_once(self.network.model.backbone.conv_encoder.model, self.remembered)
        self.model = checkpoints.describe(spec, INFO.model, {"phrase_score": self.pooling})

    ground = phrases_.ground

    def remember(self) -> None:
        """Keep features of the pictures of each call, of which the next asks for more."""
        self.remembered.keep = True

    def forward(
        self, pixels: Any, texts: list[phrases_.Text]
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        import torch

        ids, mask = phrases_.pad([text.ids for text in texts])
        with torch.inference_mode():
            out = self.network(
                pixel_values=pixels.to(self.device, self.network.dtype),
                input_ids=torch.tensor(ids, device=self.device),
                attention_mask=torch.tensor(mask, device=self.device),
            )
        return out.logits.float().cpu().numpy(), out.pred_boxes.float().cpu().numpy()


def _look_once(backbone: Any, remembered: Remembered) -> None:
    """Have a backbone compute only what is not remembered."""
    compute = backbone.forward

    def forward(pixel_values: Any, **options: Any) -> SimpleNamespace:
        maps = remembered.maps(pixel_values, lambda new: compute(new, **options).feature_maps)
        return SimpleNamespace(feature_maps=tuple(maps))

    backbone.forward = forward


def load(spec: ModelSpec) -> GroundingDino:
    return GroundingDino(spec)

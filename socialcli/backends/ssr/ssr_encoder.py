"""SSR-Encoder (CVPR 2024) with the CLIP vision tower it looks through."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo, ModelSpec
from socialcli.errors import ModelMissing, UsageError
from socialcli.records import Model

if TYPE_CHECKING:
    import torch

CLIP = "openai/clip-vit-large-patch14"
GET_CLIP = f"hf download {CLIP}"
INFO = BackendInfo(
    summary="SSR-Encoder (CVPR 2024): subjects of reference pictures, chosen by text or mask",
    licence="not stated by its authors",
    get="download pytorch_model.bin and pytorch_model_1.bin (the README of "
    "https://github.com/Xiaojiu-z/SSR_Encoder links them) into a folder, then name that folder "
    "as the ssr model",
    size="103 MB",
    packages=("torch", "diffusers", "transformers"),
)


def load(spec: ModelSpec) -> Ssr:
    """Load the encoder's folder ``spec.model`` and the tower ``spec.options["clip"]``.

    Without that option the tower is the folder's ``image_encoder``, else the official one.

    Raises:
        ModelMissing: one of them is not here. UsageError: they do not belong together.
    """
    if not spec.model:
        raise ModelMissing(f"the ssr-encoder backend needs a folder of weights: {INFO.get}")
    return Ssr(spec)


class Ssr:
    """A `roles.SubjectEncoder`."""

    def __init__(self, spec: ModelSpec) -> None:
        from dataclasses import replace

        from socialcli.backends import checkpoints
        from socialcli.models import ssr_layouts

        own = Path(spec.model).expanduser() / "image_encoder"
        tower = spec.options.get("clip") or (own if own.is_dir() else CLIP)
        clip = replace(spec, model=str(tower), revision=None)
        self.encoder = ssr_layouts.load(spec.model, INFO.get)
        self.vision = checkpoints.pretrained("CLIPVisionModel", clip, CLIP, GET_CLIP)
        self.processor = checkpoints.pretrained("CLIPImageProcessorPil", clip, CLIP, GET_CLIP)
        if self.vision.config.hidden_size != self.encoder.image_dim:
            raise UsageError(
                f"{spec.model} looks through a tower {self.encoder.image_dim} wide, {clip.model} "
                f"is {self.vision.config.hidden_size} wide"
            )
        self.vision.requires_grad_(False)
        self.encoder.to(spec.device, checkpoints.dtype(spec.dtype)).requires_grad_(False)
        self.model = Model(
            backend=spec.backend,
            model=spec.model,
            role=spec.role,
            options={"dtype": spec.dtype, "clip": clip.model},
        )

    def features(self, pictures: list[Any]) -> torch.Tensor:
        """(N, scales * T, C): what RGB pictures have, see `models.ssr_encoder.image_features`."""
        pixels = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        return self._features(pixels)

    def nothing(self, count: int) -> torch.Tensor:
        """(count, scales * T, C): the features of zeros, for the unconditional branch."""
        import torch

        size = self.vision.config.image_size
        return self._features(torch.zeros(1, 3, size, size)).expand(count, -1, -1)

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        from socialcli.models.ssr_encoder import image_features

        with torch.no_grad():
            pixels = pixels.to(self.vision.device, self.vision.dtype)
            return image_features(self.vision, pixels, self.encoder.scales)

"""DINO through transformers: the class token of a ViT, as the DINO scores compare it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo, ModelSpec

if TYPE_CHECKING:
    import numpy
    import torch
    from PIL.Image import Image

INFO = BackendInfo(
    summary="DINO (any ViTModel or Dinov2Model of transformers): how alike two pictures look",
    licence="Apache-2.0",
    model="facebook/dino-vits16",
    get="hf download facebook/dino-vits16",
    size="87 MB",
    packages=("torch", "transformers"),
)
PART = 64  # pictures a forward pass
NETWORKS = {"vit": "ViTModel", "dinov2": "Dinov2Model"}


def load(spec: ModelSpec) -> Dino:
    """Load the checkpoint ``spec.model``: a hub id or a folder.

    Raises:
        ModelMissing: it is not here. UsageError: it is no ViTModel or Dinov2Model.
    """
    return Dino(spec)


class Dino:
    """A `roles.PictureEmbedder`.

    Pictures are prepared as the checkpoint's processor says where it cuts out the middle (DINOv2's
    does). DINO's own only squeezes them into a square; DreamBooth's evaluation, which papers quote,
    resizes the shorter side to 8/7 of the square and cuts out the middle, and so does this.
    """

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends import checkpoints
        from socialcli.errors import UsageError

        what = (spec, INFO.model, INFO.get)
        kind = checkpoints.pretrained("AutoConfig", *what).model_type
        if kind not in NETWORKS:
            raise UsageError(
                f"{spec.model or INFO.model}: a {kind} is no DINO; wanted: {', '.join(NETWORKS)}. "
                f"A right one: {INFO.get}"
            )
        # A classifier's pooling layer plays no part here, and DINO's checkpoints have none.
        extra: dict[str, Any] = {"add_pooling_layer": False} if kind == "vit" else {}
        self.network = checkpoints.pretrained(NETWORKS[kind], *what, **extra)
        # The PIL processor whether or not torchvision is there: one machine, one result.
        own = checkpoints.pretrained("AutoImageProcessor", *what, backend="pil")
        self.processor = own if getattr(own, "do_center_crop", False) else _dreambooth(own)
        self.model = checkpoints.describe(spec, INFO.model, {})

    def images(self, images: list[Image]) -> numpy.ndarray:
        """(N, D) float32, each row of length 1: one class token per RGB picture of any size."""
        import numpy
        import torch
        from torch.nn import functional

        rows = [numpy.zeros((0, self.network.config.hidden_size), numpy.float32)]
        with torch.inference_mode():
            for start in range(0, len(images), PART):
                part = images[start : start + PART]
                values = self.processor(images=part, return_tensors="pt")["pixel_values"]
                features = self.embed(values.to(self.network.device, self.network.dtype))
                rows.append(functional.normalize(features.float(), dim=-1).cpu().numpy())
        return numpy.concatenate(rows)

    def embed(self, values: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) as `pixels` gives it -> (B, D) class tokens, any length; differentiable."""
        return self.network(pixel_values=values).last_hidden_state[:, 0]

    def pixels(self, pictures: torch.Tensor) -> torch.Tensor:
        """The same preparation as a differentiable function.

        Args:
            pictures: (B, 3, H, W) float in [0, 1], any size.

        Returns:
            (B, 3, S, S) for `embed`: shorter side resized (bicubic, antialiased), the middle cut
            out, normalised; on the network's device, in its dtype.
        """
        import torch
        from torch.nn import functional

        from socialcli.backends.clip.clip import resized

        recipe = self.processor
        values = pictures.to(self.network.device, torch.float32)
        size = resized(tuple(values.shape[-2:]), recipe.size)
        if size != tuple(values.shape[-2:]):
            values = functional.interpolate(values, size, mode="bicubic", antialias=True)
            values = values.clamp(0, 1)  # bicubic overshoots; a picture cannot
        high, wide = recipe.crop_size["height"], recipe.crop_size["width"]
        top, left = (values.shape[-2] - high) // 2, (values.shape[-1] - wide) // 2
        values = values[..., top : top + high, left : left + wide]
        mean, std = (
            torch.tensor(v, device=values.device).view(1, 3, 1, 1)
            for v in (recipe.image_mean, recipe.image_std)
        )
        return ((values - mean) / std).to(self.network.dtype)


def _dreambooth(own: Any) -> Any:
    """Resize the shorter side to 8/7 of the square (256 for 224), bicubic; cut out the middle."""
    from transformers import BitImageProcessorPil

    side = own.size["height"]
    return BitImageProcessorPil(
        size={"shortest_edge": side * 8 // 7},
        crop_size={"height": side, "width": side},
        image_mean=own.image_mean,
        image_std=own.image_std,
    )

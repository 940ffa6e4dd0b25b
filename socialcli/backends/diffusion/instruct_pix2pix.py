"""InstructPix2Pix (CVPR 2023): a Stable Diffusion that changes a picture as a sentence says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.backends import BackendInfo, ModelSpec
from socialcli.backends.diffusion import stable_diffusion
from socialcli.backends.diffusion.stable_diffusion import StableDiffusion

if TYPE_CHECKING:
    import torch

INFO = BackendInfo(
    summary="InstructPix2Pix: changes a picture as a sentence says (--method instruct-pix2pix)",
    licence="MIT (weights); CreativeML OpenRAIL-M (Stable Diffusion 1.5 below)",
    model="timbrooks/instruct-pix2pix",
    get="hf download timbrooks/instruct-pix2pix --exclude '*.ckpt' '*.bin' "
    "'instruct-pix2pix-*.safetensors'",
    size="5.5 GB",
    packages=("torch", "diffusers", "transformers"),
    method="instruct-pix2pix",
)


def load(spec: ModelSpec) -> InstructPix2Pix:
    """Load ``spec.model``: a diffusers folder, a hub id or a single ``.safetensors`` file.

    Raises:
        ModelMissing: it is not here. UsageError: it is another model, or lacks weights.
    """
    return InstructPix2Pix(spec)


class InstructPix2Pix(StableDiffusion):
    """A `roles.Diffusion` whose UNet reads twice the latents' channels: the noisy latents, and
    behind them those of the picture that is changed (`source`)."""

    info: ClassVar[BackendInfo] = INFO

    def refuse_others(self, model: str, unet: Any, vae: Any) -> None:
        stable_diffusion.refuse_others(self.info, model, unet, vae, times=2)

    def source(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the UNet is shown of pictures (B, 3, H, W) in [-1, 1]: (B, C, h, w), the mode of the
        autoencoder's posterior, which is not scaled as latents that are drawn are."""
        pixels = pixels.to(self.device, self.vae.dtype)
        mode: torch.Tensor = self.vae.encode(pixels).latent_dist.mode()
        return mode

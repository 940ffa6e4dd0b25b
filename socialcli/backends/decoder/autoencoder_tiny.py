"""AutoencoderTiny (TAESD) and what `train --method tiny-decoder` writes: a small decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo, ModelSpec, is_path, where
from socialcli.errors import ModelMissing, UsageError

if TYPE_CHECKING:
    import torch

INFO = BackendInfo(
    summary="AutoencoderTiny in diffusers' form; the default one decodes Stable Diffusion 1.x, 2.x",
    licence="MIT",
    model="madebyollin/taesd",
    get="hf download madebyollin/taesd --include config.json diffusion_pytorch_model.safetensors",
    size="10 MB",
    packages=("torch", "diffusers"),
)


def load(spec: ModelSpec) -> AutoencoderTiny:
    """Load the decoder in ``spec.model``: a folder, or a hub id that is here.

    Raises:
        ModelMissing: it is not here. UsageError: it is another kind of model.
    """
    return AutoencoderTiny(spec)


class AutoencoderTiny:
    """A `roles.Decoder`: `networks.tiny_decoder`, frozen."""

    network: Any

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends import checkpoints, devices
        from socialcli.networks import tiny_decoder

        self.name = spec.model or INFO.model
        place = self.name if is_path(self.name) else where(self.name)
        if place is None:
            raise ModelMissing(f"{self.name} is not on this machine. Get it with: {INFO.get}")
        network = tiny_decoder.load(place, INFO.get).requires_grad_(False)
        self.network = network.to(spec.device, devices.dtype(spec.dtype))
        self.model = checkpoints.describe(spec, INFO.model, {})

    def check(self, diffusion: Any) -> None:
        """Raises UsageError where it decodes latents of another kind of diffusion model."""
        own = (self.network.channels, self.network.factor)
        wanted = (diffusion.vae.config.latent_channels, diffusion.factor)
        if own != wanted:
            raise UsageError(
                f"{self.name}: a decoder of another diffusion model: {own[0]} channels and "
                f"{own[1]} pixels a side of a latent, the model has {wanted[0]} and {wanted[1]}"
            )

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, H, W) of scaled latents, about [-1, 1], not clamped; differentiable."""
        weight = next(self.network.parameters())
        return self.network(latents.to(weight.device, weight.dtype))

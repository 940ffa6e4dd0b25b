"""A trained model as a folder in diffusers' layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def save(diffusion: Any, folder: Path, metadata: dict[str, str]) -> None:
    """The whole model; the record stands in the UNet's header.

    Args:
        diffusion: a `roles.Diffusion`.
    """
    from socialcli.backends.quiet import quiet_stderr
    from socialcli.networks import weights

    with quiet_stderr():  # it warns of parts that are not used here
        from diffusers import StableDiffusionPipeline
    pipeline: Any = StableDiffusionPipeline(
        vae=diffusion.vae, text_encoder=diffusion.text_encoder, tokenizer=diffusion.tokenizer,
        unet=diffusion.unet, scheduler=diffusion.scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder, max_shard_size="1TB")
    weights.forget_places(folder)
    weights.annotate(folder / "unet" / "diffusion_pytorch_model.safetensors", metadata)

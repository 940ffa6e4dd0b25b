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
    from socialcli.networks import weights

    pipeline: Any = diffusion.pipeline()
    pipeline.save_pretrained(folder, max_shard_size="1TB")
    weights.forget_places(folder)
    weights.annotate(folder / "unet" / "diffusion_pytorch_model.safetensors", metadata)

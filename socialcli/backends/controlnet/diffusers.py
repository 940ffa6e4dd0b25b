"""ControlNet through diffusers: a copy of the UNet's way down that reads a drawing."""

from __future__ import annotations

from typing import Any

from socialcli.backends import BackendInfo, ModelSpec

INFO = BackendInfo(
    summary="ControlNet in diffusers' form; the default one reads OpenPose skeletons (SD 1.5)",
    licence="CreativeML OpenRAIL-M",
    model="lllyasviel/control_v11p_sd15_openpose",
    get="hf download lllyasviel/control_v11p_sd15_openpose",
    size="1.4 GB",
    packages=("torch", "diffusers"),
)


def load(spec: ModelSpec) -> ControlNet:
    """Load the checkpoint ``spec.model``: a hub id or a folder.

    Raises:
        ModelMissing: it is not here. UsageError: it is no ControlNet.
    """
    return ControlNet(spec)


class ControlNet:
    """A `roles.Control`: diffusers' ControlNetModel, frozen."""

    network: Any

    def __init__(self, spec: ModelSpec) -> None:
        import diffusers

        from socialcli.backends import checkpoints

        network = checkpoints.pretrained(diffusers.ControlNetModel, spec, INFO.model, INFO.get)
        self.network = network.requires_grad_(False)
        self.model = checkpoints.describe(spec, INFO.model, {})

    def check(self, unet: Any, name: str) -> None:
        """Raises UsageError where it does not belong to a UNet of these widths."""
        from socialcli.errors import UsageError

        own, wanted = self.network.config, unet.config
        for part in ("cross_attention_dim", "block_out_channels", "addition_embed_type"):
            if _plain(own[part]) != _plain(wanted[part]):
                raise UsageError(
                    f"{name}: a ControlNet of another diffusion model: {part} is {own[part]}, "
                    f"the UNet has {wanted[part]}"
                )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value

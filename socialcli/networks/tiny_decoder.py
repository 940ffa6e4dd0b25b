"""Small decoders of latents, in the layout of diffusers' `AutoencoderTiny` (TAESD).

A decoder of plain 3x3 convolutions of one width, ReLU and nearest-neighbour upsampling: no
normalisation and no attention, so that a pixel depends on nearby latents alone. It reads latents
as the UNet has them. A folder holds ``config.json`` and ``diffusion_pytorch_model.safetensors``;
of the weights only those under ``decoder.`` are read and written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from socialcli.errors import UsageError
from socialcli.networks import weights

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
PREFIX = "decoder."


class TinyDecoder(nn.Module):
    """Scaled latents (B, C, h, w) -> pictures (B, 3, h * factor, w * factor), about [-1, 1].

    Attributes:
        decoder: diffusers' DecoderTiny. config: the AutoencoderTiny's.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        import diffusers

        super().__init__()
        # diffusers writes this name and warns of it when it reads it again.
        given = {name: value for name, value in config.items() if name != "block_out_channels"}
        known: Any = diffusers.AutoencoderTiny.from_config(given)
        self.decoder: nn.Module = known.decoder
        self.config: dict[str, Any] = {k: v for k, v in known.config.items() if k[0] != "_"}

    @property
    def factor(self) -> int:
        """Pixels along one side of a latent."""
        stages = len(self.config["decoder_block_out_channels"])
        return int(self.config["upsampling_scaling_factor"] ** (stages - 1))

    @property
    def channels(self) -> int:
        """Of the latents."""
        return int(self.config["latent_channels"])

    def forward(self, latents: Tensor) -> Tensor:
        scale, shift = self.config["scaling_factor"], self.config["shift_factor"] or 0.0
        pictures: Tensor = self.decoder(latents / scale + shift)
        return pictures


def create(channels: int, width: int, blocks: list[int]) -> TinyDecoder:
    """A decoder that knows nothing yet.

    Args:
        channels: of the latents. width: channels of every layer (TAESD: 64).
        blocks: residual blocks at each size of the picture, the latents' first; each size is twice
            the one before (TAESD: 3, 3, 3, 1).

    Raises:
        UsageError: a width or a number of blocks that no network has.
    """
    if width < 1 or not blocks or min(blocks) < 0:
        raise UsageError(f"no decoder of width {width} with blocks {blocks}")
    stages = len(blocks)
    config = {
        "latent_channels": channels,
        "decoder_block_out_channels": [width] * stages,
        "num_decoder_blocks": blocks,
        # There is no encoder in what is written; a configuration names one all the same.
        "encoder_block_out_channels": [width] * stages,
        "num_encoder_blocks": [1] + [3] * (stages - 1),
    }
    return TinyDecoder(config)


def load(folder: str | Path, get: str = "") -> TinyDecoder:
    """The decoder in a folder, float32, eval mode.

    Raises:
        ModelMissing: it is not there; ``get`` is the command that gets it.
        UsageError: the folder holds another kind of model.
    """
    place = Path(folder).expanduser()
    state = weights.read(place / WEIGHTS, "AutoencoderTiny", get)
    try:
        config = json.loads((place / CONFIG).read_text(encoding="utf-8"))
        if config.get("_class_name") != "AutoencoderTiny":
            raise ValueError(f"it is an {config.get('_class_name')}, not an AutoencoderTiny")
        with torch.device("meta"):
            network = TinyDecoder(config)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder}: no small decoder ({error})") from None
    own = {name: value for name, value in state.items() if name.startswith(PREFIX)}
    weights.fill(network, own, folder, "AutoencoderTiny")
    return network


def save(network: TinyDecoder, folder: str | Path, notes: Mapping[str, str]) -> None:
    """Write `CONFIG` and `WEIGHTS` (half precision) in a folder; ``notes`` go into the header."""
    folder = Path(folder)
    config = {"_class_name": "AutoencoderTiny", **network.config}
    text = json.dumps(config, indent=2, sort_keys=True)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    state = {n: v.detach().half().cpu().contiguous() for n, v in network.state_dict().items()}
    weights.write(folder / WEIGHTS, state, {"format": "pt", **notes})

"""A small decoder learns what a model's own decoder makes of latents: previews and cheap feedback.

The result is a folder in the layout of diffusers' AutoencoderTiny (TAESD), without an encoder, for
`train --method feedback --decoder tiny --decoder-model FOLDER`. Latents are those of the pictures,
moved away by noise, since estimates of clean latents are never exact. Besides each picture the
small decoder is asked how it changes when the latents do (`losses.response`): gradients pass it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.backends import ModelSpec, variants
from socialcli.config import option
from socialcli.errors import UsageError
from socialcli.training.method import TrainMethod
from socialcli.training.options import TrainingOptions

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image
    from torch import Tensor

    from socialcli.networks.tiny_decoder import TinyDecoder
    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.training.place import Place

SHOWN = 4  # pictures of a validation grid


@dataclass
class Config(TrainingOptions):
    FIRST: ClassVar[tuple[str, ...]] = (*TrainingOptions.FIRST, "width", "blocks")
    GROUPS: ClassVar[dict[str, str]] = {
        "backend": "Model and pictures",
        "width": "The small decoder",
        "noise": "What it learns",
    }

    learning_rate: float = option(1e-3, "Peak learning rate.", above=0)
    schedule: str = option(
        "cosine", "Learning rate after warm-up: constant, linear, cosine.",
        choices=("constant", "linear", "cosine"),
    )  # fmt: skip
    weight_decay: float = option(0.0, "Weight decay.", at_least=0)
    backend: str = option("stable-diffusion", "Diffusion backend.", role="diffusion")
    model: str = option("", "Diffusion checkpoint whose decoder is learnt from.")
    revision: str | None = option(None, "Branch, tag or commit of a hub checkpoint.")
    variant: str | None = option(
        None, "Which of several copies of its weights: fp16, bf16, ..., or plain (default: plain, "
        "else the copy that is there)."
    )  # fmt: skip
    size: int = option(
        0, "Side of the square that is trained on, pixels; 0: the model's own.", at_least=0
    )
    crop: str = option(
        "random",
        "Which square, once the shortest side fits: random, centre.",
        choices=("random", "centre"),
    )
    flip: float = option(0.5, "Probability of mirroring.", at_least=0, at_most=1)
    width: int = option(64, "Channels of its layers; TAESD has 64.", at_least=1)
    blocks: str = option(
        "", "Residual blocks at each size, the latents' first, with commas (default: as TAESD, 3 "
        "at each and 1 at the picture's own)."
    )  # fmt: skip
    noise: float = option(
        0.5, "Latents are moved by noise of a deviation drawn from 0 to this.", at_least=0
    )
    step: float = option(0.3, "Deviation of the change that both decoders answer to.", above=0)
    weight_response: float = option(0.5, "Weight of that answer.", at_least=0)


@dataclass
class State:
    """The decoder that learns, and the model it learns from."""

    config: Config
    place: Place
    diffusion: Any
    network: TinyDecoder
    side: int  # pixels


class TinyDecoderMethod(TrainMethod):
    """See `TrainMethod`."""

    VERSION = 1
    FEATURES = ("backend", "model", "revision", "variant", "size", "crop", "flip")
    config_type = Config

    def check_options(self, config: Config) -> None:
        if config.blocks:
            _numbers(config.blocks)

    def models(self, config: Config) -> list[ModelSpec]:
        own = variants.options(config.variant)
        return [ModelSpec("diffusion", config.backend, config.model, config.revision, options=own)]

    def load(self, config: Config, place: Place) -> State:
        """The model frozen in ``place.dtype``, a new small decoder in float32.

        Raises:
            UsageError: ``--blocks`` has another number of sizes than the model's decoder.
        """
        import dataclasses

        from socialcli import backends
        from socialcli.diffusion import latents
        from socialcli.networks import tiny_decoder

        (spec,) = self.models(config)
        dtype = str(place.dtype).removeprefix("torch.")
        diffusion = backends.load(dataclasses.replace(spec, device=str(place.device), dtype=dtype))
        sizes = diffusion.factor.bit_length()
        blocks = _numbers(config.blocks) if config.blocks else [3] * (sizes - 1) + [1]
        if len(blocks) != sizes:
            raise UsageError(
                f"--blocks {config.blocks}: the model's decoder has {sizes} sizes of picture, "
                f"from the latents' to {diffusion.factor} times that"
            )
        channels = diffusion.vae.config.latent_channels
        network = tiny_decoder.create(channels, config.width, blocks).to(place.device)
        side = latents.size(diffusion, config.size)
        return State(config, place, diffusion, network, side)

    def trainable(self, state: State) -> Any:
        return state.network

    def compiled(self, state: Any) -> list[Any]:
        return [state.network, state.diffusion.vae.decoder]

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``pixels`` (3, S, S) in [-1, 1]."""
        from socialcli.diffusion import latents
        from socialcli.training import geometry
        from socialcli.vision import images

        image = images.decode(sample.picture())
        config, rng = state.config, variant.random
        frame = geometry.choose(
            image.width, image.height, state.side, rng, config.crop, config.flip
        )
        return {"pixels": latents.pixels(frame.picture(image))}

    def features(self, state: State, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """``mean`` and ``deviation`` (C, h, w) of the latents, scaled for the UNet."""
        import torch

        from socialcli.diffusion import latents

        pictures = torch.stack([e["pixels"] for e in examples])
        means, deviations = latents.moments(state.diffusion, pictures)
        return [{"mean": m, "deviation": d} for m, d in zip(means, deviations, strict=True)]

    def losses(self, state: State, batch: dict[str, Any], draw: Draw) -> dict[str, Tensor]:
        """``reconstruction`` and ``response`` (B,)."""
        from socialcli.losses import response

        config, mean = state.config, batch["mean"]
        shape = mean.shape[1:]
        moved = draw.uniform("how far").to(mean).mul(config.noise).view(-1, 1, 1, 1)
        latents = mean + batch["deviation"] * draw.normal("posterior", *shape).to(mean)
        latents = latents + moved * draw.normal("noise", *shape).to(mean)
        change = config.step * draw.normal("change", *shape).to(mean)
        return response.compare(state.network, lambda z: _exact(state, z), latents, change)

    def weights(self, config: Config) -> dict[str, float]:
        return {"reconstruction": 1.0, "response": config.weight_response}

    def validate(self, state: State) -> list[tuple[str, Image]]:
        """What both decoders make of the data's first pictures."""
        import itertools

        import torch

        from socialcli.diffusion import latents
        from socialcli.training import examples

        shown: list[tuple[str, Image]] = []
        usable = examples.usable(self, state, state.config.seed)
        for sample, example in itertools.islice(usable, SHOWN):
            with torch.no_grad():
                mean, _ = latents.moments(state.diffusion, example["pixels"][None])
                both = torch.cat([_exact(state, mean), state.network(mean)])
            own, small = latents.pictures(both)
            shown += [(f"{sample.key}, the model's own", own), (f"{sample.key}, small", small)]
        return shown

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """The decoder as `networks.tiny_decoder` reads it."""
        from socialcli.networks import tiny_decoder

        tiny_decoder.save(state.network, folder, metadata)


def _exact(state: State, latents: Tensor) -> Tensor:
    """What the model's own decoder makes of latents, float32, without gradient."""
    import torch

    with torch.no_grad(), torch.autocast(state.place.device.type, enabled=False):
        pictures: Tensor = state.diffusion.decode(latents.to(state.place.dtype))
    return pictures.float()


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--blocks {text}: numbers with commas, as in 3,3,3,1") from None

"""Plain fine-tuning: the UNet learns to denoise the pictures, given their captions.

The result is a folder in diffusers' layout: the model with its UNet replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.backends import ModelSpec, variants
from socialcli.config import option
from socialcli.diffusion import options
from socialcli.errors import UsageError
from socialcli.training import fields
from socialcli.training.method import TrainMethod
from socialcli.training.options import TrainingOptions

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image
    from torch import Tensor

    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.training.place import Place


@dataclass
class Config(TrainingOptions):
    GROUPS: ClassVar[dict[str, str]] = {"backend": "Model, pictures and texts"}

    learning_rate: float = option(1e-5, "Peak learning rate.", above=0)
    backend: str = options.backend()
    model: str = options.model()
    revision: str | None = options.revision()
    variant: str | None = options.variant()
    size: int = fields.size()
    crop: str = fields.crop("random")
    flip: float = fields.mirror()
    caption_drop: float = option(
        0.1, "Probability that the UNet is not told the caption.", at_least=0, at_most=1
    )
    prompt: list[str] = option(
        [], "Drawn by --validate-every. Repeatable.", affects_result=False, only="validate_every"
    )
    sampling_steps: int = fields.sampling_steps()
    guidance: float = fields.guidance(5.0)


@dataclass
class State:
    """The model, and what is the same for every step."""

    config: Config
    place: Place
    diffusion: Any
    alphas_cumprod: Tensor
    prediction_type: str
    side: int  # pixels
    nothing: Any  # a `conditioning.Text`: what stands where no caption is given


class TextToImageMethod(TrainMethod):
    """See `TrainMethod`."""

    VERSION = 1
    TWO_ENCODERS = True
    READS = ("caption.json",)
    FEATURES = ("backend", "model", "revision", "variant", "size", "crop", "flip")
    config_type = Config

    def check_options(self, config: Config) -> None:
        if config.validate_every and not config.prompt:
            raise UsageError("--validate-every draws the texts of --prompt; there are none")

    def models(self, config: Config) -> list[ModelSpec]:
        own = variants.options(config.variant)
        return [ModelSpec("diffusion", config.backend, config.model, config.revision, options=own)]

    def check(self, config: Config, sample: Sample) -> None:
        _caption(sample)

    def load(self, config: Config, place: Place) -> State:
        """The model, its UNet in float32, the rest in ``place.dtype``."""
        import dataclasses

        import torch

        from socialcli import backends
        from socialcli.diffusion import conditioning, schedule
        from socialcli.diffusion import latents as common

        (spec,) = self.models(config)
        diffusion = backends.load(dataclasses.replace(spec, device=str(place.device)))
        diffusion.cast(place.dtype, kept=[diffusion.unet])
        diffusion.unet.requires_grad_(True)
        if config.gradient_checkpointing:
            diffusion.unet.enable_gradient_checkpointing()
        alphas_cumprod, prediction_type = schedule.schedule(diffusion.scheduler)
        with torch.no_grad():
            (empty,) = conditioning.encode(diffusion, [""])
            nothing = conditioning.no_text(diffusion, empty)
        side = common.size(diffusion, config.size)
        return State(config, place, diffusion, alphas_cumprod, prediction_type, side, nothing)

    def trainable(self, state: State) -> Any:
        return state.diffusion.unet

    def compiled(self, state: Any) -> list[Any]:
        return [state.diffusion.unet]

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``pixels`` (3, S, S) in [-1, 1] and ``caption``."""
        from socialcli.diffusion import latents as common
        from socialcli.networks.micro_conditioning import time_ids
        from socialcli.training import geometry
        from socialcli.vision import images

        image = images.decode(sample.picture())
        config, rng = state.config, variant.random
        frame = geometry.choose(
            image.width, image.height, state.side, rng, config.crop, config.flip
        )
        sizes = {}
        if len(state.diffusion.encoders) > 1:
            whole, side = (image.height, image.width), (frame.size, frame.size)
            sizes = {"time_ids": time_ids(whole, frame.corner, side)}
        return {"pixels": common.pixels(frame.picture(image)), "caption": _caption(sample), **sizes}

    def features(self, state: State, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """``mean`` and ``deviation`` (C, h, w) of the latents, ``states`` (L, D) of the caption; of
        Stable Diffusion XL also ``pooled`` (P,) and ``time_ids`` (6,)."""
        import torch

        from socialcli.diffusion import latents as common

        pictures = torch.stack([e["pixels"] for e in examples])
        means, deviations = common.moments(state.diffusion, pictures)
        states, pooled = state.diffusion.encoded([e["caption"] for e in examples])
        rows = [
            {"mean": m, "deviation": d, "states": s}
            for m, d, s in zip(means, deviations, states, strict=True)
        ]
        if pooled is None:
            return rows
        return [
            {**row, "pooled": own, "time_ids": e["time_ids"]}
            for row, own, e in zip(rows, pooled, examples, strict=True)
        ]

    def unread(self, state: State, example: dict[str, Any]) -> str:
        return str(state.diffusion.unread(example["caption"]))

    def losses(self, state: State, batch: dict[str, Any], draw: Draw) -> dict[str, Tensor]:
        """``denoise`` (B,)."""
        import torch

        from socialcli.diffusion import latents as common
        from socialcli.diffusion.conditioning import of_encoded

        conditional, nothing = batch["states"].float(), state.nothing
        dropped = draw.uniform("caption").to(conditional) < state.config.caption_drop
        empty = getattr(nothing, "states", nothing).float()
        given = of_encoded(torch.where(dropped[:, None, None], empty, conditional))
        if "pooled" in batch:
            pooled = torch.where(dropped[:, None], nothing.pooled.float(), batch["pooled"].float())
            added = {"text_embeds": pooled, "time_ids": batch["time_ids"].to(pooled)}
            given = given.adding(lambda _: {"added_cond_kwargs": added})
        value = common.denoising(
            state.diffusion,
            state.alphas_cumprod,
            state.prediction_type,
            batch["mean"],
            batch["deviation"],
            given,
            draw,
        )
        return {"denoise": value}

    def weights(self, config: Config) -> dict[str, float]:
        return {"denoise": 1.0}

    def validate(self, state: State) -> list[tuple[str, Image]]:
        from socialcli.diffusion import latents as common

        config = state.config
        return common.look(
            state.diffusion, config.prompt, config.prompt, state.side, config.sampling_steps,
            config.guidance,
        )  # fmt: skip

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """The whole model in diffusers' layout; the record stands in the UNet's header."""
        from socialcli.methods.train import _pipeline

        _pipeline.save(state.diffusion, folder, metadata)


def _caption(sample: Sample) -> str:
    from socialcli import records

    return sample.record(records.Caption).text

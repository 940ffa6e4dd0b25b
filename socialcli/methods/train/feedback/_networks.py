"""The networks of a feedback run: loaded, checked against each other, and what is asked of them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli import backends, shards
from socialcli.backends import ModelSpec
from socialcli.errors import UsageError
from socialcli.methods.train.feedback._options import (
    NEW,
    SSR_GET,
    base_spec,
    decoder_spec,
    gates,
    specs,
    wanted,
)

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from socialcli.training.place import Place

BINS = 20  # parts of the timesteps in which --write-curves averages


@dataclass
class State:
    """Everything a run keeps: the trained encoder and the frozen networks around it."""

    config: Any
    place: Place
    encoder: Any  # networks.ssr_encoder.SSREncoder, the only trained part
    base: Any  # backends.roles.Diffusion
    vision: Any
    processor: Any
    alphas_cumprod: Tensor  # (T,) float64, on the CPU
    prediction_type: str  # what the UNet predicts, see diffusion.schedule
    gates: dict[str, Any]  # feedback -> timesteps.Gate
    watch: dict[str, Any]  # feedback -> its `training.feedback.Watcher`
    side: int  # of the square that is trained on, pixels
    small: Any = None  # backends.roles.Decoder in place of the base's own, for what detectors see
    nothing: Any = None  # (T, D): the text states of ""
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.watch)

    def mixed(self) -> Any:
        """What trains is float32; beside half-precision networks it computes as they do."""
        import torch

        half = self.place.dtype != torch.float32
        if not half:
            return contextlib.nullcontext()
        return torch.autocast(self.place.device.type, self.place.dtype)

    def exact(self) -> Any:
        """Frozen networks compute in the type their weights have, whatever is mixed outside."""
        import torch

        return torch.autocast(self.place.device.type, enabled=False)

    def decode(self, latents: Tensor) -> Tensor:
        """Eq. 1's second half: scaled latents (B, C, h, w) -> pictures (B, 3, H, W), about
        [-1, 1], float32, by the decoder that ``--decoder`` names. With gradient checkpointing the
        decoder's activations are not kept."""
        from torch.utils.checkpoint import checkpoint

        latents = latents.to(self.place.dtype)
        decoder = self.base if self.small is None else self.small
        if self.config.gradient_checkpointing and latents.requires_grad:
            return checkpoint(decoder.decode, latents, use_reentrant=False).float()
        return decoder.decode(latents).float()

    def remember(self, name: str, steps: Tensor, values: Tensor) -> None:
        """Values of one feedback, for --write-curves."""
        if self.config.write_curves:
            pairs = zip(steps.tolist(), values.tolist(), strict=True)
            self.curves.setdefault(name, []).extend(pairs)

    def write_curves(self) -> None:
        """Mean of each feedback in each part of the timesteps, as timesteps.read_curves reads it.

        A part that no sample fell into takes the mean of its nearest neighbours.
        """
        import json

        import numpy

        if not self.config.write_curves or not self.curves:
            return
        curves_by_name = {}
        for name, pairs in self.curves.items():
            steps, values = numpy.array(pairs).T
            parts = (steps * BINS // len(self.alphas_cumprod)).astype(int)
            count = numpy.bincount(parts, minlength=BINS)
            total = numpy.bincount(parts, values, minlength=BINS)
            filled = count > 0
            at = numpy.arange(BINS)
            curves_by_name[name] = numpy.interp(
                at, at[filled], total[filled] / count[filled]
            ).tolist()
        text = json.dumps(
            {"samples": {n: len(p) for n, p in self.curves.items()}, **curves_by_name}
        )
        shards.write_bytes(self.config.write_curves, text.encode() + b"\n")

    def draw(self, samples: list[dict[str, Any]]) -> list[Image]:
        """UniPC from fixed noise, one picture for each of `feedback.prepare`'s samples."""
        import torch

        from socialcli.diffusion import sampling
        from socialcli.diffusion.conditioning import Conditioning
        from socialcli.diffusion.latents import pictures
        from socialcli.networks.ssr_encoder import image_features

        config, base, count = self.config, self.base, len(samples)
        reference = torch.stack([s["reference"] for s in samples]).to(self.vision.device)
        both = torch.cat([torch.zeros_like(reference), reference]).to(self.vision.dtype)
        texts, queries = ([""] * count + [s[n] for s in samples] for n in ("caption", "query"))
        generators = [sampling.generator(config.seed + number) for number in range(count)]
        with torch.no_grad(), self.mixed():
            features = image_features(self.vision, both, self.encoder.scales)
            subject = self.encoder.subject_tokens(features, base.prompts(queries))
            condition = self.encoder.condition(
                base.prompts(texts), [subject], [config.subject_scale]
            )
            latents = sampling.denoise(
                base.unet, sampling.scheduler("UniPCMultistepScheduler", base.scheduler),
                generators, base.latent_shape(self.side, self.side),
                Conditioning(condition), config.validation_steps, config.guidance,
            )  # fmt: skip
        with torch.no_grad(), self.exact():
            return pictures(base.decode(latents.to(self.place.dtype)).float())


def load(config: Any, place: Place) -> State:
    """Load everything, the small first, and see that it fits.

    Raises:
        ModelMissing: a model is not here. UsageError: two models do not fit each other.
    """
    from socialcli.backends.ssr.ssr_encoder import tower
    from socialcli.diffusion import latents as diffusion
    from socialcli.diffusion import schedule
    from socialcli.networks import ssr_layouts
    from socialcli.networks.ssr_encoder import SSREncoder

    dtype = str(place.dtype).removeprefix("torch.")
    clip = ModelSpec("clip", "clip", config.clip_model, None, str(place.device), dtype)
    # In float32 whatever the others have: this is what is trained.
    encoder = None if config.ssr_model == NEW else ssr_layouts.load(config.ssr_model, SSR_GET)
    seen = tower(clip)
    if encoder is not None:
        seen.join(encoder, config.ssr_model)
    base = backends.load(base_spec(config, str(place.device), dtype))
    small = decoder_spec(config, str(place.device), dtype)
    decoder = backends.load(small) if small else None
    if decoder is not None:
        decoder.check(base)
    if encoder is None:
        width = base.unet.config.cross_attention_dim
        encoder = SSREncoder.create(base.unet, seen.network.config, width)
        seen.join(encoder, config.ssr_model)
    encoder.attach(base.unet, config.ssr_model)
    encoder.float().to(place.device).requires_grad_(True)
    if config.gradient_checkpointing:
        base.unet.enable_gradient_checkpointing()
        base.unet.train()  # diffusers checkpoints in training mode only; there is no dropout in it
    watch = watchers(config, place)
    alphas_cumprod, prediction_type = schedule.schedule(base.scheduler)
    side = diffusion.size(base, config.size)
    nothing = base.prompts([""])[0].detach()
    return State(
        config, place, encoder, base, seen.network, seen.processor, alphas_cumprod,
        prediction_type, gates(config), watch, side, decoder, nothing,
    )  # fmt: skip


def watchers(config: Any, place: Place) -> dict[str, Any]:
    """Every wanted feedback by name, its network frozen.

    Raises:
        UsageError: a backend without a network that gradients can pass. ModelMissing.
    """
    import torch

    dtype = str(place.dtype).removeprefix("torch.")
    loaded: dict[str, Any] = {}
    for name, spec in specs(config, str(place.device), dtype).items():
        loaded[name] = backends.load(spec)
        network = getattr(loaded[name], "network", None)
        if not isinstance(network, torch.nn.Module):
            raise UsageError(
                f"--{name}-backend {spec.backend} cannot give feedback: no gradient passes it"
            )
        network.requires_grad_(False).eval()
    return {n: part.load(config, loaded.get(n)) for n, part in wanted(config).items()}

"""The networks of a feedback run: loaded, checked against each other, and what is asked of them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli.backends import ModelSpec
from socialcli.errors import UsageError
from socialcli.methods.train._feedback_options import (
    BASE,
    BASE_GET,
    CLIP,
    CLIP_GET,
    SSR_GET,
    Config,
    gates,
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

    config: Config
    place: Place
    encoder: Any  # models.ssr_encoder.SSREncoder, the only trained part
    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    vision: Any
    processor: Any
    scheduler: Any
    alphas: Tensor  # (T,) float64, on the CPU
    prediction: str  # what the UNet predicts, see training.prediction
    gates: dict[str, Any]  # feedback -> timesteps.Gate
    watch: dict[str, Any]  # feedback -> its detector, see _feedback_watch
    nothing: Any = None  # (T, D): the text states of ""
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    shown: list[dict[str, Any]] = field(default_factory=list)  # samples that validation draws

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.watch)

    @property
    def factor(self) -> float:
        """What the VAE's latents are multiplied by."""
        return float(self.vae.config.scaling_factor)

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

    def texts(self, texts: list[str]) -> Tensor:
        """(N, T, D): the text encoder's last hidden states of padded texts."""
        import torch

        ids = self.tokenizer(
            texts, padding="max_length", truncation=True, return_tensors="pt",
            max_length=self.tokenizer.model_max_length,
        ).input_ids.to(self.place.device)  # fmt: skip
        with torch.no_grad():
            return self.text_encoder(ids)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Eq. 1's second half: scaled latents (B, 4, h, w) -> pictures (B, 3, H, W), about
        [-1, 1], float32. With gradient checkpointing the decoder's activations are not kept."""
        from torch.utils.checkpoint import checkpoint

        def run(part: Tensor) -> Tensor:
            return self.vae.decode(part).sample

        latents = (latents / self.factor).to(self.place.dtype)
        if self.config.gradient_checkpointing and latents.requires_grad:
            return checkpoint(run, latents, use_reentrant=False).float()
        return run(latents).float()

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
        from pathlib import Path

        import numpy

        if not self.config.write_curves or not self.curves:
            return
        made = {}
        for name, pairs in self.curves.items():
            steps, values = numpy.array(pairs).T
            parts = (steps * BINS // len(self.alphas)).astype(int)
            count = numpy.bincount(parts, minlength=BINS)
            total = numpy.bincount(parts, values, minlength=BINS)
            filled = count > 0
            at = numpy.arange(BINS)
            made[name] = numpy.interp(at, at[filled], total[filled] / count[filled]).tolist()
        text = json.dumps({"samples": {n: len(p) for n, p in self.curves.items()}, **made})
        Path(self.config.write_curves).write_text(text + "\n", encoding="utf-8")

    def pictures(self) -> list[tuple[str, Image]]:
        """UniPC from fixed noise for the samples in `shown`: (caption, picture)."""
        import diffusers
        import numpy
        import torch
        from PIL import Image

        from socialcli.models.ssr_encoder import image_features
        from socialcli.training.draw import seeded

        config, device, dtype = self.config, self.place.device, self.place.dtype
        if not self.shown:
            return []
        count = len(self.shown)
        reference = torch.stack([e["reference"] for e in self.shown]).to(device, dtype)
        both = torch.cat([torch.zeros_like(reference), reference])
        texts = [""] * count + [e["caption"] for e in self.shown]
        queries = [""] * count + [e["query"] for e in self.shown]
        generator = torch.Generator().manual_seed(seeded(config.seed, "validation"))
        side = config.size // 2 ** (len(self.vae.config.block_out_channels) - 1)
        shape = (count, self.vae.config.latent_channels, side, side)
        scheduler = diffusers.UniPCMultistepScheduler.from_config(self.scheduler.config)
        scheduler.set_timesteps(config.validation_steps)
        with torch.no_grad(), self.mixed():
            features = image_features(self.vision, both, self.encoder.scales)
            subject = self.encoder.subject_tokens(features, self.texts(queries))
            condition = self.encoder.condition(self.texts(texts), [subject], [config.subject_scale])
            latents = torch.randn(shape, generator=generator).to(device)
            latents = latents * scheduler.init_noise_sigma
            for step in scheduler.timesteps:
                given = scheduler.scale_model_input(torch.cat([latents] * 2), step).to(dtype)
                free, told = self.unet(given, step, **condition).sample.float().chunk(2)
                guided = free + config.guidance * (told - free)
                latents = scheduler.step(guided, step, latents).prev_sample
        with torch.no_grad(), self.exact():
            light = (self.decode(latents).clamp(-1, 1) * 127.5 + 127.5).round()
        pixels = light.permute(0, 2, 3, 1).cpu().numpy().astype(numpy.uint8)
        drawn = [Image.fromarray(one) for one in pixels]
        return list(zip((e["caption"] for e in self.shown), drawn, strict=True))


def load(config: Config, place: Place) -> State:
    """Load everything, and see that it fits before anything goes to the device.

    Raises:
        ModelMissing: a model is not here. UsageError: two models do not fit each other.
    """
    import diffusers
    import torch

    from socialcli.backends import checkpoints
    from socialcli.methods.train import _feedback_watch
    from socialcli.models import ssr_layouts
    from socialcli.models.ssr_encoder import SSREncoder
    from socialcli.training import prediction

    dtype = str(place.dtype).removeprefix("torch.")
    base = ModelSpec("diffusion", "diffusers", config.model, config.revision, "cpu", dtype)
    clip = ModelSpec("clip", "clip", config.clip_model, None, "cpu", dtype)

    def part(cls: Any, folder: str) -> Any:
        return checkpoints.pretrained(cls, base, BASE, BASE_GET, subfolder=folder)

    encoder = None if config.ssr_model == "new" else ssr_layouts.load(config.ssr_model, SSR_GET)
    vision = checkpoints.pretrained("CLIPVisionModel", clip, CLIP, CLIP_GET)
    processor = checkpoints.pretrained("CLIPImageProcessorPil", clip, CLIP, CLIP_GET)
    unet = part(diffusers.UNet2DConditionModel, "unet")
    if encoder is None:
        torch.manual_seed(config.seed)
        encoder = SSREncoder.create(unet, vision.config, unet.config.cross_attention_dim)
    if encoder.image_dim != vision.config.hidden_size:
        raise UsageError(
            f"--ssr-model {config.ssr_model} reads CLIP features {encoder.image_dim} wide, "
            f"--clip-model {config.clip_model} gives {vision.config.hidden_size}"
        )
    encoder.attach(unet)
    scheduler = part(diffusers.DDPMScheduler, "scheduler")
    alphas, kind = prediction.schedule(scheduler)
    state = State(
        config, place, encoder.float(), unet, part(diffusers.AutoencoderKL, "vae"),
        part("CLIPTextModel", "text_encoder"), part("AutoTokenizer", "tokenizer"),
        vision, processor, scheduler, alphas, kind, gates(config), {},
    )  # fmt: skip
    for network in (unet, state.vae, state.text_encoder, vision):
        network.requires_grad_(False).to(place.device)
    encoder.to(place.device)
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
        unet.train()  # diffusers checkpoints in training mode only; there is no dropout in it
    state.watch = _feedback_watch.load(config, wanted(config), place)
    state.nothing = state.texts([""])[0]
    return state

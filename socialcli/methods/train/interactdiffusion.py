"""InteractDiffusion: gates in a frozen UNet learn to draw annotated interactions in their boxes.

The result is ``interactdiffusion.safetensors``: gates and position net, which `generate --method
interactdiffusion --adapter-model` puts into the model that they were trained in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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

    from torch import Tensor

    from socialcli.randomness import Draw, Variant
    from socialcli.shards import Sample
    from socialcli.training.place import Place

FILE = "interactdiffusion.safetensors"


@dataclass
class Config(TrainingOptions):
    """Options of `socialcli train --method interactdiffusion`; defaults as published (v1.1)."""

    GROUPS: ClassVar[dict[str, str]] = {"backend": "Model, pictures and texts"}

    steps: int = option(250000, "Optimiser steps of the whole run.", at_least=1)
    batch_size: int = fields.batch_size(32)
    learning_rate: float = option(5e-5, "Peak learning rate.", above=0)
    warm_up: int = option(10000, "Steps over which the learning rate grows from zero.", at_least=0)
    weight_decay: float = option(0.0, "Weight decay.", at_least=0)
    backend: str = option("interactdiffusion", "Diffusion backend.", role="diffusion")
    model: str = option(
        "", "A Stable Diffusion 1.x, whose gates begin closed, or an InteractDiffusion to go on "
        "with: folder, hub id or file.",
    )  # fmt: skip
    revision: str | None = options.revision()
    variant: str | None = options.variant()
    size: int = fields.size()
    crop: str = fields.crop("centre")
    flip: float = fields.mirror()
    caption_drop: float = option(
        0.5, "Probability that the UNet is not told the caption.", at_least=0, at_most=1
    )
    interaction_drop: float = option(
        0.1, "Probability that it is told no interactions.", at_least=0, at_most=1
    )


@dataclass
class State:
    """The model, and what is the same for every step.

    Attributes:
        trained: the position net and the gates. nothing: (L, D), the states of "".
        phrases: words that were read.
    """

    config: Config
    place: Place
    diffusion: Any
    trained: Any
    alphas_cumprod: Tensor
    prediction_type: str
    side: int
    nothing: Tensor
    phrases: dict[str, Tensor] = field(default_factory=dict)

    def phrase(self, text: str) -> Tensor:
        """(D,) pooled text state."""
        if text not in self.phrases:
            self.phrases[text] = self.diffusion.phrase(text)
        return self.phrases[text]


class InteractDiffusionMethod(TrainMethod):
    """See `TrainMethod`. Source: Hoe et al., InteractDiffusion (CVPR 2024)."""

    READS = ("caption.json", "interactions.json")
    FEATURES = ("backend", "model", "revision", "variant", "size", "crop", "flip")
    config_type = Config

    def check_options(self, config: Config) -> None:
        if config.backend != Config.backend:
            raise UsageError(
                f"--backend {config.backend}: gates are trained in models of --backend "
                f"{Config.backend}, to which a Stable Diffusion is given as --model"
            )

    def models(self, config: Config) -> list[ModelSpec]:
        own = variants.options(config.variant)
        return [ModelSpec("diffusion", config.backend, config.model, config.revision, options=own)]

    def check(self, config: Config, sample: Sample) -> None:
        from socialcli.generation import interactions

        interactions.of_sample(sample, interactions.MOST)

    def load(self, config: Config, place: Place) -> State:
        """The model, its UNet in float32, with gates."""
        import dataclasses

        import torch

        from socialcli import backends
        from socialcli.diffusion import latents as common
        from socialcli.diffusion import schedule
        from socialcli.networks import interact_diffusion

        (spec,) = self.models(config)
        diffusion = backends.load(dataclasses.replace(spec, device=str(place.device)))
        for part in (diffusion.vae, diffusion.text_encoder):
            if part.dtype != place.dtype:
                part.to(place.dtype)
        unet = diffusion.unet
        if not diffusion.gated:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                net = interact_diffusion.PositionNet(
                    diffusion.text_encoder.config.hidden_size, unet.config.cross_attention_dim
                )
                interact_diffusion.attach(unet, net)
            diffusion.gated = True
        gates = torch.nn.ModuleList(interact_diffusion.gates(unet))
        trained = torch.nn.ModuleDict({"position_net": unet.position_net, "gates": gates})
        trained.requires_grad_(True)
        if config.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        alphas_cumprod, prediction_type = schedule.schedule(diffusion.scheduler)
        with torch.no_grad():
            nothing = diffusion.prompts([""])[0].float()
        side = common.size(diffusion, config.size)
        return State(
            config, place, diffusion, trained, alphas_cumprod, prediction_type, side, nothing
        )

    def trainable(self, state: State) -> Any:
        return state.trained

    def prepare(self, state: State, sample: Sample, variant: Variant) -> dict[str, Any]:
        """``pixels`` (3, S, S) in [-1, 1], ``caption``, and ``placed``: the interactions whose
        boxes stay in the square, in its coordinates."""
        from socialcli import records
        from socialcli.diffusion import latents as common
        from socialcli.generation import interactions
        from socialcli.training import geometry
        from socialcli.vision import images

        image = images.decode(sample.picture())
        config, rng = state.config, variant.random
        frame = geometry.choose(
            image.width, image.height, state.side, rng, config.crop, config.flip
        )
        placed = []
        for one in interactions.of_sample(sample, interactions.MOST):
            subject, object = frame.box(one.subject_box), frame.box(one.object_box)
            if subject is not None and object is not None:
                placed.append([one.subject, one.action, one.object, subject, object])
        caption = sample.record(records.Caption).text
        return {
            "pixels": common.pixels(frame.picture(image)), "caption": caption, "placed": placed
        }  # fmt: skip

    def features(self, state: State, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """``mean`` and ``deviation`` (C, h, w) of the latents, ``states`` (L, D) of the caption,
        and the arguments of the position net."""
        import torch

        from socialcli.diffusion import latents as common
        from socialcli.generation import interactions

        means, deviations = common.moments(
            state.diffusion, torch.stack([e["pixels"] for e in examples])
        )
        states = state.diffusion.prompts([e["caption"] for e in examples])
        width = state.diffusion.unet.position_net.text
        return [
            {"mean": mean, "deviation": deviation, "states": text,
             **interactions.tokens(
                 state.phrase, [interactions.Placed(*one) for one in e["placed"]], width
             )}
            for mean, deviation, text, e in zip(means, deviations, states, examples, strict=True)
        ]  # fmt: skip

    def unread(self, state: State, example: dict[str, Any]) -> str:
        return str(state.diffusion.unread(example["caption"]))

    def losses(self, state: State, batch: dict[str, Any], draw: Draw) -> dict[str, Tensor]:
        """``denoise`` (B,)."""
        import torch

        from socialcli.diffusion import latents as common
        from socialcli.diffusion.conditioning import Conditioning
        from socialcli.generation import interactions

        config = state.config
        states = batch["states"].float()
        dropped = draw.uniform("caption").to(states) < config.caption_drop
        states = torch.where(dropped[:, None, None], state.nothing, states)
        kept = (draw.uniform("interactions").to(states) >= config.interaction_drop).to(states)
        # A row of zeros is told nothing: the net has features of nothing for it.
        arguments = {
            name: batch[name].float() * kept.reshape(-1, *[1] * (batch[name].ndim - 1))
            for name in interactions.ARGUMENTS
        }
        value = common.denoising(
            state.diffusion, state.alphas_cumprod, state.prediction_type, batch["mean"],
            batch["deviation"],
            Conditioning(
                {"encoder_hidden_states": states, "cross_attention_kwargs": {"gligen": arguments}}
            ),
            draw,
        )  # fmt: skip
        return {"denoise": value}

    def weights(self, config: Config) -> dict[str, float]:
        return {"denoise": 1.0}

    def save(self, state: State, folder: Path, metadata: dict[str, str]) -> None:
        """Gates and position net, under diffusers' names."""
        from socialcli.networks import interact_diffusion, weights

        tensors = interact_diffusion.tensors_of(state.diffusion.unet)
        weights.write(folder / FILE, tensors, metadata)

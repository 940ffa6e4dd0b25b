"""InteractDiffusion: interactions of a sample, each in the boxes of who and what takes part."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.diffusion import conditioning
from socialcli.errors import UsageError
from socialcli.generation import drawing, interactions
from socialcli.generation.method import GenerateMethod
from socialcli.generation.options import GenerateOptions

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.generation.drawing import Studio


@dataclass
class Config(GenerateOptions):
    """Options of `socialcli generate --method interactdiffusion`; defaults as published."""

    backend: str = option("interactdiffusion", "Diffusion backend.", role="diffusion")
    steps: int = option(50, "Denoising steps.", at_least=1)
    guidance: float = option(7.5, "Scale of classifier-free guidance; 1: none.", at_least=1)
    adapter_model: str = option(
        "", "The gates alone, for a --model that has none: ext_interactdiff_v1.2.pth, or what "
        "train --method interactdiffusion wrote.", file=True,
    )  # fmt: skip
    gate: float = option(
        1.0, "Share of the steps, from the first on, in which interactions act in full (scheduled "
        "sampling).", at_least=0, at_most=1,
    )  # fmt: skip
    gate_decay: float = option(
        0.0, "Share of the steps after them in which they act less and less.", at_least=0, at_most=1
    )


@dataclass
class State:
    """The studio's models, and phrases that were read: they come again and again."""

    studio: Studio
    phrases: dict[str, Tensor] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.studio, name)

    def phrase(self, text: str) -> Tensor:
        """(D,), read by itself, so that it is the same whatever stands beside it."""
        if text not in self.phrases:
            self.phrases[text] = self.studio.diffusion.phrase(text)
        return self.phrases[text]


class InteractDiffusionMethod(GenerateMethod):
    """See `GenerateMethod`. Source: Hoe et al., InteractDiffusion (CVPR 2024)."""

    config_type = Config

    def check_options(self, config: Config) -> None:
        if config.gate + config.gate_decay > 1:
            raise UsageError(
                f"--gate {config.gate:g} --gate-decay {config.gate_decay:g}: shares of the steps, "
                "together at most 1"
            )

    def models(self, config: Config) -> list[ModelSpec]:
        return [drawing.spec(config)]

    def load(self, config: Config) -> State:
        """The diffusion model with its gates.

        Raises:
            ModelMissing: it is not here. UsageError: it has no gates, and no file brings them; or
                it has some, and a file brings others.
        """
        from socialcli.backends import naming
        from socialcli.records import Model

        studio = drawing.studio(config)
        diffusion = studio.diffusion
        file = config.adapter_model
        if file and diffusion.gated:
            raise UsageError(
                f"{config.model} has gates of its own, in whose place those of --adapter-model "
                f"{file} would come: give --adapter-model '' to draw with its own"
            )
        if file:
            diffusion.add(file)
        if not diffusion.gated:
            raise UsageError(
                f"{config.model}: a Stable Diffusion that has no gates: give --adapter-model FILE, "
                f"or a model that has them: {diffusion.info.get}"
            )
        studio.models["interactions"] = Model(
            "interactdiffusion",
            naming.name(file) if file else diffusion.model.model,
            naming.revision(file) if file else diffusion.model.revision,
            role="interactions",
            options={"gate": config.gate, "gate_decay": config.gate_decay},
        )
        return State(studio)

    def prepare(self, config: Config, request: Any) -> Any:
        """The sample's `interactions.Placed`.

        Raises:
            SampleFailed: it has none.
        """
        return interactions.of_sample(request.sample, interactions.MOST)

    def embed(self, config: Config, state: State, request: Any) -> Any:
        """(negative text states, text states, arguments of the position net without a batch)."""
        import torch

        placed: list[interactions.Placed] = request.plan
        with torch.inference_mode():
            arguments = interactions.tokens(state.phrase, placed)
        return *state.studio.texts(request.negative, request.prompt), arguments

    def condition(self, config: Config, state: State, embedded: list[Any]) -> Conditioning:
        """Cross-attention to the text states, and the interactions through the gates; the
        unconditional rows have none."""
        import torch

        from socialcli.networks import interact_diffusion

        without, of, arguments = zip(*embedded, strict=True)
        unet = state.diffusion.unet
        nothing = [torch.zeros_like(tensor) for tensor in arguments[0].values()]
        rows = {
            name: conditioning.rows(
                config.guidance, [zeros] * len(arguments), [one[name] for one in arguments]
            ).to(unet.device, unet.dtype)
            for name, zeros in zip(arguments[0], nothing, strict=True)
        }
        text = conditioning.of_text(config.guidance, without, of).adding(
            lambda _: {"cross_attention_kwargs": {"gligen": rows}}
        )

        def predict(step: conditioning.Step) -> Tensor:
            scales = interact_diffusion.schedule(step.count, config.gate, config.gate_decay)
            interact_diffusion.weigh(unet, scales[step.number])
            return step.predict()

        return dataclasses.replace(text, guide=predict)

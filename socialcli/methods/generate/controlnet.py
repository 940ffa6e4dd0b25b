"""ControlNet: the prompt, and a drawing (skeletons, edges, depth) that says where things are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.diffusion import conditioning
from socialcli.diffusion.conditioning import Conditioning
from socialcli.errors import UsageError
from socialcli.generation import controls, drawing
from socialcli.generation.method import GenerateMethod
from socialcli.generation.options import ControlOptions, GenerateOptions

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.generation.drawing import Studio


@dataclass
class Config(ControlOptions, GenerateOptions):
    """Options of `socialcli generate --method controlnet`."""


@dataclass
class State:
    """The studio's models, and the nets."""

    studio: Studio
    nets: list[Any]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.studio, name)


class ControlNetMethod(GenerateMethod):
    """See `GenerateMethod`. Source: Zhang et al., Adding Conditional Control to Text-to-Image
    Diffusion Models (arXiv 2302.05543)."""

    TWO_ENCODERS = True
    config_type = Config

    def check_options(self, config: Config) -> None:
        """Refuse a run without a net, and options that do not fit each other."""
        if not config.controlnet_model:
            raise UsageError("--method controlnet needs --controlnet-model MODEL")
        controls.check(config)

    def facts(self, config: Config) -> dict[str, Any]:
        return controls.facts(config)

    def models(self, config: Config) -> list[ModelSpec]:
        return [drawing.spec(config), *controls.specs(config)]

    def load(self, config: Config) -> State:
        """The diffusion model and the nets.

        Raises:
            ModelMissing: one is not here. UsageError: a net of another model.
        """
        studio = drawing.studio(config)
        return State(studio, controls.load(config, studio))

    def prepare(self, config: Config, request: Any) -> Any:
        """The skeletons that are asked for are there, before anything is loaded."""
        if "pose" in (config.control or ["pose"]):
            return controls.skeletons_of(request.sample)
        return None

    def embed(self, config: Config, state: State, request: Any) -> Any:
        """(negative text states, text states, what each net sees).

        Raises:
            SampleFailed: the sample has no skeleton, or no picture, to be seen.
        """
        size = drawing.size(config, state.studio)
        seen = controls.hints(config, request.sample, size, request.plan)
        return *state.studio.texts(request.negative, request.prompt), seen

    def condition(self, config: Config, state: State, embedded: list[Any]) -> Conditioning:
        """Cross-attention to the text states, and the nets' residuals."""
        import torch

        from socialcli.diffusion import control

        without, of, seen = zip(*embedded, strict=True)
        conditioned = conditioning.of_text(config.guidance, without, of)
        hints = [torch.stack(rows) for rows in zip(*seen, strict=True)]
        conditioned.guide = control.guide(controls.of(config, state.nets, hints), config.guess)
        return conditioned

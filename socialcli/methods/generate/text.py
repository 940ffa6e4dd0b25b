"""What the prompt says, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.diffusion import conditioning
from socialcli.generation import drawing
from socialcli.generation.method import GenerateMethod
from socialcli.generation.options import GenerateOptions

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.diffusion.conditioning import Conditioning
    from socialcli.generation.drawing import Studio


@dataclass
class Config(GenerateOptions):
    """Options of `socialcli generate --method text`."""


class TextMethod(GenerateMethod):
    """See `GenerateMethod`."""

    VERSION = 1
    REFERENCES = False
    TWO_ENCODERS = True
    config_type = Config

    def models(self, config: Config) -> list[ModelSpec]:
        return [drawing.spec(config)]

    def load(self, config: Config) -> Studio:
        """The diffusion model."""
        return drawing.studio(config)

    def embed(self, config: Config, studio: Studio, request: Any) -> Any:
        """(text states of the negative prompt, of the prompt), each (L, D)."""
        return studio.texts(request.negative, request.prompt)

    def condition(self, config: Config, studio: Studio, embedded: list[Any]) -> Conditioning:
        """Cross-attention to the text states."""
        without, of = zip(*embedded, strict=True)
        return conditioning.of_text(config.guidance, without, of)

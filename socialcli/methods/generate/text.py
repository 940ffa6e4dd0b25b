"""What the prompt says, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.diffusion import sampling
from socialcli.generation import drawing
from socialcli.generation.options import GenerateOptions

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.diffusion.sampling import Conditioning
    from socialcli.generation.drawing import Studio

VERSION = 1
REFERENCES = False


@dataclass
class Config(GenerateOptions):
    """Options of `socialcli generate --method text`."""


def models(config: Config) -> list[ModelSpec]:
    return [drawing.spec(config)]


def load(config: Config) -> Studio:
    """The diffusion model."""
    return drawing.studio(config)


def embed(config: Config, studio: Studio, request: Any) -> Any:
    """(text states of the negative prompt, of the prompt), each (L, D)."""
    return studio.text(request.negative), studio.text(request.prompt)


def condition(config: Config, studio: Studio, embedded: list[Any]) -> Conditioning:
    """Cross-attention to the text states."""
    without, of = zip(*embedded, strict=True)
    text = sampling.rows(config.guidance, list(without), list(of))
    return sampling.Conditioning({"encoder_hidden_states": text})

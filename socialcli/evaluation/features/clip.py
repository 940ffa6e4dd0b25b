"""A picture's embedding in CLIP: ``vector`` (D,)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.evaluation.features import Feature, Look, Value, _vectors, model_spec

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.errors import SampleFailed


@dataclass
class Options:
    clip_backend: str = option("clip", "Which picture and text embedder.", role="clip")
    clip_model: str = option("", "Its model: hub id or folder.")


def models(config: Any) -> tuple[ModelSpec, ...]:
    return (model_spec(config, "clip", config.clip_backend, config.clip_model),)


class Clip(Feature):
    """See `Feature`."""

    config_type = Options

    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        return models(config)

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        return _vectors.of_pictures(models[0], looks)

"""A picture's embedding in DINO, the class token: ``vector`` (D,)."""

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
    dino_backend: str = option("vit", "Which DINO.", role="dino")
    dino_model: str = option("", "Its model: hub id or folder.")


def models(config: Any) -> tuple[ModelSpec, ...]:
    return (model_spec(config, "dino", config.dino_backend, config.dino_model),)


class Dino(Feature):
    """See `Feature`."""

    config_type = Options

    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        return models(config)

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        return _vectors.of_pictures(models[0], looks)

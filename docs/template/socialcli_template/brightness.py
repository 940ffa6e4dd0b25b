"""How bright a picture is: ``level`` from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from socialcli.config import option
from socialcli.evaluation.features import Feature, Look, Value


@dataclass
class Options:
    brightest: float = option(255.0, "The pixel value that counts as 1.", above=0)


class Brightness(Feature):
    """See `Feature`."""

    config_type = Options

    def models(self, config: Any) -> tuple[Any, ...]:
        """None; ``model_spec(config, "clip", config.clip_backend, config.clip_model)`` is one."""
        return ()

    def options(self, config: Any) -> dict[str, Any]:
        """What the kept values depend on."""
        return {"brightest": config.brightest}

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value]:
        import numpy

        return [{"level": float(numpy.mean(look.image)) / config.brightest} for look in looks]

"""Boxes of people and of all things that interactions are scored with: ``boxes``, ``scores``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli import backends
from socialcli.config import option
from socialcli.evaluation import hoi_classes
from socialcli.evaluation.cases import Picture
from socialcli.evaluation.features import Feature, Look, Subject, Value, _grounding

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.errors import SampleFailed


@dataclass
class Options(_grounding.Options):
    hoi_classes: str = option(
        "auto", "Classes of hoi: hico-det, world, a JSON file, or auto (from the references)."
    )
    hoi_box_threshold: float = option(
        0.2,
        "Objects of hoi score at least this: low, since precision ranks them (CMMP's: 0.2).",
        at_least=0,
        at_most=1,
    )


def labels(config: Any, sources: list[Picture]) -> list[str]:
    """What is looked for in every generated picture: the classes' objects, and people."""
    classes = hoi_classes.of_pictures(config.hoi_classes, sources)
    return [*dict.fromkeys([*classes.objects, "person"])]


class HoiObjects(Feature):
    """See `Feature`."""

    config_type = Options

    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        """None for a recogniser that finds objects by itself."""
        name = config.interaction_backend
        return () if backends.info("interaction", name).detects else _grounding.models(config)

    def options(self, config: Any) -> dict[str, Any]:
        return _grounding.limits(config, config.hoi_box_threshold)

    def prepare(self, config: Any, sources: list[Picture]) -> list[str]:
        return labels(config, sources)

    def target(self, config: Any, subject: Subject) -> list[str]:
        return list(subject.shared)

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        if not models:
            return [{"boxes": [], "scores": []} for _ in looks]
        return _grounding.objects(models[0], looks, **self.options(config))

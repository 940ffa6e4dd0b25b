"""Boxes of the things that people look at in the source picture: ``boxes``, ``scores``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.evaluation import gaze_targets
from socialcli.evaluation.features import Feature, Look, Subject, Value, _grounding

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.errors import SampleFailed


class GazeObjects(Feature):
    """See `Feature`."""

    config_type = _grounding.Options

    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        return _grounding.models(config)

    def options(self, config: Any) -> dict[str, Any]:
        return _grounding.limits(config, config.box_threshold)

    def target(self, config: Any, subject: Subject) -> list[str]:
        """The labels of the source's gaze targets."""
        return list(gaze_targets.labels(subject.source)) if subject.source is not None else []

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        return _grounding.objects(models[0], looks, **self.options(config))

"""Boxes of the subjects that a picture was generated of: ``boxes``, ``scores``.

``unknown`` are the names of which the detector knows no such thing, where there are any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli import backends
from socialcli.backends import coverage
from socialcli.evaluation.features import Feature, Look, Subject, Value, _grounding

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.errors import SampleFailed


class SubjectObjects(Feature):
    """See `Feature`."""

    config_type = _grounding.Options

    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        return _grounding.models(config)

    def options(self, config: Any) -> dict[str, Any]:
        limits: dict[str, Any] = _grounding.limits(config, config.box_threshold)
        # Of a detector that can read, what was kept of earlier versions stays good.
        return {**limits, "unknown": True} if _fixed(config) else limits

    def target(self, config: Any, subject: Subject) -> list[str]:
        """The names of its subjects."""
        return list(subject.queries)

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        thresholds = _grounding.limits(config, config.box_threshold)
        values = _grounding.objects(models[0], looks, **thresholds)
        for look, value in zip(looks, values, strict=True):
            if isinstance(value, dict) and (names := coverage.unknown(models[0], look.extra)):
                value["unknown"] = names
        return values


def _fixed(config: Any) -> bool:
    return backends.info("ground", config.ground_backend).fixed

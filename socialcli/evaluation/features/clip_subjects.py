"""Embeddings of a reference picture's subjects in CLIP: ``vector`` (K, D), one for each box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.evaluation.features import Feature, Look, Subject, Value, _vectors, clip

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.errors import SampleFailed


class ClipSubjects(Feature):
    """See `Feature`."""

    config_type = clip.Options

    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        return clip.models(config)

    def target(self, config: Any, subject: Subject) -> list[list[float]]:
        """The boxes of what the picture is a reference of."""
        return list(subject.boxes)

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        return _vectors.of_crops(models[0], looks, [look.extra or [] for look in looks])

"""Embeddings in CLIP of the subjects detected in a generated picture: ``vector`` (K, D)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.evaluation.features import Feature, Look, Subject, Value, _vectors, clip

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.errors import SampleFailed


class ClipFound(Feature):
    """See `Feature`."""

    config_type = clip.Options
    AFTER = ("subject-objects",)

    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        return clip.models(config)

    def target(self, config: Any, subject: Subject) -> list[str]:
        """The names that ``subject-objects`` looks for."""
        return list(subject.queries)

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        return _vectors.of_crops(models[0], looks, _vectors.detected(looks))

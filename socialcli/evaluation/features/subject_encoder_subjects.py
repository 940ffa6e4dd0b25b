"""A reference picture's subjects as a subject segmentation's encoder sees them:
``vector`` (K, 512), one for each box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.backends import naming
from socialcli.evaluation.features import Feature, Look, Subject, Value, _vectors, subject_encoder

if TYPE_CHECKING:
    from socialcli.errors import SampleFailed


class SubjectEncoderSubjects(Feature):
    """See `Feature`."""

    config_type = subject_encoder.Options

    def models(self, config: Any) -> tuple[()]:
        return ()

    def check_options(self, config: Any) -> None:
        subject_encoder.check(config)

    def options(self, config: Any) -> dict[str, Any]:
        return {"model": naming.content(config.segmentation_model)}

    def load(self, config: Any) -> Any:
        return subject_encoder.load(config)

    def target(self, config: Any, subject: Subject) -> list[list[float]]:
        """The boxes of what the picture is a reference of."""
        return list(subject.boxes)

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        return _vectors.of_crops(models[0], looks, [look.extra or [] for look in looks])

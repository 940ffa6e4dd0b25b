"""Where people look: ``heads`` (normalised xyxy) and ``points`` (normalised, or None)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.evaluation.features import Feature, Look, Value, model_spec
from socialcli.vision import boxes as geometry
from socialcli.vision import people as who

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.errors import SampleFailed


@dataclass
class Options:
    gaze_backend: str = option("sharingan", "Which gaze estimator.", role="gaze")
    gaze_model: str = option("", "Its model: a checkpoint file for sharingan and gazelle.")


class Gaze(Feature):
    """See `Feature`."""

    config_type = Options
    AFTER = ("faces",)

    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        return (model_spec(config, "gaze", config.gaze_backend, config.gaze_model),)

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        """The gaze of every head; heads are made from the detected faces."""
        around = [
            [who.head_of(tuple(box)) for box in look.before["faces"]["boxes"]] for look in looks
        ]
        heads = [[head for head in boxes if geometry.area(head) > 0] for boxes in around]
        estimates = models[0].gaze([look.image for look in looks], heads)
        return [
            {
                "heads": [list(head) for head in boxes],
                "points": [
                    [float(v) for v in gaze.point] if gaze is not None and gaze.point else None
                    for gaze in gazes
                ],
            }
            for boxes, gazes in zip(heads, estimates, strict=True)
        ]

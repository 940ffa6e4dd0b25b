"""Pose-S: how the two subjects stand, told from a pose encoder's features.

The share of pictures in which a judge that `train --method pose-judge` made (``--pose-judge``)
sees the interaction that was asked for. The two subjects are looked for by the names that the
sample the picture was made from gives them; where fewer than two are found the picture is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.evaluation.cases import Case, Context
from socialcli.evaluation.metrics import Metric, Needs, _judged

if TYPE_CHECKING:
    import numpy

NAME, TITLE = "pose_s", "Pose-S"


class PoseS(Metric):
    """See `Metric`."""

    SOURCE = "Customizing Text-to-Image Generation with Inverted Interaction, section 5.2"
    COLUMNS = _judged.columns(NAME, TITLE, "in a pose encoder")
    OPTIONS = ("pose_judge", "interaction_field")
    config_type = _judged.Options

    def needs(self, config: Any) -> Needs:
        return _judged.needs(config)

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """See `_judged.rows`."""
        return _judged.rows(NAME, cases, context)

    def estimate(
        self, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
    ) -> dict[str, numpy.ndarray]:
        return _judged.estimate(NAME, rows, counts)

    def pictures(self, rows: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
        return _judged.pictures(NAME, rows)

    def notes(self, rows: dict[str, numpy.ndarray]) -> list[str]:
        return _judged.notes(TITLE, rows)

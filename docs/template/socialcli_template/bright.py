"""Brightness: how bright the pictures are.

The mean over pictures of the mean over their pixels and channels.
"""

from __future__ import annotations

from typing import Any

from socialcli.evaluation.metrics import Column, Metric, Needs


class Bright(Metric):
    """See `Metric`."""

    SOURCE = "an example of the documents"
    COLUMNS = (Column("bright", "Brightness", "higher", 0, 1, "share", "mean brightness"),)
    OPTIONS = ("brightest",)

    def needs(self, config: Any) -> Needs:
        return Needs(generated=("brightness",))

    def rows(self, cases: list[Any], context: Any) -> dict[str, Any]:
        """``level`` (N,), NaN where a picture could not be read."""
        import numpy

        levels = [case.generated.get("brightness", "level") for case in cases]
        return {"level": numpy.array([numpy.nan if one is None else one for one in levels])}

    def pictures(self, rows: dict[str, Any]) -> dict[str, Any]:
        return {"bright": rows["level"]}

    def estimate(self, rows: dict[str, Any], counts: Any) -> dict[str, Any]:
        """The mean, for any way of counting the pictures: counts (R, N) -> (R,)."""
        import numpy

        seen = numpy.isfinite(rows["level"])
        total, weight = counts @ numpy.where(seen, rows["level"], 0), counts @ seen
        return {"bright": numpy.where(weight > 0, total / numpy.maximum(weight, 1), numpy.nan)}

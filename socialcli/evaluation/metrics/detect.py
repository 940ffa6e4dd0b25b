"""Detect: whether a face is found at all, over the prompts that ask for more than a face.

The share of the people that a picture should show for whom it has a face, whoever that is: with one
person, the share of pictures with a face.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.evaluation.cases import Case, Context
from socialcli.evaluation.metrics import Column, _identities

if TYPE_CHECKING:
    import numpy


class Detect(_identities.PerPicture):
    """See `Metric`."""

    COLUMNS = (
        Column("detect", "Detect", "higher", 0, 1, "share",
               "people for whom the picture has a face, mean over pictures"),
    )  # fmt: skip

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """``found`` (N,): the share of each picture's people."""
        import numpy

        shares = numpy.full(len(cases), numpy.nan)
        for number, case in enumerate(cases):
            similarity = _identities.similarities(case) if self.wanted(case, context) else None
            if similarity is not None:
                people, boxes = len(similarity), case.generated.get("faces", "boxes")
                shares[number] = min(len(boxes), people) / people
        return {"found": shares}

    def parts(
        self, rows: dict[str, numpy.ndarray]
    ) -> dict[str, tuple[numpy.ndarray, numpy.ndarray]]:
        return {self.COLUMNS[0].name: _identities.known(rows["found"])}

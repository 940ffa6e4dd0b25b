"""ID: whether the face is the person's, over the prompts that ask for more than a face.

The cosine of face embeddings. Of several people and faces those pairs count whose cosines have the
largest sum; a picture's figure is their mean. As in the evaluation that Identity Embedding follows
(Celeb Basis), a picture without a face has none, and so does not lower `id`; `id_all` counts 0 for
every person without a face.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.evaluation.cases import Case, Context
from socialcli.evaluation.metrics import Column, _identities

if TYPE_CHECKING:
    import numpy


def rows_of(cases: list[Case], wanted: list[bool]) -> dict[str, numpy.ndarray]:
    """``total`` (N,): sum of the assigned cosines; ``pairs``, ``people`` (N,): how many. NaN where
    a picture is not wanted or could not be judged."""
    import numpy

    total, pairs, people = (numpy.full(len(cases), numpy.nan) for _ in range(3))
    for number, case in enumerate(cases):
        similarity = _identities.similarities(case) if wanted[number] else None
        if similarity is not None:
            chosen = _identities.assign(similarity)
            total[number] = sum(similarity[pair] for pair in chosen)
            pairs[number], people[number] = len(chosen), len(similarity)
    return {"total": total, "pairs": pairs, "people": people}


def means(rows: dict[str, numpy.ndarray]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """(N,) each picture's mean cosine, NaN without a pair; and the same with 0 for every person
    without a face, NaN only where nothing could be judged."""
    import numpy

    nothing = numpy.full(len(rows["total"]), numpy.nan)
    mean = numpy.divide(rows["total"], rows["pairs"], out=nothing.copy(), where=rows["pairs"] > 0)
    return mean, numpy.divide(rows["total"], rows["people"], out=nothing, where=rows["people"] > 0)


class Id(_identities.PerPicture):
    """See `Metric`."""

    COLUMNS = (
        Column("id", "ID", "higher", -1, 1, "cosine",
               "cosine of face and person, mean over pictures with a face"),
        Column("id_all", "ID (all)", "higher", -1, 1, "cosine",
               "the same, where a person without a face counts as 0"),
    )  # fmt: skip

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """See `rows_of`."""
        return rows_of(cases, [self.wanted(case, context) for case in cases])

    def parts(
        self, rows: dict[str, numpy.ndarray]
    ) -> dict[str, tuple[numpy.ndarray, numpy.ndarray]]:
        return {
            column.name: _identities.known(values)
            for column, values in zip(self.COLUMNS, means(rows), strict=True)
        }

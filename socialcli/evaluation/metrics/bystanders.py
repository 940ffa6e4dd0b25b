"""Bystanders: how much strangers in a picture take on the face of somebody who was learnt.

A known complaint about trained faces: everybody in the picture gets them. The faces of a picture
are assigned to the people it should show (the subjects of ``--against subject`` or ``layout``, by
their own pictures, or by their own part of the source) so that the sum of the cosines is largest;
the faces that are left over are bystanders. The figure is the largest cosine of each bystander with
any of the people.

By itself it says little, since strangers resemble each other by chance. Score the same prompts
drawn with and without the adapter and compare the two scores: their paired difference, with its
interval, is what the adapter does to bystanders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.errors import UsageError
from socialcli.evaluation.cases import Case, Context
from socialcli.evaluation.metrics import Column, Metric, Needs, _identities, _means
from socialcli.vision import layouts

if TYPE_CHECKING:
    import numpy

    from socialcli.records import XYXY


class Bystanders(Metric):
    """See `Metric`."""

    SOURCE = "asked for in public threads of face trainers; defined here"
    OPTIONS = ("against",)
    COLUMNS = (
        Column("bystanders", "Bystanders", "lower", -1, 1, "cosine",
               "cosine of each face that is nobody's with the nearest of the learnt people"),
        Column("bystanders_faces", "Bystanders' faces", "", 0, float("inf"), "faces",
               "faces that are nobody's, a picture", digits=2),
    )  # fmt: skip

    def needs(self, config: Any) -> Needs:
        return Needs(generated=("faces",), references=("faces",), paired=True)

    def check_options(self, config: Any) -> None:
        if config.against not in ("subject", "layout", "references"):
            raise UsageError(
                "--metrics bystanders wants pictures of the learnt people: give --against subject, "
                "references or layout"
            )

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """(N,) each, NaN where a picture could not be judged: ``total`` of the bystanders'
        cosines, and how many ``faces`` they are of."""
        import numpy

        rows = {name: numpy.full(len(cases), numpy.nan) for name in ("total", "faces")}
        for number, case in enumerate(cases):
            cosines = of_case(case)
            if cosines is not None:
                rows["total"][number], rows["faces"][number] = sum(cosines), len(cosines)
        return rows

    def estimate(
        self, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
    ) -> dict[str, numpy.ndarray]:
        import numpy

        total, faces = (numpy.nan_to_num(rows[name]) for name in ("total", "faces"))
        return {
            "bystanders": _means.ratio(total, faces, counts),
            "bystanders_faces": _means.mean(rows["faces"], counts),
        }

    def pictures(self, rows: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
        return {
            "bystanders": _means.each(rows["total"], rows["faces"]),
            "bystanders_faces": rows["faces"],
        }


def of_case(case: Case) -> list[float] | None:
    """Of each bystander the cosine with the nearest person; None without a picture of anybody."""
    import numpy

    embeddings = case.generated.get("faces", "embeddings")
    people = []
    for pictures, place in zip(case.subjects, _places(case), strict=True):
        seen = (_identities.main_face(picture, place) for picture in pictures)
        faces = [face for face in seen if face is not None]
        if faces:
            people.append(numpy.mean(faces, axis=0))
    if embeddings is None or not people:
        return None
    if not len(embeddings):
        return []
    cosine = _means.cosine(numpy.stack(people), embeddings)
    taken = {face for _, face in _identities.assign(cosine)}
    return [float(cosine[:, n].max()) for n in range(len(embeddings)) if n not in taken]


def _places(case: Case) -> list[XYXY | None]:
    """Of each subject the box in which it is shown, of those of whom the source picture is the only
    one (``--against layout``): the source shows the others too."""
    everywhere: list[XYXY | None] = [None] * len(case.subjects)
    if case.source is None or "layout.json" not in case.source.records:
        return everywhere
    segments = [s for s in case.source.records["layout.json"].segments if not s.background]
    if len(segments) != len(case.subjects):
        return everywhere
    return [
        layouts.box(dict(segment.rle)) if [p.key for p in pictures] == [case.source.key] else None
        for segment, pictures in zip(segments, case.subjects, strict=True)
    ]

"""Facial similarity: whether the faces are those of the reference picture.

As Social Context Feedback section 4.2 has it: the embeddings of all faces of the generated picture
and of the real one are paired greedily by their cosine (the best pair first, each face once), and
the cosines of all pairs of all pictures are averaged.

A picture in which no face is found forms no pair, and so does not lower that mean: a method that
draws no faces is not punished. The paper does not say what it does about this. Hence three
columns: the paper's mean, the same with 0 for every real face that found no partner, and the share
of real faces that found one.

Of a picture without a source the real faces are those of its references. A subject that is shown in
several pictures is still one person: the mean of the unit embeddings of their largest faces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.evaluation.cases import Case, Context, Picture
from socialcli.evaluation.metrics import Column, Metric, Needs, _identities, _means

if TYPE_CHECKING:
    import numpy


def match(similarity: numpy.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column) of a matrix, the largest value first, each row and column used once.

    Args:
        similarity: (N, M). Equal values are taken in reading order.

    Returns:
        min(N, M) pairs in the order they were made.
    """
    import numpy

    count = min(similarity.shape)
    order = numpy.argsort(-similarity, axis=None, kind="stable")
    pairs: list[tuple[int, int]] = []
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    for flat in order:
        row, column = divmod(int(flat), similarity.shape[1])
        if row not in used_rows and column not in used_columns:
            pairs.append((row, column))
            used_rows.add(row)
            used_columns.add(column)
            if len(pairs) == count:
                break
    return pairs


def _real(pictures: list[Picture]) -> numpy.ndarray:
    """(K, D) embeddings: all faces of a single picture, one of a subject of several."""
    import numpy

    if len(pictures) == 1:
        embeddings: numpy.ndarray = pictures[0].get("faces", "embeddings")
        return embeddings
    faces = [face for face in map(_identities.main_face, pictures) if face is not None]
    return numpy.mean(faces, axis=0)[None] if faces else numpy.zeros((0, 0))


def _parts(rows: dict[str, numpy.ndarray]) -> dict[str, tuple[numpy.ndarray, numpy.ndarray]]:
    import numpy

    total, pairs, real = (numpy.nan_to_num(rows[name]) for name in ("total", "pairs", "real"))
    return {"face": (total, pairs), "face_all": (total, real), "face_found": (pairs, real)}


class Face(Metric):
    """See `Metric`."""

    SOURCE = "Social Context Feedback (arXiv 2507.16095), section 4.2"
    COLUMNS = (
        Column("face", "Face sim.", "higher", -1, 1, "cosine",
               "cosine of face embeddings, mean over greedily matched pairs of faces"),
        Column("face_all", "Face sim. (all)", "higher", -1, 1, "cosine",
               "the same, where a real face without a partner counts as 0"),
        Column("face_found", "Faces found", "higher", 0, 1, "share",
               "real faces that have a partner in the generated picture"),
    )  # fmt: skip

    def needs(self, config: Any) -> Needs:
        return Needs(generated=("faces",), references=("faces",), paired=True)

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """``total`` (N,): sum of the matched cosines; ``pairs``, ``real``, ``drawn`` (N,): how many
        pairs, real and generated faces with an embedding; all NaN where a picture was not
        readable. Besides, a single one, ``several``: how many have a subject of several
        pictures."""
        import numpy

        several = sum(c.source is None and any(len(s) > 1 for s in c.subjects) for c in cases)
        total, pairs, real, drawn = (numpy.full(len(cases), numpy.nan) for _ in range(4))
        for number, case in enumerate(cases):
            embeddings = case.generated.get("faces", "embeddings")
            references = [[case.source]] if case.source else case.subjects
            seen = [p.get("faces", "embeddings") is not None for s in references for p in s]
            if embeddings is None or not seen or not all(seen):
                continue
            known = [one for one in map(_real, references) if len(one)]
            real[number], drawn[number] = sum(map(len, known)), len(embeddings)
            total[number] = pairs[number] = 0
            if known and len(embeddings):
                similarity = _means.cosine(embeddings, numpy.concatenate(known))
                chosen = match(similarity)
                pairs[number] = len(chosen)
                total[number] = sum(similarity[pair] for pair in chosen)
        counted = {"total": total, "pairs": pairs, "real": real, "drawn": drawn}
        return {**counted, "several": numpy.array(several)}

    def apart(self, first: dict[str, numpy.ndarray], second: dict[str, numpy.ndarray]) -> str:
        """Whether one is of a version to which each picture of a subject was another person."""
        for one, other in ((first, second), (second, first)):
            if int(one.get("several", 0)) and "several" not in other:
                return (
                    "one is of an earlier version, which took each picture of a subject for "
                    "another person; score it again"
                )
        return ""

    def estimate(
        self, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
    ) -> dict[str, numpy.ndarray]:
        return {name: _means.ratio(*parts, counts) for name, parts in _parts(rows).items()}

    def pictures(self, rows: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
        return {name: _means.each(*parts) for name, parts in _parts(rows).items()}

    def notes(self, rows: dict[str, numpy.ndarray]) -> list[str]:
        import numpy

        real, drawn, pairs = (numpy.nansum(rows[name]) for name in ("real", "drawn", "pairs"))
        without = int(((rows["real"] > 0) & (rows["drawn"] == 0)).sum())
        return [
            f"face: {int(pairs):,} pairs of {int(real):,} real and {int(drawn):,} generated faces; "
            f"in {without:,} pictures that should show a face none was found"
        ]

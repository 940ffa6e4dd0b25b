"""People: which of several persons are there, each priced: missing, surplus, doubled, swapped.

Faces are assigned to people so that the sum of the cosines is largest (the Hungarian method).
`face`, the measure of Social Context Feedback, pairs greedily, as public code does that is called
Hungarian; where two people are alike it takes the best pair first and leaves the second person a
stranger's face. Both are given here over the same people, so that the difference is seen.

A person is *recognised* in the face assigned to them if their cosine reaches `--same-person`. All
figures are shares of the people that the pictures should show:

* missing: people who are recognised in no face.
* surplus: faces that were left over, and are nobody's.
* doubled: faces of somebody who is recognised in another face already (left over, or assigned to a
  person who is not recognised in it).
* swapped: of the people recognised in pictures where two or more are, those who stand at the place
  of another. Places are those of the source picture: its faces are assigned to the generated ones
  so that the sum of the distances between their centres is smallest. Without a source picture
  nobody knows who belongs where, and there is no figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from socialcli.config import option
from socialcli.evaluation.cases import Case, Context
from socialcli.evaluation.metrics import Column, _identities, face

if TYPE_CHECKING:
    import numpy

SAME = 0.3


@dataclass
class Options(_identities.Options):
    same_person: float = option(
        SAME, "Cosine of face embeddings from which two faces are one person's (people).",
        at_least=-1, at_most=1,
    )  # fmt: skip


@dataclass(frozen=True)
class Count:
    """What one picture has of the people it should show: sums over them."""

    people: int
    cosine: float  # of the optimal assignment
    greedy: float  # of the greedy one
    missing: int
    surplus: int
    doubled: int
    placed: int  # recognised people whose place is known, 0 where fewer than two are
    swapped: int


def count(
    similarity: numpy.ndarray, same: float, places: list[tuple[int, int]] | None = None
) -> Count:
    """What (N people, M faces) cosines say of a picture.

    Args:
        same: cosine from which a face is a person's.
        places: (person, face) pairs by where they stand; None where nobody knows.
    """
    pairs = _identities.assign(similarity)
    recognised = {person: at for person, at in pairs if similarity[person, at] >= same}
    doubled = surplus = 0
    assigned = {at for _, at in pairs}
    for at in set(range(similarity.shape[1])) - set(recognised.values()):
        nearest = int(similarity[:, at].argmax())
        if similarity[nearest, at] >= same and nearest in recognised:
            doubled += 1
        elif at not in assigned:
            surplus += 1
    belongs = dict(places or ())
    placed = [p for p in recognised if p in belongs]
    placed = placed if len(placed) > 1 else []
    return Count(
        people=len(similarity),
        cosine=float(sum(similarity[pair] for pair in pairs)),
        greedy=float(sum(similarity[pair] for pair in face.match(similarity))),
        missing=len(similarity) - len(recognised),
        surplus=surplus,
        doubled=doubled,
        placed=len(placed),
        swapped=sum(
            recognised[p] != belongs[p] and recognised[p] in belongs.values() for p in placed
        ),
    )


def places(case: Case) -> list[tuple[int, int]] | None:
    """(person, face) pairs by where they stand in the source and in the generated picture."""
    import numpy

    if case.source is None:
        return None
    source_boxes, generated_boxes = (_identities.boxes_of(p) for p in (case.source, case.generated))
    centres = [(b[:, :2] + b[:, 2:]) / 2 for b in (source_boxes, generated_boxes)]
    distance = numpy.linalg.norm(centres[0][:, None] - centres[1][None], axis=-1)
    return _identities.assign(-distance)


class People(_identities.PerPicture):
    """See `Metric`."""

    SOURCE = f"{_identities.SOURCE}; Social Context Feedback (arXiv 2507.16095), section 4.2"
    OPTIONS = ("same_person",)
    config_type = Options
    COLUMNS = (
        Column("people", "People", "higher", -1, 1, "cosine",
               "cosine of each person with the face assigned to them, 0 without one"),
        Column("people_greedy", "People (greedy)", "higher", -1, 1, "cosine",
               "the same with faces that are taken greedily"),
        Column("people_missing", "missing", "lower", 0, 1, "share",
               "people who are recognised in no face"),
        Column("people_surplus", "surplus", "lower", 0, float("inf"), "share",
               "faces left over that are nobody's, a person"),
        Column("people_doubled", "doubled", "lower", 0, float("inf"), "share",
               "faces of people who are recognised in another face, a person"),
        Column("people_swapped", "swapped", "lower", 0, 1, "share",
               "recognised people who stand at another's place"),
    )  # fmt: skip

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """The fields of `Count`, (N,) each; NaN where a picture could not be judged."""
        import dataclasses

        import numpy

        names = [field.name for field in dataclasses.fields(Count)]
        rows = {name: numpy.full(len(cases), numpy.nan) for name in names}
        for number, case in enumerate(cases):
            similarity = _identities.similarities(case)
            if similarity is not None:
                counted = count(similarity, context.config.same_person, places(case))
                for name in names:
                    rows[name][number] = getattr(counted, name)
        return rows

    def parts(
        self, rows: dict[str, numpy.ndarray]
    ) -> dict[str, tuple[numpy.ndarray, numpy.ndarray]]:
        import numpy

        r = {name: numpy.nan_to_num(values) for name, values in rows.items()}
        sums = {
            "people": r["cosine"], "people_greedy": r["greedy"], "people_missing": r["missing"],
            "people_surplus": r["surplus"], "people_doubled": r["doubled"],
        }  # fmt: skip
        parts = {name: (total, r["people"]) for name, total in sums.items()}
        return {**parts, "people_swapped": (r["swapped"], r["placed"])}

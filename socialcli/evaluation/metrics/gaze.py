"""Gaze accuracy: whether people look at what they look at in the reference picture.

As Social Context Feedback (arXiv 2507.16095), section 4.2, has it. In the reference picture each
annotated gaze target is given the label of the object or person in whose box it lies; targets in no
box are left out. A head of the generated picture is right if the gaze detector's point lies in a
box with such a label, detected in the generated picture.

What the paper leaves open is decided so:

* of several boxes around a target the smallest counts, and never the looker's own body;
* the boxes looked for in the generated picture are those of the reference's target labels, found
  by the grounder; labels are compared as words in lower case;
* heads are made from detected faces (`socialcli.vision.people.head_of`); a gaze point counts
  whatever the detector says about it being inside the picture;
* which head is whose is not known, since layouts are free. ``gaze`` takes the sentence as written:
  of all heads in the generated picture, how many look at a thing that somebody looks at in the
  reference. ``gaze_targets`` asks the other way round: of the reference's targets, how many have a
  head of their own that looks at such a thing; there a missing head is a mistake.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.evaluation import gaze_targets
from socialcli.evaluation.cases import Case, Context
from socialcli.evaluation.gaze_targets import MEMBERS, inside
from socialcli.evaluation.metrics import Column, Metric, Needs, _means

if TYPE_CHECKING:
    import numpy


@dataclass
class Options:
    gaze_source: str = option(
        "annotation",
        "Whose gazes in the references count: annotation, or any (a model's estimates too).",
        choices=("annotation", "any"),
    )


def served(looks: list[set[str]], wanted: list[str]) -> int:
    """How many of the wanted labels can be given a head of their own that looks at such a label.

    Args:
        looks: for each head the labels of the boxes its gaze point lies in.
        wanted: the reference's target labels, with repetitions.
    """
    owner: dict[int, int] = {}  # head -> wanted label it serves

    def serve(label: int, tried: set[int]) -> bool:
        for head, seen in enumerate(looks):
            if wanted[label] in seen and head not in tried:
                tried.add(head)
                if head not in owner or serve(owner[head], tried):
                    owner[head] = label
                    return True
        return False

    return sum(serve(label, set()) for label in range(len(wanted)))


_PARTS = {
    "gaze": ("right", "heads"),
    "gaze_targets": ("served", "targets"),
    "gaze_heads": ("able", "targets"),
}


class Gaze(Metric):
    """See `Metric`."""

    SOURCE = "Social Context Feedback (arXiv 2507.16095), section 4.2"
    OPTIONS = ("gaze_source",)
    config_type = Options
    COLUMNS = (
        Column("gaze", "Gaze acc.", "higher", 0, 100, "%",
               "generated heads that look at a thing with the label of a reference gaze target",
               digits=2),
        Column("gaze_targets", "Gaze acc. (targets)", "higher", 0, 100, "%",
               "reference gaze targets that a generated head of their own looks at", digits=2),
        Column("gaze_heads", "Heads found", "higher", 0, 100, "%",
               "reference gaze targets for which the generated picture has a head", digits=2),
    )  # fmt: skip

    def needs(self, config: Any) -> Needs:
        return Needs(
            generated=("gaze", "gaze-objects"), members=MEMBERS, paired=True,
            speaks=lambda source: bool(gaze_targets.labels(source)),
            lacks="nobody in them is annotated to look at a point in a labelled box "
            "(--gaze-source any: or estimated)",
        )  # fmt: skip

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """(N,) counts, 0 where a picture is left out: ``heads``, ``right`` (heads), ``targets``,
        ``served`` (targets), ``able`` (targets for which there is a head)."""
        import numpy

        names = ("heads", "right", "targets", "served", "able", "excluded")
        counts = {name: numpy.zeros(len(cases)) for name in names}
        for number, case in enumerate(cases):
            points = case.generated.get("gaze", "points")
            objects = case.generated.get("gaze-objects", "boxes")
            if not case.has(*MEMBERS) or case.source is None or points is None or objects is None:
                continue
            wanted = gaze_targets.of_source(case.source)
            people = case.source.records["people.json"].people
            looking = [p for p in people if p.gaze is not None and p.gaze.point is not None]
            counts["excluded"][number] = len(looking) - len(wanted)
            if not wanted:
                continue
            looks = [
                {label for label, box in objects if point is not None and inside(point, box)}
                for point in points
            ]
            counts["heads"][number] = len(looks)
            counts["right"][number] = sum(bool(seen & set(wanted)) for seen in looks)
            counts["targets"][number] = len(wanted)
            counts["served"][number] = served(looks, wanted)
            counts["able"][number] = min(len(looks), len(wanted))
        return counts

    def estimate(
        self, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
    ) -> dict[str, numpy.ndarray]:
        return {
            name: 100 * _means.ratio(rows[above], rows[below], counts)
            for name, (above, below) in _PARTS.items()
        }

    def pictures(self, rows: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
        return {
            name: 100 * _means.each(rows[above], rows[below])
            for name, (above, below) in _PARTS.items()
        }

    def notes(self, rows: dict[str, numpy.ndarray]) -> list[str]:
        total = {name: int(values.sum()) for name, values in rows.items()}
        return [
            f"gaze: {total['heads']:,} generated heads judged against {total['targets']:,} "
            f"reference targets; {total['excluded']:,} targets lie in no labelled box and are left "
            "out"
        ]

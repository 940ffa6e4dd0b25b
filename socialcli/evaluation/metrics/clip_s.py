"""CLIP-S: how well the picture shows its subjects, whatever they do.

The cosine in CLIP of the picture and of "A photo of O1 and O2", averaged over pictures. The
subjects are the first two entities of the sample that the picture was made from (``--reference``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.evaluation.cases import Case, Context
from socialcli.evaluation.metrics import Column, Metric, Needs, _means

if TYPE_CHECKING:
    import numpy

MEMBERS = ("entities.json",)


class ClipS(Metric):
    """See `Metric`."""

    SOURCE = "Customizing Text-to-Image Generation with Inverted Interaction, section 5.2"
    COLUMNS = (
        Column("clip_s", "CLIP-S", "higher", -1, 1, "cosine",
               'cosine of picture and "A photo of O1 and O2" in CLIP, mean over pictures'),
    )  # fmt: skip

    def needs(self, config: Any) -> Needs:
        return Needs(
            generated=("clip", "clip-sentence"), members=MEMBERS, paired=True,
            speaks=lambda source: bool(source.records["entities.json"].entities),
            lacks="their entities.json name nothing",
        )  # fmt: skip

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """``cosine`` (N,): of each picture with its subjects' sentence."""
        import numpy

        cosines = numpy.full(len(cases), numpy.nan)
        for number, case in enumerate(cases):
            picture, text = case.generated.get("clip"), case.generated.get("clip-sentence")
            if picture is not None and text is not None:
                cosines[number] = _means.cosine(picture, text)[0, 0]
        return {"cosine": cosines}

    def estimate(
        self, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
    ) -> dict[str, numpy.ndarray]:
        return {"clip_s": _means.mean(rows["cosine"], counts)}

    def pictures(self, rows: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
        return {"clip_s": rows["cosine"]}

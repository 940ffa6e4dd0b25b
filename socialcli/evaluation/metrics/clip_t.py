"""CLIP-T: how well the picture fits its prompt.

The cosine between CLIP's embeddings of the picture and of the prompt, averaged over pictures. Two
columns, because papers use one name for both: the raw cosine, and CLIPScore's 2.5 * max(cos, 0).
In Social Context Feedback Tables 1 and 2 are of the first kind (0.297), Table 3 of the second
(0.757), as are those of Multi-Subject Personalization. Neither has the "A photo depicts" prefix of
the CLIPScore paper. Where ``generated.json`` has a ``plain_prompt`` (pseudo-words replaced by
words), that is the text, as Inverted Interaction section 5.2 does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.evaluation.cases import Case, Context
from socialcli.evaluation.metrics import Column, Metric, Needs, _means

if TYPE_CHECKING:
    import numpy

WEIGHT = 2.5


class ClipT(Metric):
    """See `Metric`."""

    SOURCE = (
        "Social Context Feedback (arXiv 2507.16095), section 4.2; Hessel et al., CLIPScore, 2021"
    )
    COLUMNS = (
        Column("clip_t", "CLIP-T", "higher", -1, 1, "cosine",
               "cosine of picture and prompt in CLIP, mean over pictures"),
        Column("clip_t_score", "CLIP-T ×2.5", "higher", 0, 2.5, "score",
               "CLIPScore: 2.5 * max(cosine, 0), mean over pictures"),
    )  # fmt: skip

    def needs(self, config: Any) -> Needs:
        return Needs(generated=("clip",), text=("clip-text",))

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """``cosine`` (N,): of each picture with its prompt."""
        import numpy

        cosines = numpy.full(len(cases), numpy.nan)
        for number, case in enumerate(cases):
            picture, text = case.generated.get("clip"), case.text.get("clip-text", {}).get("vector")
            if picture is not None and text is not None:
                cosines[number] = _means.cosine(picture, text)[0, 0]
        return {"cosine": cosines}

    def estimate(
        self, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
    ) -> dict[str, numpy.ndarray]:
        return {name: _means.mean(values, counts) for name, values in self.pictures(rows).items()}

    def pictures(self, rows: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
        import numpy

        cosine = rows["cosine"]
        return {"clip_t": cosine, "clip_t_score": WEIGHT * numpy.maximum(cosine, 0)}

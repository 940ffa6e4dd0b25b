"""ID (P): whether the face is the person's, 0 where the picture is not what the prompt says.

A method that draws the reference's face whatever it is asked for has a high `id`. So a picture
whose cosine with its prompt in CLIP is below `--prompt-threshold` has 0 here. The paper's
threshold, 0.23, is the mean cosine of the pictures that its users preferred; of another CLIP it is
another number (docs/score.md says how the miniatures' is chosen). A picture without a face has no
figure, as in `id`; `id_p_all` counts it as 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.evaluation.cases import Case, Context
from socialcli.evaluation.metrics import Column, Needs, _identities, id, prompt

if TYPE_CHECKING:
    import numpy


@dataclass
class Options(_identities.Options):
    prompt_threshold: float = option(
        0.23, "CLIP cosine of picture and prompt below which id-p is 0.", at_least=-1, at_most=1
    )


class IdP(_identities.PerPicture):
    """See `Metric`."""

    OPTIONS = ("face_prompt", "prompt_threshold")
    config_type = Options
    COLUMNS = (
        Column("id_p", "ID (P)", "higher", -1, 1, "cosine",
               "cosine of face and person, 0 where the picture does not fit its prompt"),
        Column("id_p_all", "ID (P, all)", "higher", -1, 1, "cosine",
               "the same, where a person without a face counts as 0"),
        Column("id_p_fit", "fits its prompt", "higher", 0, 1, "share",
               "pictures whose cosine with their prompt reaches the threshold"),
    )  # fmt: skip

    def needs(self, config: Any) -> Needs:
        return Needs(
            generated=("faces", "clip"), references=("faces",), text=("clip-text",), paired=True
        )

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """Those of `id`, NaN where CLIP has no cosine; ``fit`` (N,): whether it is high enough."""
        import numpy

        cosine = numpy.array([prompt.cosine(case) for case in cases], numpy.float64)
        seen = numpy.isfinite(cosine)
        wanted = [self.wanted(case, context) and bool(seen[n]) for n, case in enumerate(cases)]
        rows = id.rows_of(cases, wanted)
        fit = (cosine >= context.config.prompt_threshold).astype(numpy.float64)
        return {**rows, "fit": numpy.where(numpy.isfinite(rows["people"]), fit, numpy.nan)}

    def parts(
        self, rows: dict[str, numpy.ndarray]
    ) -> dict[str, tuple[numpy.ndarray, numpy.ndarray]]:
        mean, everybody = id.means(rows)
        values = {"id_p": mean * rows["fit"], "id_p_all": everybody * rows["fit"],
                  "id_p_fit": rows["fit"]}  # fmt: skip
        return {name: _identities.known(value) for name, value in values.items()}

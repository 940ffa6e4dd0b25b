"""Prompt: CLIP's cosine of picture and prompt, over the prompts that ask for more than a face.

It is `clip-t`'s cosine. Identity Embedding draws photos of the bare face besides (`--face-prompt`),
to judge identity at the references' size; they say nothing about following a prompt and are left
out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.evaluation.cases import Case, Context
from socialcli.evaluation.metrics import Column, Needs, _identities, _means

if TYPE_CHECKING:
    import numpy


def cosine(case: Case) -> float:
    """Of a picture and its prompt in CLIP; NaN where one of them could not be read."""
    picture, text = case.generated.get("clip"), case.text.get("clip-text", {}).get("vector")
    return float("nan") if picture is None or text is None else _means.cosine(picture, text)[0, 0]


class Prompt(_identities.PerPicture):
    """See `Metric`."""

    COLUMNS = (
        Column("prompt_score", "Prompt", "higher", -1, 1, "cosine",
               "cosine of picture and prompt in CLIP, mean over pictures of more than a face"),
    )  # fmt: skip

    def needs(self, config: Any) -> Needs:
        return Needs(generated=("clip",), text=("clip-text",))

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """``cosine`` (N,)."""
        import numpy

        values = [cosine(c) if self.wanted(c, context) else numpy.nan for c in cases]
        return {"cosine": numpy.array(values, numpy.float64)}

    def parts(
        self, rows: dict[str, numpy.ndarray]
    ) -> dict[str, tuple[numpy.ndarray, numpy.ndarray]]:
        return {"prompt_score": _identities.known(rows["cosine"])}

"""DINO: how much the picture looks like its references.

The cosine of DINO's class token (ViT-S/16 in DreamBooth and Custom Diffusion), over the same pairs
and means as CLIP-I. DINO is trained to tell single pictures apart, so it asks for more than the
class of the subject, which is what CLIP sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.evaluation.metrics import Case, Column, Context, Needs, _likeness, _means

if TYPE_CHECKING:
    import numpy

SOURCE = "000_742de2d20f4a0d3a.txt, section 4.2; DreamBooth (ViT-S/16, class token)"
OPTIONS = ("against", "crops")
COLUMNS = (
    Column("dino", "DINO", "higher", -1, 1, "cosine",
           "cosine of generated and reference pictures in DINO, mean over pictures"),
)  # fmt: skip
FEATURE = "dino"


def needs(config: Any) -> Needs:
    mine, theirs = _likeness.names(FEATURE, config)
    return Needs(generated=(mine,), references=(theirs,), paired=True)


def rows(cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
    """``cosine`` (N,): of each picture with its references."""
    return {"cosine": _likeness.cosines(cases, FEATURE, context.config)}


def pictures(rows: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    return {COLUMNS[0].name: rows["cosine"]}


def estimate(rows: dict[str, numpy.ndarray], counts: numpy.ndarray) -> dict[str, numpy.ndarray]:
    return {COLUMNS[0].name: _means.mean(rows["cosine"], counts)}

"""CLIP-I: how much the picture looks like its references.

The cosine of CLIP's picture embeddings, over all pairs of the generated picture with the reference
pictures of a subject, averaged per subject and then over the subjects of the picture (as Custom
Diffusion scores two concepts). Against the source picture where there is one, which is how
000_742de2d20f4a0d3a.txt scores HICO-DET and GazeFollow; see ``--against``. ``--crops`` compares the
subjects' boxes instead of whole pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.evaluation.metrics import Case, Column, Context, Needs, _likeness, _means

if TYPE_CHECKING:
    import numpy

SOURCE = "000_742de2d20f4a0d3a.txt, section 4.2; Custom Diffusion's evaluation (ViT-B/32)"
OPTIONS = ("against", "crops")
COLUMNS = (
    Column("clip_i", "CLIP-I", "higher", -1, 1, "cosine",
           "cosine of generated and reference pictures in CLIP, mean over pictures"),
)  # fmt: skip
FEATURE = "clip"


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

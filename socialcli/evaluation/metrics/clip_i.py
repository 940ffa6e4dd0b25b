"""CLIP-I: how much the picture looks like its references.

The cosine of CLIP's picture embeddings, over all pairs of the generated picture with the reference
pictures of a subject, averaged per subject and then over the subjects of the picture (as Custom
Diffusion scores two concepts). Against the source picture where there is one, which is how
Social Context Feedback scores HICO-DET and GazeFollow; see ``--against``. ``--crops`` compares the
subjects' boxes instead of whole pictures.
"""

from __future__ import annotations

from socialcli.evaluation.metrics import Column
from socialcli.evaluation.metrics._likeness import Likeness


class ClipI(Likeness):
    """See `Metric`."""

    SOURCE = (
        "Social Context Feedback (arXiv 2507.16095), section 4.2; "
        "Custom Diffusion's evaluation (ViT-B/32)"
    )
    COLUMNS = (
        Column("clip_i", "CLIP-I", "higher", -1, 1, "cosine",
               "cosine of generated and reference pictures in CLIP, mean over pictures"),
    )  # fmt: skip
    FEATURE = "clip"

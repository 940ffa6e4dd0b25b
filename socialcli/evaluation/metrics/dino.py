"""DINO: how much the picture looks like its references.

The cosine of DINO's class token (ViT-S/16 in DreamBooth and Custom Diffusion), over the same pairs
and means as CLIP-I. DINO is trained to tell single pictures apart, so it asks for more than the
class of the subject, which is what CLIP sees.
"""

from __future__ import annotations

from socialcli.evaluation.metrics import Column
from socialcli.evaluation.metrics._likeness import Likeness


class Dino(Likeness):
    """See `Metric`."""

    SOURCE = (
        "Social Context Feedback (arXiv 2507.16095), section 4.2; "
        "DreamBooth (ViT-S/16, class token)"
    )
    COLUMNS = (
        Column("dino", "DINO", "higher", -1, 1, "cosine",
               "cosine of generated and reference pictures in DINO, mean over pictures"),
    )  # fmt: skip
    FEATURE = "dino"

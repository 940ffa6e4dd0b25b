"""SAS: how much the picture's subjects are those of its references, to a network that knows them.

Subject-aware similarity: the cosine of features of a subject segmentation's encoder. CLIP gives 0.8
to quite different subjects; this network was trained to tell the subjects of the run apart. The
paper does not say which features: here the mean of the deepest ones over the picture, 512 numbers.
"""

from __future__ import annotations

from socialcli.evaluation.metrics import Column
from socialcli.evaluation.metrics._likeness import Likeness


class Sas(Likeness):
    """See `Metric`."""

    SOURCE = "Multi-Subject Personalization (arXiv 2405.12742), A.6"
    COLUMNS = (
        Column("sas", "SAS", "higher", -1, 1, "cosine",
               "cosine of generated and reference pictures in a subject segmentation's encoder"),
    )  # fmt: skip
    FEATURE = "subject-encoder"

"""CLIP-I to the pictures that were trained on (`--train-set`), and how far it exceeds CLIP-I.

A method that learns its training pictures by heart comes near to them, and no nearer to other
pictures of the same subject: clip_i_train rises, clip_i does not; clip_i_gap is their difference.
"""

from __future__ import annotations

from socialcli.evaluation.metrics import Column
from socialcli.evaluation.metrics._likeness import TrainingLikeness


class ClipITrain(TrainingLikeness):
    """See `Metric`."""

    SOURCE = "Towards More Accurate Personalized Image Generation, section 1, Figure 1"
    COLUMNS = (
        Column("clip_i_train", "CLIP-I train", "", -1, 1, "cosine",
               "cosine of generated and training pictures of the same subject in CLIP"),
        Column("clip_i_gap", "CLIP-I gap", "", -2, 2, "cosine",
               "CLIP-I train less CLIP-I, over pictures that have both: rises with overfitting"),
    )  # fmt: skip
    FEATURE = "clip"

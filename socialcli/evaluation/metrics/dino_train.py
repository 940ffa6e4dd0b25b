"""DINO to the pictures that were trained on (`--train-set`), and how far it exceeds DINO.

A method that learns its training pictures by heart comes near to them, and no nearer to other
pictures of the same subject: dino_train rises, dino does not; dino_gap is their difference.
"""

from __future__ import annotations

from socialcli.evaluation.metrics import Column
from socialcli.evaluation.metrics._likeness import TrainingLikeness


class DinoTrain(TrainingLikeness):
    """See `Metric`."""

    SOURCE = "Towards More Accurate Personalized Image Generation, section 1, Figure 1"
    COLUMNS = (
        Column("dino_train", "DINO train", "", -1, 1, "cosine",
               "cosine of generated and training pictures of the same subject in DINO"),
        Column("dino_gap", "DINO gap", "", -2, 2, "cosine",
               "DINO train less DINO, over pictures that have both: rises with overfitting"),
    )  # fmt: skip
    FEATURE = "dino"

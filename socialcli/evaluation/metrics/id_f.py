"""ID (F): whether the face is the person's, in photos of the face alone.

What `id` is, over the prompts that `--face-prompt` fits. There the face is as large as in the
reference, and cosines are higher than in pictures with a scene around it.
"""

from __future__ import annotations

from socialcli.evaluation.metrics import Column
from socialcli.evaluation.metrics.id import Id


class IdF(Id):
    """See `Metric`."""

    FACE_PHOTOS = True
    COLUMNS = (
        Column("id_f", "ID (F)", "higher", -1, 1, "cosine",
               "cosine of face and person, mean over face photos with a face"),
        Column("id_f_all", "ID (F, all)", "higher", -1, 1, "cosine",
               "the same, where a person without a face counts as 0"),
    )  # fmt: skip

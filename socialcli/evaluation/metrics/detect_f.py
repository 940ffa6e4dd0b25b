"""Detect (F): whether a face is found at all, in photos of the face alone.

What `detect` is, over the prompts that `--face-prompt` fits.
"""

from __future__ import annotations

from socialcli.evaluation.metrics import Column
from socialcli.evaluation.metrics.detect import Detect


class DetectF(Detect):
    """See `Metric`."""

    FACE_PHOTOS = True
    COLUMNS = (
        Column("detect_f", "Detect (F)", "higher", 0, 1, "share",
               "people for whom a face photo has a face, mean over face photos"),
    )  # fmt: skip

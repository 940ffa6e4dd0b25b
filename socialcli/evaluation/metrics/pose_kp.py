"""Pose-KP: how the two subjects stand, told from their keypoints.

The share of pictures in which a judge that `train --method pose-judge` made (``--pose-judge``)
sees the interaction that was asked for. The two subjects are looked for by the names that the
sample the picture was made from gives them; where fewer than two are found the picture is wrong.
"""

from __future__ import annotations

from socialcli.evaluation.metrics._judged import Judged, columns


class PoseKp(Judged):
    """See `Metric`."""

    COLUMNS = columns("pose_kp", "Pose-KP", "by their keypoints")

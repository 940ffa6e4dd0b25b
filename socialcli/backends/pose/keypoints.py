"""What pose backends share: how scores become COCO's visibility.

A backend with another set of keypoints (faces, hands, animals) gives `records.Keypoints` its own
``layout`` and a list as long as that layout; every reader looks at ``layout`` first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.records import Keypoints

if TYPE_CHECKING:
    import numpy


def scored(points: numpy.ndarray, threshold: float, layout: str = "coco17") -> Keypoints:
    """(K, 3) normalised x, y and score -> `Keypoints` with COCO's visibility.

    A point scored below the threshold, or outside the picture, is not labelled: visibility 0. Its
    place and score stay for those who want another threshold.
    """
    labelled = [
        (x, y, 2.0 if score >= threshold and 0 <= x <= 1 and 0 <= y <= 1 else 0.0)
        for x, y, score in points.tolist()
    ]
    return Keypoints(points=labelled, scores=[float(s) for s in points[:, 2]], layout=layout)

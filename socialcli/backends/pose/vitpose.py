"""Body keypoints by ViTPose through transformers: one warped window per person box."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo
from socialcli.backends.pose.keypoints import scored
from socialcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy
    from PIL.Image import Image

    from socialcli.backends import ModelSpec
    from socialcli.records import XYXY, Keypoints

INFO = BackendInfo(
    summary="ViTPose and ViTPose+ (COCO's 17 body keypoints) through transformers.",
    licence="Apache-2.0",
    model="usyd-community/vitpose-base-simple",
    get="hf download usyd-community/vitpose-base-simple",
    size="344 MB",
    packages=("torch", "transformers", "scipy"),
)
WINDOWS = 32  # people per forward pass
COCO_EXPERT = 0  # which of ViTPose+'s data-set experts: 0 is COCO


def load(spec: ModelSpec) -> ViTPose:
    """Load the checkpoint ``spec.model``: a hub id or a folder.

    Raises:
        ModelMissing: it is not here. UsageError: it is no ViTPose, or has not COCO's keypoints.
    """
    return ViTPose(spec)


class ViTPose:
    """A `PoseEstimator`."""

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends import checkpoints

        self.threshold = float(spec.options.get("threshold", 0.3))
        self.network = checkpoints.pretrained(
            "VitPoseForPoseEstimation", spec, INFO.model, INFO.get
        )
        self.processor = checkpoints.pretrained("AutoImageProcessor", spec, INFO.model, INFO.get)
        points = self.network.config.num_labels
        if points != 17:
            raise UsageError(
                f"{spec.model}: {points} keypoints instead of COCO's 17; use a COCO checkpoint "
                f"such as {INFO.model}"
            )
        self.experts = getattr(self.network.config.backbone_config, "num_experts", 1) > 1
        self.model = checkpoints.describe(spec, INFO.model, {"threshold": self.threshold})

    def estimate(self, images: list[Image], boxes: list[list[XYXY]]) -> list[list[Keypoints]]:
        """Keypoints of the person in each box."""
        import torch

        result: list[list[Keypoints]] = [[] for _ in images]
        for part, pixels, feed in self._windows(images, boxes):
            with torch.inference_mode():
                output = self.network(**feed)
            output.heatmaps = output.heatmaps.float()
            poses = self.processor.post_process_pose_estimation(output, boxes=pixels)
            for (number, _), [pose] in zip(part, poses, strict=True):
                scale = torch.tensor([images[number].width, images[number].height])
                rows = torch.cat([pose["keypoints"] / scale, pose["scores"].reshape(-1, 1)], 1)
                result[number].append(scored(rows.double().numpy(), self.threshold))
        return result

    def encode(self, images: list[Image], boxes: list[list[XYXY]]) -> list[numpy.ndarray]:
        """(K, 2 C) float32 of each picture's K boxes: the encoder's last features, their mean and
        their maximum over the window's patches."""
        import numpy
        import torch

        result: list[list[numpy.ndarray]] = [[] for _ in images]
        for part, _, feed in self._windows(images, boxes):
            with torch.inference_mode():
                patches = self.network.backbone.forward_with_filtered_kwargs(**feed).feature_maps[
                    -1
                ]
            both = torch.cat([patches.mean(1), patches.amax(1)], 1).float().cpu().numpy()
            for (number, _box), row in zip(part, both, strict=True):
                result[number].append(row)
        width = 2 * self.network.config.backbone_config.hidden_size
        return [numpy.array(rows, numpy.float32).reshape(-1, width) for rows in result]

    def _windows(
        self, images: list[Image], boxes: list[list[XYXY]]
    ) -> Iterator[tuple[list[tuple[int, XYXY]], list[list[list[float]]], dict[str, Any]]]:
        """What the network is fed: (number of the picture, box) of each window, the boxes in
        pixels, the arguments."""
        import torch

        owners = [(number, box) for number, own in enumerate(boxes) for box in own]
        for start in range(0, len(owners), WINDOWS):
            part = owners[start : start + WINDOWS]
            pictures = [images[number] for number, _ in part]
            # COCO's form of a box: left, top, width, height in pixels; one per picture here.
            pixels = [[_coco_box(box, images[number])] for number, box in part]
            inputs = self.processor(images=pictures, boxes=pixels, return_tensors="pt")
            feed: dict[str, Any] = {
                "pixel_values": inputs["pixel_values"].to(self.network.device, self.network.dtype)
            }
            if self.experts:
                feed["dataset_index"] = torch.full(
                    (len(part),), COCO_EXPERT, device=self.network.device
                )
            yield part, pixels, feed


def _coco_box(box: XYXY, image: Image) -> list[float]:
    left, top, right, bottom = box
    width, height = max(right - left, 0.0) * image.width, max(bottom - top, 0.0) * image.height
    return [left * image.width, top * image.height, max(width, 1.0), max(height, 1.0)]

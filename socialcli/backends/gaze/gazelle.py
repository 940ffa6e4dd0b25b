"""Gaze points and vectors by Gaze-LLE, from an official decoder file and a DINOv2."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo, checkpoints, naming
from socialcli.errors import ModelMissing, UsageError
from socialcli.records import Gaze

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from socialcli.backends import ModelSpec
    from socialcli.networks.gazelle import Network
    from socialcli.records import XYXY

INFO = BackendInfo(
    summary="Gaze-LLE (CVPR 2025): gaze points from a frozen DINOv2; free for any use.",
    licence="MIT (decoder), Apache-2.0 (DINOv2)",
    get="curl -LO https://github.com/fkryan/gazelle/releases/download/v1.0.0/"
    "gazelle_dinov2_vitb14_inout.pt && hf download facebook/dinov2-base, "
    "then pass --gaze-model PATH/gazelle_dinov2_vitb14_inout.pt",
    size="350 MB",
    packages=("torch", "transformers"),
)
BACKBONES = {768: "facebook/dinov2-base", 1024: "facebook/dinov2-large"}


def load(spec: ModelSpec) -> GazeLLEGaze:
    """Load the decoder ``spec.model``, a file, and its DINOv2; or a folder that holds both: one
    ``.pt`` file, and a DINOv2 as transformers saves it.

    Raises:
        ModelMissing: no file was named, it is not there, or DINOv2 is not. UsageError: it is no
            Gaze-LLE, or one for another DINOv2.
    """
    if not spec.model:
        raise ModelMissing(f"the gazelle backend needs a checkpoint file: {INFO.get}")
    return GazeLLEGaze(spec)


class GazeLLEGaze:
    """A `GazeEstimator`. The people of one picture are judged apart: none sees another's head."""

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends.devices import dtype
        from socialcli.networks import gazelle

        decoder = gazelle.load_decoder(
            file := checkpoints.one_file(spec.model, ".pt", "Gaze-LLE decoder")
        )
        backbone = BACKBONES.get(decoder.linear.in_channels, "")
        if Path(spec.model).expanduser().is_dir():
            backbone = spec.model
        if not backbone:
            raise UsageError(
                f"{file}: trained on features {decoder.linear.in_channels} wide, which no DINOv2 "
                "on the hub that it is published for has; put it into the folder of its DINOv2"
            )
        inner = dataclasses.replace(spec, model=backbone, dtype="float32", revision=None)
        get = f"hf download {backbone}"
        network = checkpoints.pretrained("Dinov2Model", inner, backbone, get)
        self.device, self.dtype = spec.device, dtype(spec.dtype)
        self.network = gazelle.join(decoder, network, file).to(self.device, self.dtype)
        self.model = naming.describe(spec, options={"dtype": spec.dtype, "backbone": backbone})

    def look(self, pictures: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
        """See `look`."""
        return look(self.network, pictures, heads)

    def gaze(self, images: list[Image], heads: list[list[XYXY]]) -> list[list[Gaze]]:
        """Gaze of the person of each head box.

        ``point`` is the highest cell of the heat map, ``vector`` the direction from the head's
        centre to it. ``score`` is the probability that the target lies inside the picture, and
        ``inside`` whether that is at least one half, where the checkpoint says so (``_inout``);
        else ``score`` is the height of the heat map's peak and ``inside`` is not said.
        """
        return [self._one(image, own) for image, own in zip(images, heads, strict=True)]

    def _one(self, image: Image, heads: list[XYXY]) -> list[Gaze]:
        import numpy
        import torch

        from socialcli.networks import gaze_geometry, gazelle

        if not heads:
            return []
        rgb = torch.from_numpy(numpy.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)
        with torch.inference_mode():
            picture = gazelle.prepare(rgb[None].to(self.device) / 255, self.network)
            boxes = torch.tensor([heads], device=self.device, dtype=self.dtype)
            seen = self.network(picture.to(self.dtype), boxes)
        heatmap = seen.heatmap[0].float()
        points = gaze_geometry.argmax_point(heatmap)
        centres = (boxes[0, :, :2] + boxes[0, :, 2:]).float() / 2
        vectors = gaze_geometry.to_pixel_frame(points - centres, image.width, image.height)
        scores: Any = heatmap.flatten(1).amax(1) if seen.inside is None else seen.inside[0].float()
        return [
            Gaze(
                point=tuple(point),
                vector=tuple(vector) if any(vector) else None,
                inside=None if seen.inside is None else score >= 0.5,
                score=min(max(score, 0.0), 1.0),
            )
            for point, vector, score in zip(
                points.tolist(), vectors.tolist(), scores.tolist(), strict=True
            )
        ]


def look(network: Network, pictures: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
    """What Gaze-LLE sees of people, differentiable in the pixels.

    Args:
        pictures: (B, 3, H, W) in [-1, 1]. heads: (B, n, 4) normalised xyxy.

    Returns:
        vector (B, n, 2) of length 1 in the picture's pixel frame, from the head's centre to the
        heat map's soft argmax; heatmap (B, n, 64, 64).
    """
    from socialcli.networks import gaze_geometry, gazelle

    kind = next(network.parameters()).dtype
    small = gazelle.prepare((pictures + 1) / 2, network)
    heatmap = network(small.to(kind), heads.to(kind)).heatmap
    heatmap = heatmap.float() if heatmap.itemsize < 4 else heatmap
    point = gaze_geometry.soft_argmax_point(heatmap)
    centre = (heads[..., :2] + heads[..., 2:]).to(point.dtype) / 2
    height, width = pictures.shape[-2:]
    return gaze_geometry.to_pixel_frame(point - centre, width, height), heatmap

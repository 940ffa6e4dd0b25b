"""ArcFace identities from an official ``backbone.pth``, in torch (the network training uses)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.backends import BackendInfo, naming
from socialcli.errors import ModelMissing
from socialcli.vision import faces

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

    from socialcli.backends import ModelSpec
    from socialcli.records import Face

INFO = BackendInfo(
    summary="ArcFace embedding by iresnet 18 to 200 in torch, from backbone.pth. Finds no faces.",
    licence="non-commercial research only (weights)",
    get="download a backbone.pth of the model zoo at "
    "https://github.com/deepinsight/insightface/tree/master/recognition/arcface_torch "
    "and pass --identity-model PATH/backbone.pth",
    size="96 to 261 MB",
    packages=("torch",),
)
BATCH = 64


def load(spec: ModelSpec) -> IResNetEmbedder:
    """Load the checkpoint file ``spec.model``.

    Raises:
        ModelMissing: no file was named, or it is not there. UsageError: it is no iresnet.
    """
    if not spec.model:
        raise ModelMissing(f"the iresnet backend needs a checkpoint file: {INFO.get}")
    return IResNetEmbedder(spec)


class IResNetEmbedder:
    """A `FaceEmbedder`; it aligns faces by their landmarks."""

    embeds = True

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.backends.devices import dtype
        from socialcli.networks import iresnet

        self.device, self.dtype = spec.device, dtype(spec.dtype)
        self.network = iresnet.load(spec.model).to(self.device, self.dtype)
        self.model = naming.describe(
            spec, options={"network": iresnet.name(self.network), "dtype": spec.dtype}
        )

    def embed(self, images: list[Image], detected: list[list[Face]]) -> list[numpy.ndarray]:
        """(N, D) embeddings per picture, one for each of its faces; all must have landmarks."""
        import numpy
        import torch

        crops = torch.from_numpy(faces.crop_all(images, detected)).permute(0, 3, 1, 2) / 127.5 - 1
        rows = []
        with torch.inference_mode():
            for part in crops.split(BATCH) if len(crops) else ():
                out = self.network(part.to(self.device, self.dtype))
                rows.append(out.float().cpu().numpy())
        empty = numpy.zeros((0, self.network.embedding), numpy.float32)
        return faces.deal_out(numpy.concatenate(rows) if rows else empty, detected)

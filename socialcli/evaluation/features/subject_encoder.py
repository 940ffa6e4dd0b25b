"""A picture as the encoder of a subject segmentation sees it: ``vector`` (512,)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.backends import naming
from socialcli.config import option
from socialcli.errors import UsageError
from socialcli.evaluation.features import Feature, Look, Value, _vectors

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

    from socialcli.errors import SampleFailed
    from socialcli.records import Model

SIDE = 512  # pixels, of a network whose file does not say what it was trained on
AT_ONCE = 16


@dataclass
class Options:
    segmentation_model: str = option(
        "", "Subject segmentation whose encoder compares pictures: what `train --method "
        "subject-segmentation` writes, or segmentation_models_pytorch's folder."
    )  # fmt: skip


class Embedder:
    """The mean of the encoder's deepest features, of whole pictures squeezed into its square."""

    def __init__(self, given: str, device: str) -> None:
        from socialcli.backends import ModelSpec
        from socialcli.networks import subject_unet

        trained = subject_unet.load(given)
        self.network, self.side = trained.network.to(device), trained.side or SIDE
        self.device = device
        self.model: Model = naming.describe(ModelSpec("", "subject-segmentation", given))

    def images(self, images: list[Image]) -> numpy.ndarray:
        """(N, 512) float32, each row of length 1."""
        import numpy
        import torch
        from PIL.Image import Resampling
        from torch.nn import functional

        rows = [numpy.zeros((0, 512), numpy.float32)]
        for start in range(0, len(images), AT_ONCE):
            part = images[start : start + AT_ONCE]
            size = (self.side, self.side)
            values = numpy.stack(
                [numpy.asarray(i.convert("RGB").resize(size, Resampling.BICUBIC)) for i in part]
            )
            pixels = torch.from_numpy(values).permute(0, 3, 1, 2).float() / 255
            with torch.inference_mode():
                pooled = self.network.pooled(pixels.to(self.device)).float()
            rows.append(functional.normalize(pooled, dim=-1).cpu().numpy())
        return numpy.concatenate(rows)


def load(config: Any) -> Embedder:
    """The network of ``--segmentation-model``.

    Raises:
        UsageError: none is named, or it is another network. ModelMissing: it is not there.
    """
    check(config)
    return Embedder(config.segmentation_model, config.device)


def check(config: Any) -> None:
    """Refuse a score without a network, before anything is read (UsageError)."""
    if not config.segmentation_model:
        raise UsageError(
            "sas compares pictures by a subject segmentation: give --segmentation-model FOLDER "
            "(see `socialcli train --method subject-segmentation`)"
        )


class SubjectEncoder(Feature):
    """See `Feature`."""

    config_type = Options

    def models(self, config: Any) -> tuple[()]:
        return ()

    def check_options(self, config: Any) -> None:
        check(config)

    def options(self, config: Any) -> dict[str, Any]:
        return {"model": naming.content(config.segmentation_model)}

    def load(self, config: Any) -> Embedder:
        return load(config)

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        return _vectors.of_pictures(models[0], looks)

"""A picture's embedding in Inception, as FID has it: ``vector`` (D,)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.backends import naming
from socialcli.config import option
from socialcli.errors import ModelMissing, SampleFailed, UsageError
from socialcli.evaluation.features import Feature, Look, Value, _vectors

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

    from socialcli.backends import ModelSpec

WEIGHTS = (
    "curl -L -o inception-2015-12-05.pt https://nvlabs-fi-cdn.nvidia.com/"
    "stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
)


@dataclass
class Options:
    inception_model: str = option(
        "", "TorchScript file of Inception, for --fid-features inception."
    )


class Inception(Feature):
    """See `Feature`."""

    config_type = Options

    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        """None of a backend."""
        return ()

    def options(self, config: Any) -> dict[str, Any]:
        return {"model": naming.content(config.inception_model)}

    def load(self, config: Any) -> Network:
        return Network(config.inception_model, config.device)

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        return _vectors.of_pictures(models[0], looks)


class Network:
    """Inception's features as FID has them: the TorchScript file of StyleGAN's authors, whose
    features are TensorFlow's to about 1e-3. It holds a program for torch's own interpreter."""

    def __init__(self, file: str, device: str) -> None:
        """Load it.

        Raises:
            ModelMissing: no file was named, or it is not there. UsageError: it is another thing.
        """
        import warnings
        from pathlib import Path

        import torch

        path = Path(file).expanduser()
        if not file or not path.is_file():
            what = f"{file}: no such file" if file else "it needs its weights"
            raise ModelMissing(
                f"--fid-features inception: {what}. Get them with: {WEIGHTS} && pass "
                "--inception-model inception-2015-12-05.pt"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TorchScript is old, and so is this file
                self.network = torch.jit.load(str(path), map_location=device).eval()
        except RuntimeError as error:
            reason = str(error).splitlines()[0][:200]
            raise UsageError(f"{file}: not a TorchScript file ({reason})") from None
        self.device = device
        self.model = records.Model(
            "torchscript", naming.name(file), naming.revision(file), "inception"
        )

    def images(self, images: list[Image]) -> numpy.ndarray:
        """(N, D) float32; the network resizes each picture itself, as FID's does."""
        import numpy
        import torch

        rows = []
        for image in images:
            pixels = torch.from_numpy(numpy.array(image)).permute(2, 0, 1)[None]
            with torch.inference_mode():
                rows.append(self.network(pixels.to(self.device), return_features=True))
        return numpy.concatenate([_vectors.array(row).reshape(1, -1) for row in rows])

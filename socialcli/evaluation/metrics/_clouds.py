"""Generated and reference pictures as two clouds of features, which FID and KID compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.evaluation.cases import Case, Context
from socialcli.evaluation.metrics import Metric, Needs

if TYPE_CHECKING:
    import numpy

LEAST = 2  # pictures on either side, for there to be a covariance
FEATURES = ("clip", "dino", "inception")


@dataclass
class Options:
    fid_features: str = option(
        "clip", "Features of fid and kid: clip, dino or inception.", choices=FEATURES
    )


class Clouds(Metric, base=True):
    """A metric of all pictures together; one picture has no distance between clouds."""

    OPTIONS = ("fid_features",)
    config_type = Options

    def needs(self, config: Any) -> Needs:
        return Needs(generated=(config.fid_features,), everything=(config.fid_features,))

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """``generated`` (N, D), NaN where a picture has no feature; ``reference`` (M, D)."""
        import numpy

        name = context.config.fid_features
        vectors = [case.generated.get(name) for case in cases]
        reference_vectors = [p.get(name) for p in context.references if p.get(name) is not None]
        width = next((len(v) for v in [*vectors, *reference_vectors] if v is not None), 0)
        generated = numpy.full((len(cases), width), numpy.nan, numpy.float32)
        for number, vector in enumerate(vectors):
            if vector is not None:
                generated[number] = vector
        reference = numpy.array(reference_vectors, numpy.float32).reshape(
            len(reference_vectors), width
        )
        return {"generated": generated, "reference": reference}

    def joined(
        self, first: dict[str, numpy.ndarray], second: dict[str, numpy.ndarray]
    ) -> dict[str, numpy.ndarray]:
        """Features of other widths cannot be joined: nothing is then left to judge."""
        import numpy

        pair = [rows["generated"] for rows in (first, second)]
        if pair[0].shape[1] != pair[1].shape[1]:
            pair = [numpy.full((len(one), 1), numpy.nan) for one in pair]
        return {**first, "generated": numpy.concatenate(pair)}

    def apart(self, first: dict[str, numpy.ndarray], second: dict[str, numpy.ndarray]) -> str:
        """Whether the reference pictures are others. Their order says nothing, and last digits
        depend on the machine."""
        import numpy

        clouds = [rows["reference"].astype(numpy.float64) for rows in (first, second)]
        if clouds[0].shape[1] != clouds[1].shape[1]:
            return ""  # nothing is left to judge, see `joined`
        counts = [len(cloud) for cloud in clouds]
        if counts[0] != counts[1]:
            return (
                f"one was measured to {counts[0]:,} reference pictures, the other to "
                f"{counts[1]:,}; score both with the same --reference"
            )
        if not counts[0]:
            return ""
        one, other = ([cloud.mean(0), cloud.std(0)] for cloud in clouds)
        if not numpy.allclose(one, other, rtol=1e-3, atol=1e-3 * clouds[0].std()):
            return "measured to different reference pictures; score both with the same --reference"
        return ""

    def count(self, rows: dict[str, numpy.ndarray]) -> int:
        """Generated pictures that have features."""
        import numpy

        return int(numpy.isfinite(rows["generated"]).all(1).sum())


def usable(
    rows: dict[str, numpy.ndarray], counts: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Generated features that are there (n, D) with their counts (R, n), and the references'."""
    import numpy

    there = numpy.isfinite(rows["generated"]).all(1)
    return rows["generated"][there], counts[:, there], rows["reference"]


def library(module: str, name: str) -> Any:
    """A class of torchmetrics.image.

    Raises:
        MissingPackage: torchmetrics is not installed.
    """
    import importlib

    from socialcli.errors import MissingPackage

    try:
        return getattr(importlib.import_module(f"torchmetrics.image.{module}"), name)
    except ModuleNotFoundError:
        raise MissingPackage("torchmetrics (for fid and kid)", "score") from None


def passed(width: int) -> Any:
    """A network that gives back the features it is given, for torchmetrics."""
    import torch

    class Passed(torch.nn.Identity):
        num_features = width

    return Passed()

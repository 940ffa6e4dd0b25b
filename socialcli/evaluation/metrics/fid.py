"""FID: distance between the generated and the reference pictures as two clouds of features.

The Fréchet distance of two Gaussians with the means and covariances of the features, by
torchmetrics. ``--fid-features`` says of what: CLIP's picture embedding (the default), DINO's, or
Inception's, which is the FID of the literature and needs its weights. Figures of different
features, or of different numbers of pictures, do not compare: FID falls with the number.

All reference pictures take part, joined with a generated one or not. The interval resamples the
generated pictures only. A resample repeats pictures, which moves FID upwards, so its resamples are
moved back to the figure and only their spread is shown; with few pictures prefer KID, which has no
such bias.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from socialcli.evaluation.metrics import Column
from socialcli.evaluation.metrics._clouds import LEAST, Clouds, library, passed, usable

if TYPE_CHECKING:
    import numpy


def by_library(generated: numpy.ndarray, reference: numpy.ndarray, counts: numpy.ndarray) -> float:
    """FID of (n, D) and (m, D) features by torchmetrics.

    Raises:
        MissingPackage: torchmetrics is not installed.
    """
    import torch

    metric = library("fid", "FrechetInceptionDistance")(feature=passed(generated.shape[1]))
    metric.update(torch.from_numpy(reference), real=True)
    metric.update(torch.from_numpy(generated), real=False)
    return max(float(metric.compute()), 0.0)  # equal clouds come out a little below


def weighted(generated: numpy.ndarray, reference: numpy.ndarray, counts: numpy.ndarray) -> float:
    """The same distance where picture i counts ``counts[i]`` times; float64 throughout.

    tr sqrt(A B) is the nuclear norm of (centred features of A) times sqrt(B), which takes no root
    of an unsymmetric matrix and costs less where pictures are fewer than features.
    """
    import numpy

    rows = generated.astype(numpy.float64)
    n = counts.sum()
    mean = counts @ rows / n
    centred = numpy.sqrt(counts)[:, None] * (rows - mean) / numpy.sqrt(n - 1)
    centred = centred[counts > 0]
    root, reference_mean, trace = _root(reference.tobytes(), reference.shape)
    product = centred @ root
    small = product @ product.T if len(product) < product.shape[1] else product.T @ product
    shared = numpy.sqrt(numpy.clip(numpy.linalg.eigvalsh(small), 0, None)).sum()
    apart = ((mean - reference_mean) ** 2).sum()
    return max(float(apart + (centred**2).sum() + trace - 2 * shared), 0.0)


@lru_cache(maxsize=1)
def _root(data: bytes, shape: tuple[int, int]) -> tuple[numpy.ndarray, numpy.ndarray, float]:
    """Square root of the references' covariance, their mean, and the covariance's trace."""
    import numpy

    rows = numpy.frombuffer(data, numpy.float32).reshape(shape).astype(numpy.float64)
    covariance = numpy.atleast_2d(numpy.cov(rows, rowvar=False))
    values, vectors = numpy.linalg.eigh(covariance)
    root = (vectors * numpy.sqrt(numpy.clip(values, 0, None))) @ vectors.T
    return root, rows.mean(0), float(numpy.trace(covariance))


class Fid(Clouds):
    """See `Metric`."""

    SOURCE = "Heusel et al., GANs trained by a two time-scale update rule, 2017; torchmetrics"
    COLUMNS = (
        Column("fid", "FID", "lower", 0, float("inf"), "distance",
               "Fréchet distance of generated and reference features", digits=4),
    )  # fmt: skip
    RESAMPLES = 200
    INTERVAL = "centred"

    def estimate(
        self, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
    ) -> dict[str, numpy.ndarray]:
        import numpy

        generated, counts, reference = usable(rows, counts)
        result = numpy.full(len(counts), numpy.nan)
        if len(reference) < LEAST:
            return {"fid": result}
        for number, row in enumerate(counts):
            if row.sum() < LEAST:
                continue
            plain = len(counts) == 1 and bool((row == 1).all())
            result[number] = (by_library if plain else weighted)(generated, reference, row)
        return {"fid": result}

    def notes(self, rows: dict[str, numpy.ndarray]) -> list[str]:
        import numpy

        there = int(numpy.isfinite(rows["generated"]).all(1).sum())
        count, width = rows["reference"].shape
        lines = [
            f"fid: {there:,} generated and {count:,} reference pictures, {width:,} features each"
        ]
        if min(there, count) <= width:
            lines.append(
                f"fid: fewer pictures than features ({min(there, count):,} and {width:,}): this "
                "FID is far too high and only compares with one of as many pictures; see kid"
            )
        return lines

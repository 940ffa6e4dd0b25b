"""KID: the same two clouds of features by the kernel distance, which few pictures do not bias.

The unbiased estimate of the squared maximum mean discrepancy under the kernel (x.y / D + 1)^3: over
all pictures where there are at most 1,000 on the smaller side (torchmetrics' where both sides have
as many), else torchmetrics' mean over 100 subsets of 1,000. ``--fid-features`` says of what
features. It may come out a little below zero. The interval resamples the generated pictures; a
picture is never compared with itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.evaluation.metrics import Column
from socialcli.evaluation.metrics._clouds import LEAST, Clouds, library, passed, usable

if TYPE_CHECKING:
    import numpy

SUBSET, SUBSETS = 1000, 100
BLOCK = 1024  # rows of the kernel matrix held at once


def by_library(generated: numpy.ndarray, reference: numpy.ndarray) -> float:
    """KID of (n, D) and (m, D) features by torchmetrics; its subsets are drawn from a fixed seed.

    Raises:
        MissingPackage: torchmetrics is not installed.
    """
    import warnings

    import torch

    size = min(SUBSET, len(generated), len(reference))
    whole = size == len(generated) == len(reference)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # that it keeps the features
        torch.manual_seed(0)
        metric = library("kid", "KernelInceptionDistance")(
            feature=passed(generated.shape[1]), subsets=1 if whole else SUBSETS, subset_size=size
        )
        metric.update(torch.from_numpy(reference).double(), real=True)
        metric.update(torch.from_numpy(generated).double(), real=False)
        return float(metric.compute()[0])


def kernel(a: numpy.ndarray, b: numpy.ndarray) -> numpy.ndarray:
    """(n, D), (m, D) -> (n, m)."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def weighted(
    generated: numpy.ndarray, reference: numpy.ndarray, counts: numpy.ndarray
) -> numpy.ndarray:
    """The unbiased estimate over all pictures, picture i counting ``counts[r, i]`` times: (R,).

    Pairs of one picture with itself are left out even when it was drawn twice: they would be taken
    for two pictures that happen to be equal.
    """
    import numpy

    x, y = generated.astype(numpy.float64), reference.astype(numpy.float64)
    counts = numpy.asarray(counts, numpy.float64)
    m = len(y)
    inner, across, among = numpy.zeros(len(counts)), numpy.zeros(len(counts)), 0.0
    for start in range(0, len(x), BLOCK):
        part = slice(start, start + BLOCK)
        block = kernel(x[part], x)
        block[numpy.arange(len(block)), numpy.arange(start, start + len(block))] = 0
        inner += ((counts @ block.T) * counts[:, part]).sum(1)
        across += counts[:, part] @ kernel(x[part], y).sum(1)
    for start in range(0, m, BLOCK):
        block = kernel(y[start : start + BLOCK], y)
        block[numpy.arange(len(block)), numpy.arange(start, start + len(block))] = 0
        among += float(block.sum())
    n = counts.sum(1)
    pairs = n**2 - (counts**2).sum(1)
    there = pairs > 0
    safe, size = numpy.where(there, pairs, 1), numpy.maximum(n, 1)
    result = inner / safe + among / (m * (m - 1)) - 2 * across / (size * m)
    return numpy.where(there, result, numpy.nan)


class Kid(Clouds):
    """See `Metric`."""

    SOURCE = "Binkowski et al., Demystifying MMD GANs, 2018; torchmetrics"
    COLUMNS = (
        Column("kid", "KID", "lower", float("-inf"), float("inf"), "distance",
               "squared kernel distance of generated and reference features", digits=5),
    )  # fmt: skip

    def estimate(
        self, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
    ) -> dict[str, numpy.ndarray]:
        import numpy

        generated, counts, reference = usable(rows, counts)
        if min(len(generated), len(reference)) < LEAST:
            return {"kid": numpy.full(len(counts), numpy.nan)}
        # Of clouds of different sizes the library takes subsets of the larger one, and so a figure
        # that depends on the order of the pictures.
        many = min(len(generated), len(reference)) > SUBSET
        if many and len(counts) == 1 and (counts == 1).all():
            return {"kid": numpy.array([by_library(generated, reference)])}
        return {"kid": weighted(generated, reference, counts)}

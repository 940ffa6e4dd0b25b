"""t-SNE of a few hundred points, exactly, for maps of word embeddings.

Source: van der Maaten and Hinton, Visualizing Data using t-SNE, 2008. The start is the points' two
principal components, so that the same points give the same map.
"""

from __future__ import annotations

import numpy

TINY = 1e-12


def embed(
    points: numpy.ndarray, perplexity: float = 20.0, steps: int = 500, rate: float = 100.0
) -> numpy.ndarray:
    """(N, D) -> (N, 2).

    Args:
        perplexity: about how many neighbours each point has; below N / 3.
        steps, rate: of the descent; the first quarter exaggerates the neighbourhoods by 4.
    """
    count = len(points)
    joint = affinities(points, min(perplexity, (count - 1) / 3))
    centred = points - points.mean(0)
    _, _, axes = numpy.linalg.svd(centred, full_matrices=False)
    places = centred @ axes[:2].T
    places = places / max(float(places[:, 0].std()), TINY) * 1e-2
    speed, gain = numpy.zeros_like(places), numpy.ones_like(places)
    for step in range(steps):
        early = step < steps // 4
        gradient = slope(places, joint * (4.0 if early else 1.0))
        same = (gradient > 0) == (speed > 0)
        gain = numpy.maximum(numpy.where(same, gain * 0.8, gain + 0.2), 0.01)
        speed = (0.5 if early else 0.8) * speed - rate * gain * gradient
        places = places + speed
        places = places - places.mean(0)
    return places


def affinities(points: numpy.ndarray, perplexity: float) -> numpy.ndarray:
    """(N, N) joint probabilities p_ij, which sum to one; each point's own width by bisection."""
    squares = _squares(points)
    count = len(points)
    wanted = numpy.log(perplexity)
    each = numpy.zeros((count, count))
    for at in range(count):
        others = numpy.arange(count) != at
        distance = squares[at, others] - squares[at, others].min()
        low, high, sharp = 0.0, numpy.inf, 1.0 / max(float(distance.mean()), TINY)
        for _ in range(60):
            weight = numpy.exp(-distance * sharp)
            share = weight / weight.sum()
            entropy = -float((share * numpy.log(share + TINY)).sum())
            if abs(entropy - wanted) < 1e-5:
                break
            if entropy > wanted:
                low, sharp = sharp, sharp * 2 if high == numpy.inf else (sharp + high) / 2
            else:
                high, sharp = sharp, (sharp + low) / 2
        each[at, others] = share
    joint = each + each.T
    return joint / joint.sum()


def slope(places: numpy.ndarray, joint: numpy.ndarray) -> numpy.ndarray:
    """(N, 2) gradient of the divergence in the places; of ``divergence`` where ``joint`` sums to
    one."""
    near = 1 / (1 + _squares(places))
    numpy.fill_diagonal(near, 0)
    q = near / near.sum()
    pull = (joint - q) * near
    gradient: numpy.ndarray = 4 * (pull.sum(1)[:, None] * places - pull @ places)
    return gradient


def divergence(places: numpy.ndarray, joint: numpy.ndarray) -> float:
    """KL(p || q), what t-SNE goes down."""
    near = 1 / (1 + _squares(places))
    numpy.fill_diagonal(near, 0)
    q = near / near.sum()
    there = joint > 0
    return float((joint[there] * numpy.log(joint[there] / q[there])).sum())


def _squares(points: numpy.ndarray) -> numpy.ndarray:
    lengths = (points**2).sum(1)
    squares: numpy.ndarray = lengths[:, None] + lengths[None] - 2 * points @ points.T
    return numpy.maximum(squares, 0)

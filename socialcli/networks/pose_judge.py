"""Judges of interactions: which of some interactions two bodies perform.

Source: Customizing Text-to-Image Generation with Inverted Interaction, section 5.2. Pose-S is a
linear support vector machine over features of a pose encoder, Pose-KP a graph network of two layers
(Kipf and Welling, 2016) over the keypoints of a skeleton. Both see two bodies, ordered from left to
right, so that nothing need be known of who is who.

On disk one file, ``pose_judge.safetensors``: tensors ``svm.*`` and ``graph.*``; the header has the
classes, the pose model that the features are from, and how many held-out exemplars each judge gets
right.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from socialcli.errors import ModelMissing, UsageError
from socialcli.networks import weights

FILE, NOTE = "pose_judge.safetensors", "socialcli.pose_judge"
JOINTS, BODIES = 17, 2
# Limbs of COCO's skeleton; the two bodies are joined at their shoulders, hips and noses.
LIMBS = (
    (0, 1), (0, 2), (1, 3), (2, 4), (0, 5), (0, 6), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
    (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
MIRROR = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
BRIDGES = (0, 5, 6, 11, 12)


# --- keypoints ------------------------------------------------------------------------------------


def bodies(keypoints: Sequence[Sequence[Sequence[float]]]) -> Tensor:
    """Two skeletons as the graph sees them: (2, 17, 3), the left one first.

    Args:
        keypoints: two of COCO's 17 keypoints (x, y, visibility), normalised or in pixels.

    Returns:
        x, y relative to the middle of all visible joints, over the larger side of their box, and 1
        where a joint is visible; zeros where it is not.
    """
    points = torch.tensor([[list(p) for p in body] for body in keypoints], dtype=torch.float32)
    seen = points[..., 2] > 0
    places = points[..., :2]
    if seen.any():
        low, high = places[seen].amin(0), places[seen].amax(0)
        places = (places - (low + high) / 2) / (high - low).amax().clamp(min=1e-6)
    middles = [
        float(p[s][:, 0].mean()) if s.any() else 0.0 for p, s in zip(places, seen, strict=True)
    ]
    order = sorted(range(len(middles)), key=lambda at: middles[at])
    nodes = torch.cat([places, torch.ones_like(places[..., :1])], -1) * seen[..., None]
    return nodes[order]


def mirrored(nodes: Tensor) -> Tensor:
    """(..., 2, 17, 3) of the mirrored picture: sides change names and bodies change places."""
    turned = nodes[..., list(MIRROR), :].flip(-3)
    return turned * torch.tensor([-1.0, 1.0, 1.0])


class Graph(nn.Module):
    """Two graph convolutions over the 34 joints of two bodies: H' = A H W, with A the adjacency
    with loops, normalised from both sides; logits are read off the joints of the second layer."""

    def __init__(self, classes: int, hidden: int = 64) -> None:
        super().__init__()
        count = BODIES * JOINTS
        self.first = nn.Linear(3 + count, hidden)  # each joint's place and which joint it is
        self.second = nn.Linear(hidden, hidden)
        self.read = nn.Linear(count * hidden, classes)
        self.register_buffer("adjacency", adjacency(), persistent=False)
        self.adjacency: Tensor

    def forward(self, nodes: Tensor) -> Tensor:
        """(B, 2, 17, 3) of `bodies` -> (B, classes) logits."""
        flat = nodes.flatten(1, 2)
        names = torch.eye(flat.shape[1]).to(flat).expand(len(flat), -1, -1)
        hidden = (self.adjacency @ self.first(torch.cat([flat, names], -1))).relu()
        hidden = (self.adjacency @ self.second(hidden)).relu()
        logits: Tensor = self.read(hidden.flatten(1))
        return logits


def adjacency() -> Tensor:
    """(34, 34): D^-1/2 (A + I) D^-1/2 of both skeletons and the bridges between them."""
    count = BODIES * JOINTS
    matrix = torch.eye(count)
    edges = [(body * JOINTS + a, body * JOINTS + b) for body in range(BODIES) for a, b in LIMBS]
    edges += [(joint, JOINTS + joint) for joint in BRIDGES]
    for a, b in edges:
        matrix[a, b] = matrix[b, a] = 1.0
    degree = matrix.sum(1).rsqrt()
    return degree[:, None] * matrix * degree[None]


# --- the support vector machine -------------------------------------------------------------------


def fit_svm(
    features: numpy.ndarray, labels: numpy.ndarray, classes: int, c: float
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Linear one-against-rest machines: the minimum of 1/2 |(w, b)|^2 + C sum max(0, 1 - y f)^2.

    Args:
        features: (N, D) float64. labels: (N,) integers below ``classes``. c: the weight C.

    Returns:
        (classes, D) and (classes,) float64: f = w x + b. The objective is strictly convex, so there
        is one answer, which scikit-learn's LinearSVC finds too.
    """
    from scipy.optimize import minimize

    rows = numpy.concatenate([features, numpy.ones((len(features), 1))], 1)
    solutions = []
    for number in range(classes):
        sign = numpy.where(labels == number, 1.0, -1.0)

        def objective(w: numpy.ndarray, sign: numpy.ndarray = sign) -> Any:
            short = numpy.maximum(0.0, 1.0 - sign * (rows @ w))
            value = 0.5 * w @ w + c * (short @ short)
            return value, w - 2 * c * (rows.T @ (sign * short))

        start = numpy.zeros(rows.shape[1])
        options = {"maxiter": 2000, "ftol": 1e-12, "gtol": 1e-8}
        solutions.append(minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x)
    both = numpy.stack(solutions)
    return both[:, :-1], both[:, -1]


# --- both, and their file -------------------------------------------------------------------------


@dataclass
class PoseJudge:
    """Both judges.

    Attributes:
        classes: names of the interactions.
        mean, std: (D,), by which features are standardised. weight, bias: of the machine.
        graph: the graph network, eval mode.
        pose: record of the pose model that features and keypoints are from.
        held_out: {"pose_s", "pose_kp"}: share of held-out exemplars that is right, and "count".
    """

    classes: list[str]
    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor
    graph: Graph
    pose: dict[str, Any] = field(default_factory=dict)
    held_out: dict[str, float] = field(default_factory=dict)

    def of_features(self, features: Tensor) -> list[str]:
        """Pose-S: (N, D) -> N classes."""
        scores = (features.double() - self.mean) / self.std @ self.weight.T + self.bias
        return [self.classes[int(n)] for n in scores.argmax(1)]

    def of_bodies(self, nodes: Tensor) -> list[str]:
        """Pose-KP: (N, 2, 17, 3) of `bodies` -> N classes."""
        with torch.no_grad():
            return [self.classes[int(n)] for n in self.graph(nodes).argmax(1)]

    def save(self, folder: Path, notes: dict[str, str]) -> None:
        """Write `FILE` into a folder."""
        tensors = {f"svm.{name}": getattr(self, name) for name in ("mean", "std", "weight", "bias")}
        tensors |= {f"graph.{k}": v for k, v in self.graph.state_dict().items()}
        kept = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
        facts = {"classes": self.classes, "pose": self.pose, "held_out": self.held_out}
        header = {**notes, NOTE: json.dumps(facts, ensure_ascii=False, sort_keys=True)}
        weights.write(folder / FILE, kept, header)


def read(place: str) -> PoseJudge:
    """A judge out of its file, or the folder that it lies in.

    Raises:
        ModelMissing: there is none. UsageError: it is another kind of file.
    """
    path = Path(place).expanduser()
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise ModelMissing(
            f"no pose judge at '{place}'. `socialcli train --method pose-judge` makes one"
        )
    try:
        tensors, notes = weights.load(path)
        facts = weights.stated(notes, NOTE)
        graph = Graph(len(facts["classes"]), tensors["graph.first.bias"].shape[0])
        own = {k.removeprefix("graph."): v for k, v in tensors.items() if k.startswith("graph.")}
        weights.fill(graph, own, path, "pose judge")
        parts: dict[str, Any] = {
            k.removeprefix("svm."): v.double() for k, v in tensors.items() if "svm." in k
        }
        return PoseJudge(graph=graph, **parts, **facts)
    except (
        KeyError, ValueError, TypeError, AttributeError, RuntimeError, IndexError
    ) as error:  # fmt: skip
        line = " ".join(str(error).split())[:160]
        raise UsageError(f"{path}: no pose judge ({line})") from None

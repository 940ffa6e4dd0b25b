"""The frozen networks that give feedback: what each wants to know of x0 once, and what it says of
the estimate.

Each has ``targets(pictures, examples)``, what it reads off the originals (a dict a picture, under
names that start with its own), and ``values(pictures, examples)``, its loss for the estimates,
(B,). Pictures are (B, 3, H, W) in [-1, 1] on the device, examples the B dicts that
`_feedback_scene.tensors` made, with the targets added. Only samples it has something to say of are
given to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.errors import UsageError
from socialcli.losses import boundary, gaze, identity, interaction, pose

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from socialcli.methods.train.feedback.options import Config
    from socialcli.training.place import Place

    Examples = list[dict[str, Any]]


def specs(config: Config, wanted: tuple[str, ...], device: str, dtype: str) -> dict[str, ModelSpec]:
    """The model behind each feedback that has one."""
    chosen = {
        "identity": ("face", config.identity_backend, config.identity_model),
        "gaze": ("gaze", config.gaze_backend, config.gaze_model),
        "pose": ("pose", config.pose_backend, config.pose_model),
        "interaction": ("interaction", config.interaction_backend, config.interaction_model),
    }
    made = {}
    for name, (role, backend, model) in chosen.items():
        if name in wanted:
            # Torch's PReLU crashes in bfloat16 on CPUs, and these nets are small.
            kind = "float32" if device == "cpu" else dtype
            made[name] = ModelSpec(role, backend, model, None, device, kind)
    return made


def load(config: Config, wanted: tuple[str, ...], place: Place) -> dict[str, Any]:
    """Every wanted feedback by name, its network frozen.

    Raises:
        UsageError: a backend without a network that gradients can pass. ModelMissing.
    """
    import torch

    made: dict[str, Any] = {}
    dtype = str(place.dtype).removeprefix("torch.")
    kinds = {"identity": Identity, "gaze": Gaze, "pose": Pose, "interaction": Interaction}
    for name, spec in specs(config, wanted, str(place.device), dtype).items():
        loaded = backends.load(spec)
        network = getattr(loaded, "network", None)
        if not isinstance(network, torch.nn.Module):
            raise UsageError(
                f"--{name}-backend {spec.backend} cannot give feedback: no gradient passes it"
            )
        network.requires_grad_(False).eval()
        made[name] = kinds[name](config, loaded)
    if "boundary" in wanted:
        made["boundary"] = Boundary(config, None)
    return {name: made[name] for name in wanted}


def together(examples: Examples, name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """One ragged tensor of all examples, and the number of the example each row is from."""
    import torch

    rows = [example[name] for example in examples]
    owners = [torch.full((len(part),), number) for number, part in enumerate(rows)]
    return torch.cat(rows).to(device), torch.cat(owners).to(device)


def _apart(rows: Tensor, examples: Examples, name: str) -> list[Tensor]:
    """Rows computed `together`, back to the examples, on the CPU."""
    return list(rows.cpu().split([len(example[name]) for example in examples]))


class Boundary:
    """Eq. 2; no network."""

    def __init__(self, config: Config, loaded: Any) -> None:
        self.how = (config.boundary_thickness, config.boundary_kernel, config.boundary_mean)
        self.bytes = config.originals == "picture"  # a reconstruction has no 8-bit values

    def targets(self, pictures: Tensor, examples: Examples) -> Examples:
        pictures = pictures * 127.5 + 127.5
        pictures = pictures.round().byte() if self.bytes else pictures.float()
        return [{"boundary_picture": picture.cpu()} for picture in pictures.clone()]

    def values(self, pictures: Tensor, examples: Examples) -> Tensor:
        import torch

        truth = torch.stack([e["boundary_picture"] for e in examples]).to(pictures.device)
        mask = torch.stack([e["boundary_mask"] for e in examples])[:, None].to(pictures.device)
        return boundary.loss(pictures, truth / 127.5 - 1, mask, *self.how)


class Identity:
    """Eq. 3."""

    def __init__(self, config: Config, loaded: Any) -> None:

        network = loaded.network
        self.kind: torch.dtype = next(network.parameters()).dtype
        self.network = lambda crops: network(crops.to(self.kind))
        self.aligned, self.normalised = config.identity_aligned, config.identity_normalised

    def targets(self, pictures: Tensor, examples: Examples) -> Examples:
        rows = identity.embed(self.network, pictures, *self._where(pictures, examples))
        parts = _apart(rows, examples, "identity_boxes")
        return [{"identity_targets": part} for part in parts]

    def values(self, pictures: Tensor, examples: Examples) -> Tensor:
        owners, boxes, landmarks = self._where(pictures, examples)
        goal, _ = together(examples, "identity_targets", pictures.device)
        return identity.loss(
            self.network, pictures, owners, goal, boxes, landmarks, self.normalised
        )

    def _where(self, pictures: Tensor, examples: Examples) -> tuple[Tensor, Tensor, Tensor | None]:
        boxes, owners = together(examples, "identity_boxes", pictures.device)
        if not self.aligned:
            return owners, boxes, None
        return owners, boxes, together(examples, "identity_landmarks", pictures.device)[0]


class Gaze:
    """Eq. 4."""

    def __init__(self, config: Config, loaded: Any) -> None:

        kind: torch.dtype = next(loaded.network.parameters()).dtype
        self.network = lambda *inputs: loaded.network(*(part.to(kind) for part in inputs))
        self.term, self.annotated = config.gaze_term, config.gaze_targets == "shards"

    def targets(self, pictures: Tensor, examples: Examples) -> Examples:
        """Nothing where the annotation is the target; else what the network sees of x0, for the
        people whose gaze the shards know."""
        if self.annotated:
            return [{} for _ in examples]
        heads, owners = together(examples, "gaze_heads", pictures.device)
        seen = gaze.look(self.network, pictures, owners, heads)
        points = gaze.gaze_geometry.soft_argmax_point(seen.heatmap)
        aim, turn = (
            together(examples, f"gaze_{what}", pictures.device)[0] for what in ("points", "vectors")
        )
        points = points.where(aim.isfinite(), aim)
        known = (aim.isfinite() | turn.isfinite()).any(-1, keepdim=True)
        vectors = seen.vector.where(known, turn)
        maps = seen.heatmap if self.term == "heatmap" else None
        parts = [
            _apart(value, examples, "gaze_heads")
            for value in (points, vectors, maps)
            if value is not None
        ]
        names = ("gaze_points", "gaze_vectors", "gaze_maps")
        return [dict(zip(names, rows, strict=False)) for rows in zip(*parts, strict=True)]

    def values(self, pictures: Tensor, examples: Examples) -> Tensor:
        heads, owners = together(examples, "gaze_heads", pictures.device)
        names = [n for n in ("gaze_points", "gaze_vectors", "gaze_maps") if n in examples[0]]
        goals = gaze.Targets(*(together(examples, n, pictures.device)[0] for n in names))
        return gaze.loss(self.network, pictures, owners, heads, goals, self.term)


class Pose:
    """Eq. 5."""

    def __init__(self, config: Config, loaded: Any) -> None:
        self.estimator = pose.vitpose(loaded.network, loaded.processor)
        self.least = config.pose_least_score
        self.annotated = config.pose_targets == "shards"

    def targets(self, pictures: Tensor, examples: Examples) -> Examples:
        """Keypoints in the estimator's windows, and weights: 1 where a keypoint is visible (by
        annotation) and the estimator is sure enough of it (where it is asked), else 0."""
        boxes, owners = together(examples, "pose_boxes", pictures.device)
        marked, _ = together(examples, "pose_keypoints", pictures.device)
        high, wide = pictures.shape[-2:]
        if self.annotated:
            points = pose.to_window(marked[..., :2], boxes, wide, high, self.estimator.size)
            weights = (marked[..., 2] > 1).float()
        else:
            found = pose.keypoints(self.estimator, pictures, owners, boxes)
            points, weights = found.points, (found.scores >= self.least).float()
            # A keypoint annotated as beyond the square or hidden is a guess of the estimator.
            labelled = (marked[..., 2] > 0).any(-1, keepdim=True)
            weights = weights * ((marked[..., 2] > 1) | ~labelled)
        parts = (_apart(value, examples, "pose_boxes") for value in (points, weights))
        return [{"pose_points": p, "pose_weights": w} for p, w in zip(*parts, strict=True)]

    def values(self, pictures: Tensor, examples: Examples) -> Tensor:
        boxes, owners = together(examples, "pose_boxes", pictures.device)
        points, weights = (
            together(examples, f"pose_{what}", pictures.device)[0] for what in ("points", "weights")
        )
        return pose.loss(self.estimator, pictures, owners, boxes, points, weights)


class Interaction:
    """Eq. 6."""

    def __init__(self, config: Config, loaded: Any) -> None:
        self.recogniser = loaded
        self.alpha, self.gamma = config.focal_alpha, config.focal_gamma

    def targets(self, pictures: Tensor, examples: Examples) -> Examples:
        """(n, C) labels of each pair and (n, C) prior: which verbs its object allows."""
        made = []
        for example in examples:
            objects, verbs = example["interaction_objects"], example["interaction_verbs"]
            labels, prior = self.recogniser.labels(objects, verbs)
            made.append({"interaction_labels": labels.cpu(), "interaction_prior": prior.cpu()})
        return made

    def values(self, pictures: Tensor, examples: Examples) -> Tensor:
        return interaction.of_pictures(
            self.recogniser,
            pictures,
            [e["interaction_boxes"].to(pictures.device) for e in examples],
            [e["interaction_objects"] for e in examples],
            [e["interaction_labels"] for e in examples],
            [e["interaction_prior"] for e in examples],
            self.alpha,
            self.gamma,
        )

"""Gaze feedback: people look where they looked (Eq. 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.config import option
from socialcli.records.sources import is_annotation
from socialcli.training.feedback import Feedback, apart, together
from socialcli.vision import people

if TYPE_CHECKING:
    from torch import Tensor

    from socialcli.records import XYXY
    from socialcli.training.feedback import Examples, View

    Gazers = list[tuple[XYXY, records.Gaze | None]]  # head, gaze


@dataclass
class Options:
    gaze_backend: str = option("sharingan", "Which gaze estimator gives feedback.", role="gaze")
    gaze_model: str = option("", "Its model: a checkpoint file for sharingan and gazelle.")
    gaze_term: str = option(
        "point", "Target term: point (soft argmax) or heatmap.", choices=("point", "heatmap")
    )
    gaze_targets: str = option(
        "shards",
        "Where people look: as the shards say, or the detector.",
        choices=("shards", "detector"),
    )
    gaze_source: str = option(
        "annotation",
        "Whose gazes are learnt from: annotation, or any (a model's estimates too).",
        choices=("annotation", "any"),
    )


class GazeFeedback(Feedback):
    """See `Feedback`."""

    ORDER = 4
    config_type = Options
    ROLE = "gaze"
    MEMBER, STAGE = "people.json", "annotate-pose --with gaze"
    LACKS = "nobody with a head box whose gaze is annotated (--gaze-source any: or estimated)"
    GATE = "0-200"
    FEATURES = ("gaze_term", "gaze_targets", "gaze_source")

    def read(self, config: Any, view: View) -> Gazers:
        """Everybody's head, since people see each other, with the gaze that may be learnt from;
        nothing where no such gaze is known."""
        gazers: Gazers = []
        for person in view.people.values():
            head = person.head or (people.head_of(person.face.xyxy) if person.face else None)
            if head is not None:
                learnt = person.gaze
                if learnt is not None and config.gaze_source != "any" and not is_annotation(learnt):
                    learnt = None
                gazers.append((head, learnt))
        return gazers if any(one is not None and known(one) for _, one in gazers) else []

    def tensors(self, scene: Gazers) -> dict[str, Any]:
        import torch

        points, vectors = zip(*(_gaze(head, one) for head, one in scene), strict=True)
        return {
            "gaze_heads": torch.tensor([head for head, _ in scene]),
            "gaze_points": torch.tensor(points),
            "gaze_vectors": torch.tensor(vectors),
        }

    def load(self, config: Any, loaded: Any) -> GazeWatcher:
        return GazeWatcher(config, loaded)


def known(gaze: records.Gaze) -> bool:
    """Whether a gaze record says where somebody looks, or at least in which direction."""
    return gaze.vector is not None or (gaze.point is not None and gaze.inside is not False)


def _gaze(head: XYXY, gaze: records.Gaze | None) -> tuple[records.Point, records.Point]:
    """Target (normalised) and direction (pixel frame; the square is as wide as high)."""
    nan = (float("nan"), float("nan"))
    if gaze is None:
        return nan, nan
    point = gaze.point if gaze.point is not None and gaze.inside is not False else None
    vector = gaze.vector
    if vector is None and point is not None:
        x, y = point[0] - (head[0] + head[2]) / 2, point[1] - (head[1] + head[3]) / 2
        length = (x * x + y * y) ** 0.5
        vector = (x / length, y / length) if length > 0 else None
    return point or nan, vector or nan


class GazeWatcher:
    """Eq. 4 with a gaze estimator."""

    def __init__(self, config: Any, loaded: Any) -> None:
        self.look = loaded.look
        self.term, self.annotated = config.gaze_term, config.gaze_targets == "shards"

    def targets(self, pictures: Tensor, examples: Examples) -> Examples:
        """Nothing where the annotation is the target; else what the network sees of x0, for the
        people whose gaze the shards know."""
        from socialcli.losses import gaze

        if self.annotated:
            return [{} for _ in examples]
        heads, owners = together(examples, "gaze_heads", pictures.device)
        seen = gaze.watch(self.look, pictures, owners, heads)
        points = gaze.gaze_geometry.soft_argmax_point(seen.heatmap)
        aim, turn = (
            together(examples, f"gaze_{what}", pictures.device)[0] for what in ("points", "vectors")
        )
        points = points.where(aim.isfinite(), aim)
        known = (aim.isfinite() | turn.isfinite()).any(-1, keepdim=True)
        vectors = seen.vector.where(known, turn)
        maps = seen.heatmap if self.term == "heatmap" else None
        parts = [
            apart(value, examples, "gaze_heads")
            for value in (points, vectors, maps)
            if value is not None
        ]
        names = ("gaze_points", "gaze_vectors", "gaze_maps")
        return [dict(zip(names, rows, strict=False)) for rows in zip(*parts, strict=True)]

    def values(self, pictures: Tensor, examples: Examples) -> Tensor:
        from socialcli.losses import gaze

        heads, owners = together(examples, "gaze_heads", pictures.device)
        names = [n for n in ("gaze_points", "gaze_vectors", "gaze_maps") if n in examples[0]]
        goals = gaze.Targets(*(together(examples, n, pictures.device)[0] for n in names))
        return gaze.loss(self.look, pictures, owners, heads, goals, self.term)

"""Which interaction two judges see in a picture: ``pose_s``, ``pose_kp``, ``bodies``.

The two subjects are looked for by their names; ``bodies`` says how many were found (0 to 2). With
fewer than two both answers are empty."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.backends import naming
from socialcli.config import option
from socialcli.errors import UsageError
from socialcli.evaluation.features import Feature, Look, Subject, Value, model_spec
from socialcli.vision import boxes as geometry

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.errors import SampleFailed
    from socialcli.records import XYXY

SAME_BODY = 0.9  # IoU from which boxes of two names are one body


@dataclass
class Options:
    pose_judge: str = option(
        "", "Judge of interactions that `train --method pose-judge` wrote: its folder or file."
    )
    pose_backend: str = option(
        "vitpose", "Which pose estimator the judge looks through.", role="pose"
    )
    pose_model: str = option("", "Its model: hub id or folder.")


@dataclass
class Loaded:
    """The judge, with the record that a feature's models have."""

    judge: Any
    model: Any


class PoseJudged(Feature):
    """See `Feature`."""

    config_type = Options
    AFTER = ("subject-objects",)

    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        return (model_spec(config, "pose", config.pose_backend, config.pose_model),)

    def options(self, config: Any) -> dict[str, Any]:
        """The judge by its content: one that was trained again lies where the first one lay."""
        from socialcli.networks import pose_judge

        place = Path(config.pose_judge).expanduser()
        file = place / pose_judge.FILE if place.is_dir() else place
        return {"judge": naming.content(str(file)) if config.pose_judge else ""}

    def load(self, config: Any) -> Any:
        """The judge.

        Raises:
            UsageError: none is named. ModelMissing: it is not there.
        """
        from socialcli.networks import pose_judge
        from socialcli.records import Model

        if not config.pose_judge:
            raise UsageError(
                "pose-s and pose-kp need --pose-judge FOLDER; `socialcli train --method "
                "pose-judge EXEMPLARS -o FOLDER` makes one"
            )
        judge = pose_judge.read(config.pose_judge)
        what = naming.revision(config.pose_judge)
        facts = {"classes": len(judge.classes), "held_out": judge.held_out}
        return Loaded(judge, Model("pose-judge", "pose-judge", what, "judge", facts))

    def check_models(self, models: list[Any]) -> None:
        pose, loaded = models
        trained = loaded.judge.pose
        if not hasattr(pose, "encode"):
            raise UsageError(
                "the pose backend has no encoder, which pose-s needs; vitpose and xpose have one"
            )
        used = (pose.model.model, pose.model.revision)
        if used != (trained.get("model"), trained.get("revision")):
            raise UsageError(
                f"--pose-judge learned from the pose model {trained.get('model')} "
                f"({trained.get('revision')}), this score's is {used[0]} ({used[1]}); give that "
                "one with --pose-model, or train the judge again"
            )

    def target(self, config: Any, subject: Subject) -> list[str]:
        """The names of the two subjects."""
        return subjects_of(subject)

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        import torch

        from socialcli.networks.pose_judge import bodies

        pose, judge = models[0], models[1].judge
        boxes = [_two(look) for look in looks]
        seen = [n for n, pair in enumerate(boxes) if len(pair) == 2]
        results: list[Value | SampleFailed] = [
            {"pose_s": "", "pose_kp": "", "bodies": len(pair)} for pair in boxes
        ]
        skeletons = pose.estimate([looks[n].image for n in seen], [boxes[n] for n in seen])
        known = {n: two for n, two in zip(seen, skeletons, strict=True) if all(two)}
        for number in set(seen) - set(known):  # a box in which the backend finds nobody
            results[number] = {"pose_s": "", "pose_kp": "", "bodies": 1}
        seen = list(known)
        if not seen:
            return results
        pictures, where = [looks[n].image for n in seen], [boxes[n] for n in seen]
        features = torch.stack(
            [torch.from_numpy(rows).flatten() for rows in pose.encode(pictures, where)]
        )
        nodes = torch.stack([bodies([k.points for k in two]) for two in known.values()])
        answers = zip(seen, judge.of_features(features), judge.of_bodies(nodes), strict=True)
        for number, pose_s, pose_kp in answers:
            results[number] = {"pose_s": pose_s, "pose_kp": pose_kp, "bodies": 2}
        return results


def subjects_of(subject: Subject) -> list[str]:
    """Names of a picture's subjects: the heads of its source's entities, else its queries; the
    first two."""
    record = subject.source.records.get("entities.json") if subject.source is not None else None
    names = [e.head.lower() for e in record.entities] if record is not None else []
    return (names or list(subject.queries))[:2]


def _two(look: Look) -> list[XYXY]:
    """The boxes of the two subjects, the left one first; fewer where they are not found.

    Each name gets its best box; where both have one name, its two best. A box that another name
    has already is passed over.
    """
    import numpy

    objects = look.before["subject-objects"]
    ranked = sorted(zip(objects["scores"], objects["boxes"], strict=True), key=lambda one: -one[0])
    chosen: list[XYXY] = []
    for name in look.extra:
        for _, (label, box) in ranked:
            xyxy = (box[0], box[1], box[2], box[3])
            others = numpy.array(chosen, float).reshape(-1, 4)
            free = not (geometry.iou(numpy.array([xyxy]), others) >= SAME_BODY).any()
            if label == name and free:
                chosen.append(xyxy)
                break
    return sorted(chosen, key=lambda box: box[0] + box[2])

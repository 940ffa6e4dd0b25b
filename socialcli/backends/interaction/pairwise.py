"""Interactions from the pixels of each pair of boxes: who does what to whom."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo, naming
from socialcli.records import Box, Interaction, Interactions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from PIL.Image import Image

    from socialcli.backends import ModelSpec
    from socialcli.errors import SampleFailed
    from socialcli.networks.interactions import Class
    from socialcli.records import XYXY, Boxes, People

INFO = BackendInfo(
    summary="Scores the verbs of every human-object pair; trained by `socialcli.miniature.zoo`.",
    licence="Apache-2.0",
    model="socialcli/miniature/weights/interaction",
    get="python -m socialcli.miniature.zoo interaction",
    size="4 MB, in the package",
    packages=("torch",),
)
THRESHOLD = 0.1  # the least score of an interaction that is written
PART = 32  # pictures a forward pass


def load(spec: ModelSpec) -> Pairwise:
    """Load the recogniser in the folder ``spec.model`` (the package's own by default).

    Raises:
        ModelMissing: it is not here. UsageError: the folder holds something else.
    """
    return Pairwise(spec)


def classes_of(model: str) -> list[tuple[str, str]] | None:
    """Verb and object of each class of a recogniser, without loading it; None where none is."""
    from pathlib import Path

    file = Path(model or naming.MINIATURES / "interaction").expanduser() / "config.json"
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
        return [(str(one["verb"]), str(one["object"])) for one in body["classes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Pairwise:
    """A `roles.InteractionFinder` whose logits are differentiable in the picture."""

    def __init__(self, spec: ModelSpec) -> None:
        from socialcli.networks import interactions

        folder = spec.model or str(naming.MINIATURES / "interaction")
        self.network = interactions.load(folder, INFO.get).to(spec.device).requires_grad_(False)
        self.threshold = float(spec.options.get("threshold", THRESHOLD))
        self.model = naming.describe(spec, folder, {"threshold": self.threshold})

    @property
    def classes(self) -> tuple[Class, ...]:
        """The verb-object classes in the order of the logits."""
        return self.network.classes

    def logits(
        self,
        pictures: torch.Tensor,
        pairs: Sequence[torch.Tensor],
        objects: Sequence[Sequence[str]],
    ) -> list[torch.Tensor]:
        """Class logits of given pairs.

        Args:
            pictures: (B, 3, H, W) in [0, 1], any size.
            pairs: per picture (n, 8) or (n, 2, 4): human and object box, normalised xyxy.
            objects: per picture n names of the objects.

        Returns:
            Per picture (n, C) float32, differentiable in ``pictures``; -20 for the classes of
            other objects, through which no gradient passes.
        """
        import torch

        pairs = [p.reshape(-1, 8) for p in pairs]
        rows = self.network.object_rows([name for names in objects for name in names])
        if not len(rows):
            return [pictures.new_zeros(0, len(self.classes)) for _ in pairs]
        verbs = self.network(self.network.prepared(pictures), pairs)
        class_logits = self.network.class_logits(verbs, rows)
        return list(torch.split(class_logits, [len(p) for p in pairs]))

    def labels(
        self, objects: Sequence[str], verbs: Sequence[Sequence[str]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Training targets of annotated pairs.

        Args:
            objects: n names. verbs: per pair the verbs that are true of it.

        Returns:
            (n, C) labels, 1 for the classes stated, and (n, C) prior, 1 for the classes whose
            object is this one. A verb or object that the recogniser does not know labels nothing.
        """
        import torch

        prior = self.network.possible[self.network.object_rows(objects)].float()
        stated = torch.tensor(
            [[one.verb in stated_verbs for one in self.classes] for stated_verbs in verbs],
            dtype=torch.float32, device=prior.device,
        ).reshape(len(objects), len(self.classes))  # fmt: skip
        return prior * stated, prior

    def interact(
        self,
        images: list[Image],
        people: list[People],
        boxes: list[Boxes | None],
        known: list[Interactions | None],
    ) -> list[Interactions | SampleFailed | None]:
        """Every interaction scored at least ``threshold``, the surest first.

        The score is the class's probability times the detector's scores of both boxes, where it
        gave any. ``known`` is not looked at.
        """
        import numpy
        import torch

        asked = [candidates(p, b) for p, b in zip(people, boxes, strict=True)]
        result: list[Any] = [Interactions([], self.model) for _ in images]
        busy = [number for number, pairs_of in enumerate(asked) if pairs_of]
        for start in range(0, len(busy), PART):
            part = busy[start : start + PART]
            with torch.inference_mode():
                pictures = torch.cat(
                    [
                        self.network.prepared(
                            torch.from_numpy(numpy.array(images[n].convert("RGB")))
                            .permute(2, 0, 1)[None].float() / 255
                        )
                        for n in part
                    ]
                )  # fmt: skip
                rows = self.network.object_rows([c["label"] for n in part for c in asked[n]])
                pairs = [torch.tensor([c["pair"] for c in asked[n]]) for n in part]
                verbs = self.network(pictures, pairs)
                scores = self.network.class_logits(verbs, rows).sigmoid().cpu()
            for number, of_picture in zip(part, scores.split([len(p) for p in pairs]), strict=True):
                result[number] = Interactions(self._kept(asked[number], of_picture), self.model)
        return result

    def _kept(self, asked: list[dict[str, Any]], scores: torch.Tensor) -> list[Interaction]:
        kept = []
        for one, row in zip(asked, scores.tolist(), strict=True):
            for which, score in zip(self.classes, row, strict=True):
                if score * one["sure"] >= self.threshold:
                    kept.append((score * one["sure"], one, which))
        kept.sort(key=lambda f: -f[0])
        return [
            Interaction(
                id=number + 1, verb=which.verb, object_label=which.object, hoi=which.hoi,
                score=score, **one["links"],
            )
            for number, (score, one, which) in enumerate(kept)
        ]  # fmt: skip


def candidates(people: People, boxes: Boxes | None) -> list[dict[str, Any]]:
    """Every person with every other box or person: ``pair`` (8 numbers), ``label`` of the object,
    ``sure`` (the product of the boxes' scores) and ``links`` (ids, as the record has them)."""
    by_id: dict[int, Box] = {box.id: box for box in boxes.boxes} if boxes else {}
    bodies: list[tuple[int, int | None, XYXY, float]] = []
    for person in people.people:
        box = by_id.get(person.box) if person.box is not None else None
        if box is not None:
            bodies.append((person.id, box.id, box.xyxy, _sure(box)))
        elif person.xyxy is not None:
            bodies.append((person.id, None, person.xyxy, 1.0))
    owned = {box for _, box, _, _ in bodies}
    things = [(None, b.id, b.xyxy, _sure(b), b.label) for b in by_id.values() if b.id not in owned]
    pairs = []
    for subject, subject_box, human, sure in bodies:
        others = [(*other, "person") for other in bodies if other[0] != subject]
        for person_id, box_id, xyxy, also, label in [*things, *others]:
            links = {"subject": subject, "subject_box": subject_box, "object": box_id,
                     "object_person": person_id}  # fmt: skip
            pairs.append(
                {"pair": [*human, *xyxy], "label": label, "sure": sure * also, "links": links}
            )
    return pairs


def _sure(box: Box) -> float:
    return 1.0 if box.score is None else box.score

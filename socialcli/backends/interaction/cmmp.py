"""Interactions by CMMP, the paper's recogniser, from an official HICO-DET checkpoint."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo, naming
from socialcli.backends.roles import DetectedInteraction
from socialcli.errors import ModelMissing
from socialcli.records import Interaction, Interactions, hico
from socialcli.vision import boxes as geometry
from socialcli.vision.classes import class_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from PIL.Image import Image

    from socialcli.backends import ModelSpec
    from socialcli.errors import SampleFailed
    from socialcli.networks.cmmp import Detections
    from socialcli.records import XYXY, Box, Boxes, People
    from socialcli.records.hico import HoiClass

INFO = BackendInfo(
    summary="CMMP (ECCV 2024): HICO-DET's 600 classes; finds people and things by itself.",
    licence="not stated by its authors (CLIP MIT, DETR Apache-2.0)",
    get="hf download lttt/CMMP --local-dir cmmp (https://github.com/ltttpku/CMMP names the files), "
    "then pass --interaction-model PATH/ckpt_NUMBER.pt",
    size="0.8 GB",
    packages=("torch",),
    detects=True,
)
THRESHOLD = 0.1  # the least score of an interaction that is written
SAME = 0.5  # IoU from which a detection is a box or person that the sample has
IMPOSSIBLE = -20.0  # the logit of a class whose object is another one


def load(spec: ModelSpec) -> CMMPFinder:
    """Load the checkpoint ``spec.model``, a file.

    Raises:
        ModelMissing: no file was named, or it is not there. UsageError: it is no CMMP for HICO-DET.
    """
    if not spec.model:
        raise ModelMissing(f"the cmmp backend needs a checkpoint file: {INFO.get}")
    return CMMPFinder(spec)


def classes_of(model: str) -> list[tuple[str, str]]:
    """Verb and object of each class, without loading it: those of HICO-DET."""
    return [(one.verb, one.object) for one in hico.classes()]


@functools.cache
def _objects() -> dict[str, list[int]]:
    """Each object class in the detector's order, and the tokens of its name in a sentence."""
    body = json.loads(Path(__file__).with_name("cmmp_objects.json").read_text(encoding="utf-8"))
    return dict(body["objects"])


@functools.cache
def _verbs() -> tuple[str, ...]:
    """The 117 verbs in the order of the logits."""
    return tuple(sorted({one.verb for one in hico.classes()}))


def object_number(label: str) -> int | None:
    """The object class that a label means; None for another thing."""
    return class_of(label, list(_objects()))


class CMMPFinder:
    """A `roles.InteractionDetector` whose logits are differentiable in the picture.

    ``classes`` are HICO-DET's 600, in the order of the logits.
    """

    def __init__(self, spec: ModelSpec) -> None:
        import torch

        from socialcli.networks import cmmp

        self.classes: tuple[HoiClass, ...] = hico.classes()
        names, verbs = list(_objects()), _verbs()
        self.pairs = [(names.index(c.object), verbs.index(c.verb)) for c in self.classes]
        valid = torch.zeros(len(names), len(verbs))
        for thing, verb in self.pairs:
            valid[thing, verb] = 1
        network = cmmp.load(spec.model, INFO.get).to(spec.device).requires_grad_(False)
        self.network = network.know(valid, list(_objects().values()))
        self.device = spec.device
        self.threshold = float(spec.options.get("threshold", THRESHOLD))
        self.model = naming.describe(spec, options={"threshold": self.threshold})

    # --- finding them ---

    def detect_interactions(self, images: list[Image]) -> list[list[DetectedInteraction]]:
        """Everything that CMMP's own detector pairs, with every verb that the object allows."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> list[DetectedInteraction]:
        import torch

        from socialcli.networks import cmmp

        with torch.inference_mode():
            large, small = self._prepared(image)
            [detections] = self.network.find(large)
            pairs = cmmp.all_pairs(detections)
            if not len(pairs):
                return []
            features = self.network.look(small, [detections])[0]
            logits = self.network.judge(features, detections.boxes[pairs])
            scores = logits.sigmoid() * self.network.prior(detections, pairs, cmmp.POWER)
        boxes, things = detections.boxes.tolist(), detections.classes.tolist()
        numbers = {pair: n for n, pair in enumerate(self.pairs)}
        acts = []
        for row, (human, thing) in enumerate(pairs.tolist()):
            for verb in self.network.valid[things[thing]].nonzero()[:, 0].tolist():
                one = self.classes[numbers[things[thing], verb]]
                acts.append(
                    DetectedInteraction(
                        one.verb, one.object, one.number, float(scores[row, verb]),
                        tuple(boxes[human]), tuple(boxes[thing]),
                    )
                )  # fmt: skip
        return acts

    def _prepared(self, image: Image) -> tuple[torch.Tensor, torch.Tensor]:
        """The picture as DETR and as CLIP's tower see it, resized as the authors' code does."""
        import numpy
        import torch
        from PIL import Image as pillow

        from socialcli.networks import cmmp

        height, width = cmmp.detector_size(image.height, image.width)
        bicubic, side = pillow.Resampling.BICUBIC, self.network.clip_head.image_encoder.side
        large = image.convert("RGB").resize((width, height), bicubic)
        both = (large, large.resize((side, side), bicubic))
        one, other = (
            cmmp.normalised(
                torch.from_numpy(numpy.array(picture)).permute(2, 0, 1)[None].float() / 255
            ).to(self.device)
            for picture in both
        )
        return one, other

    def interact(
        self,
        images: list[Image],
        people: list[People],
        boxes: list[Boxes | None],
        known: list[Interactions | None],
    ) -> list[Interactions | SampleFailed | None]:
        """Every interaction scored at least ``threshold`` of the people that the sample has, the
        surest first.

        CMMP finds people and things itself; what it finds is the person or box of the same kind
        that it overlaps most, from an IoU of `SAME`. Interactions of somebody whom the sample does
        not have are left out; a thing that it does not have is named and has no box. ``known`` is
        not looked at.
        """
        scenes = zip(self.detect_interactions(images), people, boxes, strict=True)
        return [self._linked(acts, p, b) for acts, p, b in scenes]

    def _linked(
        self, acts: list[DetectedInteraction], people: People, boxes: Boxes | None
    ) -> Interactions:
        things = list(boxes.boxes) if boxes else []
        bodies = _bodies(people, things)
        owned = {box for _, box, _ in bodies}
        others = [box for box in things if box.id not in owned]
        by_link: dict[tuple[Any, ...], Interaction] = {}
        for one in sorted(acts, key=lambda act: -act.score):
            if one.score < self.threshold:
                break
            subject = _same(one.human, [body for _, _, body in bodies])
            if subject is None:
                continue
            links: dict[str, Any] = {
                "subject": bodies[subject][0],
                "subject_box": bodies[subject][1],
            }
            links |= _thing(one, bodies, others)
            if links.get("object_person") == links["subject"]:
                continue  # one body that was seen twice
            key = (one.verb, one.object_label, *links.values())
            if key not in by_link:
                by_link[key] = Interaction(
                    len(by_link) + 1, one.verb, object_label=one.object_label, hoi=one.hoi,
                    score=one.score, **links,
                )  # fmt: skip
        return Interactions(list(by_link.values()), self.model)

    # --- as feedback ---

    def logits(
        self,
        pictures: torch.Tensor,
        pairs: Sequence[torch.Tensor],
        objects: Sequence[Sequence[str]],
    ) -> list[torch.Tensor]:
        """Class logits of given pairs. What DETR finds in the detached pictures is what the tower's
        adapters are told; no gradient passes it.

        Args:
            pictures: (B, 3, H, W) in [0, 1], any size.
            pairs: per picture (n, 8) or (n, 2, 4): human and object box, normalised xyxy.
            objects: per picture n names of the objects.

        Returns:
            Per picture (n, 600) float32, differentiable in ``pictures``; `IMPOSSIBLE` for the
            classes of other objects.
        """
        import torch

        _, features = self._seen(pictures)
        verb_of = torch.tensor([verb for _, verb in self.pairs], device=pictures.device)
        answers = []
        for number, own in enumerate(pairs):
            boxes = own.reshape(-1, 2, 4).to(features)
            verbs = self.network.judge(features[number], boxes)
            possible = self._possible(objects[number]).to(pictures.device)
            answers.append(verbs[:, verb_of].masked_fill(~possible, IMPOSSIBLE).float())
        return answers

    def labels(
        self, objects: Sequence[str], verbs: Sequence[Sequence[str]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Training targets of annotated pairs.

        Args:
            objects: n names. verbs: per pair the verbs that are true of it.

        Returns:
            (n, 600) labels, 1 for the classes stated, and (n, 600) prior, 1 for the classes whose
            object is this one. A verb or object that CMMP does not know labels nothing.
        """
        import torch

        prior = self._possible(objects).float()
        plain = [{_plain(verb) for verb in stated_verbs} for stated_verbs in verbs]
        stated = [
            [float(one.verb in stated_verbs) for one in self.classes] for stated_verbs in plain
        ]
        return prior * torch.tensor(stated).reshape(len(objects), len(self.classes)), prior

    def detected(
        self, pictures: torch.Tensor
    ) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """The pairs that CMMP's own detector finds in (B, 3, H, W) pictures in [0, 1].

        Returns:
            Per picture boxes (P, 2, 4), normalised xyxy; verb logits (P, 117), differentiable in
            the pictures; prior (P, 117), the product of both detections' scores for the verbs that
            the detected object allows, else 0.
        """
        from socialcli.networks import cmmp

        detections, features = self._seen(pictures)
        answers = []
        for one, seen in zip(detections, features, strict=True):
            pairs = cmmp.all_pairs(one)
            boxes = one.boxes[pairs]
            answers.append((boxes, self.network.judge(seen, boxes), self.network.prior(one, pairs)))
        return answers

    def verb_labels(self, verbs: Sequence[Sequence[str]]) -> torch.Tensor:
        """(n, 117) of 0 and 1: which verbs are stated of each of n pairs."""
        import torch

        plain = [{_plain(verb) for verb in stated_verbs} for stated_verbs in verbs]
        rows = [[float(verb in stated_verbs) for verb in _verbs()] for stated_verbs in plain]
        return torch.tensor(rows).reshape(len(verbs), len(_verbs()))

    def _seen(self, pictures: torch.Tensor) -> tuple[list[Detections], torch.Tensor]:
        """What DETR finds in the detached pictures, and the tower's maps of the pictures."""
        from socialcli.networks import cmmp

        large = self.network.for_detector(pictures.float())
        detections = self.network.find(cmmp.normalised(large.detach()))
        return detections, self.network.look(self.network.for_tower(large), detections)

    def _possible(self, objects: Sequence[str]) -> torch.Tensor:
        """(n, 600) bool: the classes of each object."""
        import torch

        things = torch.tensor([thing for thing, _ in self.pairs])
        numbers = [object_number(name) for name in objects]
        rows = torch.tensor([-1 if n is None else n for n in numbers], dtype=torch.int64)
        return things == rows[:, None]


def _plain(verb: str) -> str:
    return " ".join(verb.lower().replace("_", " ").split())


def _bodies(people: People, boxes: list[Box]) -> list[tuple[int, int | None, XYXY]]:
    """Person id, box id and body of everyone who has a body."""
    by_id = {box.id: box.xyxy for box in boxes}
    bodies: list[tuple[int, int | None, XYXY]] = []
    for person in people.people:
        if person.box in by_id:
            bodies.append((person.id, person.box, by_id[person.box]))
        elif person.xyxy is not None:
            bodies.append((person.id, None, person.xyxy))
    return bodies


def _same(box: XYXY, known: Sequence[XYXY]) -> int | None:
    """Which of the known boxes a detection is; what of it leaves the picture does not count."""
    if not known:
        return None
    overlap = geometry.iou([geometry.clip(box)], known)[0]  # type: ignore[arg-type]
    best = int(overlap.argmax())
    return best if overlap[best] >= SAME else None


def _thing(
    one: DetectedInteraction, bodies: list[tuple[int, int | None, XYXY]], boxes: list[Box]
) -> dict[str, int | None]:
    """Links of a detection's object: a person, or a box that has its label or an unknown one."""
    if one.object_label == "person":
        number = _same(one.object, [body for _, _, body in bodies])
        if number is not None:
            return {"object": bodies[number][1], "object_person": bodies[number][0]}
        return {"object": None, "object_person": None}
    wanted = (None, object_number(one.object_label))
    alike = [box for box in boxes if object_number(box.label) in wanted]
    number = _same(one.object, [box.xyxy for box in alike])
    return {"object": None if number is None else alike[number].id, "object_person": None}

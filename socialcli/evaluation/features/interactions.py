"""Interactions of a picture: ``pairs`` of (verb, object, class number or None, score).

``places`` holds the boxes of each pair's person and object, normalised xyxy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.config import option
from socialcli.errors import SampleFailed
from socialcli.evaluation.features import Feature, Look, Subject, Value, hoi_objects, model_spec
from socialcli.vision import people as who
from socialcli.vision.people import kind_of

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.backends.roles import DetectedInteraction
    from socialcli.evaluation.cases import Picture

LEAST_SCORE = 1e-3  # average precision ranks every pair, so that almost none may be cut off


@dataclass
class Options:
    interaction_backend: str = option(
        "pairwise", "Which interaction recogniser.", role="interaction"
    )
    interaction_model: str = option("", "Its model.")


class Interactions(Feature):
    """See `Feature`."""

    config_type = Options
    VERSION = 2
    AFTER = ("faces", "hoi-objects")

    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        backend, model = config.interaction_backend, config.interaction_model
        return (model_spec(config, "interaction", backend, model, threshold=LEAST_SCORE),)

    def prepare(self, config: Any, sources: list[Picture]) -> list[str]:
        return hoi_objects.labels(config, sources)

    def target(self, config: Any, subject: Subject) -> list[str]:
        """What ``hoi-objects`` looks for."""
        return list(subject.shared)

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        """Every pair that the recogniser sees among the detected objects and faces: ``pairs``, and
        in ``places`` the boxes of its person and its object (None where it has none)."""
        if hasattr(models[0], "detect_interactions"):
            every = models[0].detect_interactions([look.image for look in looks])
            return [_detected(acts) for acts in every]
        scenes = [scene(look) for look in looks]
        answers = models[0].interact(
            [look.image for look in looks],
            [people for people, _ in scenes],
            [boxes for _, boxes in scenes],
            [None] * len(looks),
        )
        results: list[Value | SampleFailed] = []
        for one, seen in zip(answers, scenes, strict=True):
            if isinstance(one, SampleFailed):
                results.append(one)
                continue
            acts = one.interactions if one is not None else []
            results.append({"pairs": [_pair(i) for i in acts], "places": _places(acts, *seen)})
        return results


def _detected(acts: list[DetectedInteraction]) -> Value:
    return {
        "pairs": [[one.verb, one.object_label, one.hoi, one.score] for one in acts],
        "places": [[list(one.human), list(one.object)] for one in acts],
    }


def _pair(one: records.Interaction) -> list[Any]:
    return [one.verb, one.object_label, one.hoi, 1.0 if one.score is None else float(one.score)]


def _places(
    acts: list[records.Interaction], people: records.People, boxes: records.Boxes
) -> list[Any]:
    """The two boxes of each interaction, normalised xyxy, by the boxes and people it names."""
    by_box = {box.id: [float(v) for v in box.xyxy] for box in boxes.boxes}
    by_person = {person.id: by_box.get(person.box or 0) for person in people.people}
    both = [
        (
            by_box.get(one.subject_box or 0) or by_person.get(one.subject or 0),
            by_box.get(one.object or 0) or by_person.get(one.object_person or 0),
        )
        for one in acts
    ]
    return [list(pair) if None not in pair else None for pair in both]


def scene(look: Look) -> tuple[records.People, records.Boxes]:
    """What was detected in a picture as the records that a recogniser reads: boxes with their
    labels, and the people among them with their faces."""
    assert look.image is not None
    width, height = look.image.size
    objects = look.before["hoi-objects"]
    boxes = [
        records.Box(number, tuple(box), label, None, score)
        for number, ((label, box), score) in enumerate(
            zip(objects["boxes"], objects["scores"], strict=True), 1
        )
    ]
    bodies = who.distinct([box for box in boxes if kind_of(box.label) == "person"])
    # A person found as "man" and as "person" is one; their other names are no objects.
    kept = {box.id for box in bodies}
    boxes = [box for box in boxes if box.id in kept or kind_of(box.label) != "person"]
    people = [records.Person(n, box=box.id) for n, box in enumerate(bodies, 1)]
    faces = [records.Face(tuple(box)) for box in look.before["faces"]["boxes"]]
    matched = who.match_faces(faces, people, [box.xyxy for box in bodies])
    for face, person in matched.items():
        people[person].face = faces[face]
        people[person].head = who.head_of(faces[face].xyxy)
    return records.People(width, height, people), records.Boxes(width, height, boxes)

"""Who does what to what in a sample, and where, as a method is told it that draws interactions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.vision import boxes as geometry

if TYPE_CHECKING:
    from torch import Tensor

MOST = 30  # interactions of a picture, as the published networks are made
_BOXES = ("subject_boxes", "object_boxes")
_PHRASES = ("subject_phrases", "object_phrases", "action_phrases")
ARGUMENTS = (*_BOXES, *_PHRASES, "masks")  # of the network that reads them
NOTHING = "no interaction"  # a class of HICO-DET that says that there is none
# "sit" -> "sitting": one vowel between consonants, of which the last is doubled.
_DOUBLED = re.compile(r"[^aeiou]*[aeiou][bdgklmnprt]")


@dataclass(frozen=True)
class Placed:
    """One interaction with its boxes, x1, y1, x2, y2 in [0, 1]."""

    subject: str
    action: str
    object: str
    subject_box: records.XYXY
    object_box: records.XYXY

    @property
    def area(self) -> float:
        """Of both boxes together."""
        return geometry.area(self.subject_box) + geometry.area(self.object_box)


def of_sample(sample: Any, most: int) -> list[Placed]:
    """The interactions of ``interactions.json``, those of the largest boxes first, at most so many.

    Subject and object are called as the caption calls them, else as their boxes are labelled. An
    interaction of which a box is missing is left out, and so is HICO-DET's "no interaction".

    Raises:
        SampleFailed: there is none.
    """
    if sample is None:
        raise SampleFailed(
            "this method draws interactions: give it shards with interactions.json and boxes.json "
            "(`socialcli import hico-det`, or `annotate-pose --with interaction`)"
        )
    known = sample.record(records.Interactions).interactions
    scene = _Scene(sample)
    placed = [one for one in map(scene.placed, known) if one is not None]
    if not placed:
        raise SampleFailed(
            f"interactions.json: none of its {len(known)} interactions has a box of its subject "
            "and one of its object"
        )
    return sorted(placed, key=lambda one: -one.area)[:most]


def tokens(
    phrase: Callable[[str], Tensor], placed: Sequence[Placed], width: int = 0
) -> dict[str, Tensor]:
    """`ARGUMENTS` of `networks.interact_diffusion.PositionNet` for one picture, padded with zeros.

    Args:
        phrase: text -> (D,). width: D, needed where nothing is placed.
    """
    import torch

    arguments: dict[str, Tensor] = {}
    boxes = [(one.subject_box, one.object_box) for one in placed]
    for number, name in enumerate(_BOXES):
        arguments[name] = torch.zeros(MOST, 4)
        for row, pair in enumerate(boxes):
            arguments[name][row] = torch.tensor(pair[number])
    texts = [(one.subject, one.object, one.action) for one in placed]
    for number, name in enumerate(_PHRASES):
        states = [phrase(words[number]).float().cpu() for words in texts]
        arguments[name] = torch.zeros(MOST, len(states[0]) if states else width)
        for row, state in enumerate(states):
            arguments[name][row] = state
    arguments["masks"] = torch.zeros(MOST)
    arguments["masks"][: len(placed)] = 1
    return arguments


class _Scene:
    """A sample's boxes and people by their numbers."""

    def __init__(self, sample: Any) -> None:
        boxes = sample.record(records.Boxes).boxes if sample.has("boxes.json") else []
        people = sample.record(records.People).people if sample.has("people.json") else []
        entities = sample.record(records.Entities).entities if sample.has("entities.json") else []
        self.boxes = {box.id: box for box in boxes}
        self.people = {person.id: person for person in people}
        self.nouns = {entity.id: entity.head for entity in entities}

    def placed(self, one: records.Interaction) -> Placed | None:
        verb = one.verb.replace("_", " ").strip()
        subject = self._box(one.subject_box, one.subject)
        object = self._box(one.object, one.object_person)
        if verb.lower() == NOTHING or subject is None or object is None:
            return None
        return Placed(
            self._noun(one.subject_box, one.subject) or "person",
            participle(verb),
            self._noun(one.object, one.object_person) or one.object_label or "person",
            subject, object,
        )  # fmt: skip

    def _box(self, box: int | None, person: int | None) -> records.XYXY | None:
        who = self.people.get(person) if person is not None else None
        number = box if box is not None else who.box if who is not None else None
        if number is not None and number in self.boxes:
            return self.boxes[number].xyxy
        return who.xyxy if who is not None else None

    def _noun(self, box: int | None, person: int | None) -> str:
        who = self.people.get(person) if person is not None else None
        number = box if box is not None else who.box if who is not None else None
        at = self.boxes.get(number) if number is not None else None
        entity = who.entity if who is not None and who.entity is not None else None
        entity = at.entity if at is not None and at.entity is not None else entity
        noun = self.nouns.get(entity, "") if entity is not None else ""
        return noun.strip() or (at.label.strip() if at is not None else "")


def participle(verb: str) -> str:
    """A verb in the form that interactions are told in: "sit on" -> "sitting on"."""
    head, space, rest = verb.partition(" ")
    if head.endswith("ing") and len(head) > 5:
        return verb
    if head.endswith("ie"):
        head = f"{head[:-2]}y"
    elif head.endswith("e") and not head.endswith(("ee", "ye", "oe")) and head != "be":
        head = head[:-1]
    elif _DOUBLED.fullmatch(head):
        head += head[-1]
    return f"{head}ing{space}{rest}"

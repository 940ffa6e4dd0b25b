"""Who says so: the ``source`` of every part of a member, `ANNOTATION` or the backend that made it.

Annotations came with the data and are never replaced; estimates may be. A member can hold both:
HICO-DET's boxes with those that a detector found beside them. So every caption, entity, triple,
box, mask, person, face, skeleton, gaze and interaction says its own ``source``; the member's
``model`` (of people, the role's in ``models``) describes that backend in full.

Members of older versions lack the field. Then a part is what the member's model is: an annotation
where that is ``ground-truth``, else an estimate of that backend. Where the member names no model,
no command wrote it, and it counts as an annotation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socialcli.records import Model, People, Person

ANNOTATION = "annotation"
GROUND_TRUTH_BACKEND = "ground-truth"
_LISTS = ("boxes", "masks", "interactions", "entities", "triples")
ROLES = {"face": "face", "keypoints": "pose", "gaze": "gaze"}  # part of a person -> role


def of(model: Model | None) -> str:
    """The source of what a model made: `ANNOTATION` for ground truth and where there is none."""
    if model is None or model.backend == GROUND_TRUTH_BACKEND:
        return ANNOTATION
    return model.backend


def is_annotation(part: Any) -> bool:
    """Whether a caption, entity, box, mask, person, face, gaze... came with the data."""
    return bool(part.source == ANNOTATION)


def parts(record: Any) -> Iterator[tuple[str, str]]:
    """Each part of a record that says its source: what it is ("boxes", "gazes") and the source."""
    if hasattr(record, "source") and hasattr(record, "text"):
        yield "captions", record.source
    for name in _LISTS:
        for part in getattr(record, name, ()):
            yield name, part.source
            if getattr(part, "keypoints", None) is not None:
                yield "poses", part.keypoints.source
    for person in getattr(record, "people", ()):
        yield "people", person.source
        for name, what in (("face", "faces"), ("keypoints", "poses"), ("gaze", "gazes")):
            part = getattr(person, name)
            if part is not None:
                yield what, part.source


def only(record: Any, annotated: bool) -> Any:
    """A record with its annotations alone, or its estimates alone.

    A person stays as long as anything of it does.
    """

    def wanted(part: Any) -> bool:
        return is_annotation(part) is annotated

    if hasattr(record, "people"):
        people = []
        for person in record.people:
            there = [name for name in ROLES if getattr(person, name) is not None]
            gone: dict[str, Any] = {n: None for n in there if not wanted(getattr(person, n))}
            if wanted(person) or len(gone) < len(there):
                people.append(replace(person, **gone))
        return replace(record, people=people)
    kept = {name: [part for part in getattr(record, name) if wanted(part)]
            for name in _LISTS if hasattr(record, name)}  # fmt: skip
    if "boxes" in kept:
        kept["boxes"] = [
            replace(box, keypoints=None)
            if box.keypoints is not None and not wanted(box.keypoints) else box
            for box in kept["boxes"]
        ]  # fmt: skip
    return replace(record, **kept) if kept else record


def stated(record: Any) -> Any:
    """A record in which every part says its source; itself where all do."""
    if hasattr(record, "people"):
        return _people(record)
    if hasattr(record, "source") and hasattr(record, "text"):  # a caption
        return _with(record, of(record.model))
    unsaid: dict[str, list[Any]] = {}
    for name in _LISTS:
        parts = getattr(record, name, ())
        if not all(part.source for part in parts):
            default = of(record.model)
            unsaid[name] = [_with(part, default) for part in parts]
    return replace(record, **unsaid) if unsaid else record


def _with(part: Any, source: str) -> Any:
    return part if part.source else replace(part, source=source)


def _people(record: People) -> People:
    people = [_person(person, record.models) for person in record.people]
    same = all(new is old for new, old in zip(people, record.people, strict=True))
    return record if same else replace(record, people=people)


def _person(person: Person, models: dict[str, Model]) -> Person:
    """A person is an annotation if any part is one or the data knows who it is, else an estimate
    of the face detector."""
    changed: dict[str, Any] = {}
    for part, role in ROLES.items():
        value = getattr(person, part)
        if value is not None and not value.source:
            changed[part] = replace(value, source=_earlier(person.id, models.get(role)))
    if not person.source:
        parts = [changed.get(part) or getattr(person, part) for part in ROLES]
        annotated = any(is_annotation(part) for part in parts if part is not None)
        annotated = annotated or person.identity is not None
        changed["source"] = ANNOTATION if annotated else of(models.get("face"))
    return replace(person, **changed) if changed else person


def _earlier(person: int, model: Model | None) -> str:
    """The source of a part that does not say it. Earlier versions listed in the model's options
    whose part was ``kept``, and from which backend."""
    kept = model.options.get("kept") if model is not None else None
    if isinstance(kept, dict) and isinstance(kept.get("people"), list):
        backend = kept.get("backend")
        if person in kept["people"] and isinstance(backend, str) and backend:
            return ANNOTATION if backend == GROUND_TRUTH_BACKEND else backend
    return of(model)

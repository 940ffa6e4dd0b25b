"""annotate-pose, step by step: a `Scene` is one picture's people while they are being completed.

Every step fills in what is missing and leaves what is there; what it adds names its ``source``
(`socialcli.records.sources`). Steps take all scenes of a batch, so
that a model sees the batch at once; a scene with a ``problem`` is left out of the steps after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.records import Face, Model, Person
from socialcli.records.consistency import free_id
from socialcli.records.sources import is_annotation, of
from socialcli.stages import _annotated
from socialcli.vision import boxes as geometry
from socialcli.vision import close_ups
from socialcli.vision import people as who

if TYPE_CHECKING:
    import numpy

    from socialcli.records import XYXY
    from socialcli.stages.annotate_pose import Config, Loaded, Work


@dataclass
class Scene:
    """The people of one picture; ``rows`` are identity embeddings by person id."""

    work: Work
    people: list[Person]
    models: dict[str, Model] = field(default_factory=dict)
    rows: dict[int, numpy.ndarray] = field(default_factory=dict)
    interactions: records.Interactions | None = None
    boxes: records.Boxes | None = None  # where keypoints were added to them
    problem: SampleFailed | None = None
    known: set[int] = field(default_factory=set)  # ids of the people that people.json had

    @cached_property
    def _places(self) -> dict[int, XYXY]:
        """Where each box is."""
        return {b.id: b.xyxy for b in self.work.boxes.boxes} if self.work.boxes else {}

    def body(self, person: Person) -> XYXY | None:
        """Where the person's body is, if that is known."""
        if person.box is not None and person.box in self._places:
            return geometry.clip(self._places[person.box])
        return geometry.clip(person.xyxy) if person.xyxy is not None else None

    def add(self, person: Person) -> None:
        """A new person, under the next free id."""
        taken = [p.id for p in self.people] + list(self.rows)
        self.people.append(replace(person, id=free_id(taken)))

    def credit(self, role: str, model: Model, had: bool, gained: bool) -> None:
        """Record which model made a part, unless everyone had it before."""
        if had and not gained and role in self.models:
            return
        self.models[role] = replace(model, role=role)


def scenes(config: Config, asked: set[str], loaded: Loaded, work: list[Work]) -> list[Scene]:
    """What is known before any face is looked for: people.json's people and the person boxes.

    Where a picture has neither, a keypoint backend that finds people itself is asked.
    """
    batch = [_scene(one, asked if config.replace else set()) for one in work]
    pose = of(loaded.pose.model) if loaded.pose is not None else ""
    for scene in batch:
        _add_bodies(scene)
    if hasattr(loaded.pose, "people"):
        bare = [s for s in batch if all(s.body(p) is None for p in s.people)]
        detected = loaded.pose.people([s.work.image for s in bare]) if bare else []
        for scene, bodies in zip(bare, detected, strict=True):
            seen = [xyxy for body, _ in bodies if (xyxy := geometry.in_picture(body)) is not None]
            placed = _place_bodies(scene, seen)
            for index, xyxy in enumerate(seen):
                if index in placed:
                    placed[index].xyxy = xyxy
                else:
                    scene.add(Person(0, xyxy=xyxy, source=pose))
    return batch


def _scene(work: Work, again: set[str]) -> Scene:
    scene = Scene(work, [])
    if work.people is not None:
        scene.people = [replace(p) for p in work.people.people]
        scene.models = dict(work.people.models)
    if work.identity is not None and "identity" not in again:
        scene.rows = {int(r["person"]): r["embedding"] for r in work.identity}
    scene.known = {p.id for p in scene.people}
    if len(scene.known) < len(scene.people):
        scene.problem = SampleFailed("people.json: two people have the same id")
    drop = {"identity": "face", "pose": "keypoints", "gaze": "gaze"}
    for part in again & set(drop):
        for person in scene.people:
            value = getattr(person, drop[part])
            if value is not None and not is_annotation(value):
                setattr(person, drop[part], None)
        if not any(getattr(person, drop[part]) for person in scene.people):
            for role in {part, drop[part]} & set(scene.models):
                del scene.models[role]
    return scene


def _add_bodies(scene: Scene) -> None:
    """Person boxes become people, or go to people without a body whose head is there.

    A person is of the entity that their box is of; without a box, of one that is still there.
    """
    entities, boxes = scene.work.entities, scene.work.boxes
    named = {box.id: box.entity for box in boxes.boxes} if boxes else {}
    for person in scene.people:
        if person.box in named:
            person.entity = named[person.box]
        elif entities is not None and person.entity not in entities:
            person.entity = None
    claimed = {p.box for p in scene.people}
    taken = [body for p in scene.people if (body := scene.body(p)) is not None]
    free = [
        box
        for box in who.distinct(scene.work.bodies)
        if box.id not in claimed
        and all(who.overlap(box.xyxy, body) <= who.SAME_BODY for body in taken)
    ]
    placed = _place_bodies(scene, [box.xyxy for box in free])
    for index, box in enumerate(free):
        if index in placed:
            person = placed[index]
            person.box = box.id
            person.entity = person.entity if person.entity is not None else box.entity
        else:
            scene.add(Person(0, box=box.id, entity=box.entity, source=box.source))


def _place_bodies(scene: Scene, bodies: list[XYXY]) -> dict[int, Person]:
    """Index of a body -> the person who has a head there and no body yet."""
    heads = {}
    for person in scene.people:
        head = person.head or (person.face.xyxy if person.face else None)
        if head is not None and scene.body(person) is None:
            heads[person.id] = (person, Face(head))
    matched = who.match_faces([h for _, h in heads.values()], [Person(0) for _ in bodies], bodies)
    people = [person for person, _ in heads.values()]
    return {body: people[head] for head, body in matched.items()}


def _sound(batch: Iterable[Scene]) -> list[Scene]:
    return [scene for scene in batch if scene.problem is None]


def add_faces(config: Config, loaded: Loaded, batch: list[Scene]) -> None:
    """Detected faces go to the people they fit; those left over are people of their own."""
    batch = _sound(batch)
    source = of(loaded.face.model)
    pictures = [scene.work.image for scene in batch]
    detected = close_ups.detect(loaded.face, pictures, config.face_margin) if batch else []
    for scene, faces in zip(batch, detected, strict=True):
        had = any(p.face is not None for p in scene.people)
        placed = [(geometry.in_picture(one.xyxy), one) for one in faces]
        faces = [replace(one, xyxy=xyxy) for xyxy, one in placed if xyxy is not None]
        bodies = [scene.body(p) for p in scene.people]
        matched = who.match_faces(faces, scene.people, bodies)
        people, gained = list(scene.people), False
        for number, one in enumerate(faces):
            face = replace(one, source=source)
            if number not in matched:
                scene.add(Person(0, face=face, source=source))
                gained = True
                continue
            person = people[matched[number]]
            if person.face is None:
                person.face, gained = face, True
            elif person.face.landmarks is None:
                person.face = replace(
                    person.face, landmarks=face.landmarks, landmarks_source=source
                )
        for person in scene.people:
            if person.head is None and person.face is not None:
                person.head = who.head_of(person.face.xyxy)
                person.head_source = source if source != person.source else None
        model = loaded.face.model
        model = replace(model, options={**model.options, "margin": config.face_margin})
        scene.credit("face", model, had, gained)
        _keep_largest(scene, config.max_people)


def _keep_largest(scene: Scene, most: int) -> None:
    """Leave out the smallest of the new people while there are more than ``most``."""

    def size(person: Person) -> float:
        region = scene.body(person) or (who.body_of(person.face.xyxy) if person.face else None)
        return geometry.area(region) if region else 0.0

    new = sorted((p for p in scene.people if p.id not in scene.known), key=size)
    excess = len(scene.people) - most if most > 0 else 0
    dropped = {p.id for p in new[: max(excess, 0)]}
    scene.people = [p for p in scene.people if p.id not in dropped]


def add_identities(loaded: Loaded, batch: list[Scene]) -> None:
    """Embeddings of the faces that can be aligned and have none yet."""
    import numpy

    batch = _sound(batch)
    wanted = [[p for p in s.people if p.id not in s.rows and _alignable(s, p)] for s in batch]
    faces = [[p.face for p in people] for people in wanted]
    embeddings = loaded.identity.embed([s.work.image for s in batch], faces) if batch else []
    for scene, people, rows in zip(batch, wanted, embeddings, strict=True):
        had = bool(scene.rows)
        if not numpy.isfinite(rows).all():
            scene.problem = SampleFailed("an identity embedding is not finite; try --dtype float32")
            continue
        sizes = {len(row) for row in scene.rows.values()} | {rows.shape[1]}
        if len(people) and len(sizes) > 1:
            scene.problem = SampleFailed(
                f"identity.npy has embeddings of another size ({min(sizes)} and {max(sizes)}); "
                "give --replace to make them all again"
            )
            continue
        scene.rows.update({p.id: row for p, row in zip(people, rows, strict=True)})
        scene.credit("identity", loaded.identity.model, had, bool(people))


def say_no_identity(face_backend: str, batch: list[Scene]) -> None:
    """Note in the record that no embeddings were made, and why; rows from before stay."""
    why = f"the {face_backend} face backend has no identity embedding; see --identity-backend"
    for scene in _sound(batch):
        if not scene.rows:
            scene.models["identity"] = Model("none", role="identity", options={"why": why})


def _alignable(scene: Scene, person: Person) -> bool:
    import numpy

    from socialcli.vision import faces

    if person.face is None or person.face.landmarks is None:
        return False
    size = numpy.array([scene.work.image.width, scene.work.image.height])
    return faces.alignable(numpy.asarray(person.face.landmarks) * size)


def add_keypoints(loaded: Loaded, batch: list[Scene]) -> None:
    """Skeletons, looked for in each body's box, else below each face; a neighbour's is refused."""
    batch = _sound(batch)
    wanted: list[list[tuple[Person, XYXY]]] = []
    for scene in batch:
        regions = [(p, _region(scene, p)) for p in scene.people if p.keypoints is None]
        wanted.append([(p, r) for p, r in regions if r is not None and geometry.area(r) > 0])
    asked = [[region for _, region in pairs] for pairs in wanted]
    estimated = loaded.pose.estimate([s.work.image for s in batch], asked) if batch else []
    source = of(loaded.pose.model)
    for scene, pairs, skeletons in zip(batch, wanted, estimated, strict=True):
        had = any(p.keypoints is not None for p in scene.people)
        for (person, _), keypoints in zip(pairs, skeletons, strict=True):
            if keypoints is not None and who.is_theirs(keypoints, person.head):
                person.keypoints = replace(keypoints, source=source)
        gained = any(person.keypoints is not None for person, _ in pairs)
        scene.credit("pose", loaded.pose.model, had, gained)


def _region(scene: Scene, person: Person) -> XYXY | None:
    body = scene.body(person)
    if body is not None:
        return body
    head = person.face.xyxy if person.face else person.head
    return who.body_of(head) if head else None


def add_gaze(loaded: Loaded, batch: list[Scene]) -> None:
    """Gaze of everyone with a head; all heads are shown to the model, the missing are filled in."""
    batch = _sound(batch)
    heads: list[list[Person]] = []
    for scene in batch:
        seen = [p for p in scene.people if p.head and geometry.area(geometry.clip(p.head)) > 0]
        heads.append(seen if any(p.gaze is None for p in seen) else [])
    asked = [[geometry.clip(p.head) for p in people if p.head] for people in heads]
    estimated = loaded.gaze.gaze([s.work.image for s in batch], asked) if batch else []
    source = of(loaded.gaze.model)
    for scene, people, gazes in zip(batch, heads, estimated, strict=True):
        had = any(p.gaze is not None for p in scene.people)
        gained = False
        for person, gaze in zip(people, gazes, strict=True):
            if person.gaze is None and gaze is not None:
                person.gaze, gained = replace(gaze, source=source), True
        scene.credit("gaze", loaded.gaze.model, had, gained)


def add_interactions(loaded: Loaded, batch: list[Scene]) -> None:
    """Who does what to whom, once all people are known."""
    batch = _sound(batch)
    recognised: list[Any] = loaded.interaction.interact(
        [s.work.image for s in batch],
        [_record(s) for s in batch],
        [s.work.boxes for s in batch],
        [s.work.interactions for s in batch],
    )
    for scene, interactions in zip(batch, recognised, strict=True):
        if isinstance(interactions, SampleFailed):
            scene.problem = interactions
        else:
            scene.interactions = _annotated.interactions(
                scene.work.interactions, interactions, of(loaded.interaction.model)
            )


def _record(scene: Scene) -> records.People:
    image = scene.work.image
    return records.People(image.width, image.height, scene.people, scene.models)


def members(scene: Scene) -> dict[str, bytes] | Exception:
    """The members of one finished scene, or why there are none."""
    import numpy

    if scene.problem is not None:
        return scene.problem
    by_suffix: dict[str, bytes] = {}
    try:
        by_suffix["people.json"] = records.dump(_record(scene))
        ids = [p.id for p in scene.people if p.id in scene.rows]
        if ids:
            rows = numpy.stack([scene.rows[number] for number in ids])
            by_suffix[records.IDENTITY] = records.dump_identity(records.identity_array(ids, rows))
        if scene.interactions is not None:
            by_suffix["interactions.json"] = records.dump(scene.interactions)
        if scene.boxes is not None:
            by_suffix["boxes.json"] = records.dump(scene.boxes)
    except SampleFailed as error:
        return error
    return by_suffix

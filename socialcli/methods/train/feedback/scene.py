"""What one annotated sample says, in the square that is trained on: words, mask, people, pairs.

Records and numpy, no network. `feedback` makes examples of it, `_feedback_watch` watches pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.records.sources import is_annotation
from socialcli.training import geometry
from socialcli.vision import images, people
from socialcli.vision import masks as rle

if TYPE_CHECKING:
    import numpy

    from socialcli.records import XYXY
    from socialcli.shards import Sample
    from socialcli.training.geometry import Frame

QUERIES = ("nouns", "phrases", "caption")
# What a feedback reads, and the stage that writes it.
MEMBERS = {
    "boundary": ("masks.json", "segment"),
    "identity": ("people.json", "annotate-pose"),
    "gaze": ("people.json", "annotate-pose --with gaze"),
    "pose": ("people.json", "annotate-pose"),
    "interaction": ("interactions.json", "annotate-pose --with interaction"),
}
LACKS = {
    "boundary": "no mask of a subject",
    "identity": "no face",
    "gaze": "nobody with a head box whose gaze is annotated (--gaze-source any: or estimated)",
    "pose": "nobody with a body box",
    "interaction": "no annotated interaction (--interaction-source any: or estimated) between two "
    "boxes",
}
SOURCES = ("annotation", "any")  # whose gazes and interactions are learnt from
LEAST_FACE = 12.0  # pixels a side in the square; below, an embedding says nothing


@dataclass
class Pair:
    """A person and an object, normalised xyxy, and every verb that is between them."""

    human: XYXY
    object: XYXY
    label: str
    verbs: list[str]


@dataclass
class Scene:
    """One sample in its square; all coordinates normalised to the square."""

    caption: str
    query: str
    mask: numpy.ndarray | None  # (size, size) bool: the subjects
    faces: list[records.Face] = field(default_factory=list)
    gazers: list[tuple[XYXY, records.Gaze | None]] = field(default_factory=list)  # head, gaze
    bodies: list[tuple[XYXY, records.Keypoints | None]] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)

    def speaks(self, name: str) -> bool:
        """Whether a feedback has anything to say of this sample."""
        if name == "boundary":
            return self.mask is not None and bool(self.mask.any()) and not bool(self.mask.all())
        if name == "gaze":
            return any(gaze is not None and known(gaze) for _, gaze in self.gazers)
        return bool({"identity": self.faces, "pose": self.bodies}.get(name, self.pairs))


def known(gaze: records.Gaze) -> bool:
    """Whether a gaze record says where somebody looks, or at least in which direction."""
    return gaze.vector is not None or (gaze.point is not None and gaze.inside is not False)


def read(
    sample: Sample,
    frame: Frame,
    query: str,
    wanted: tuple[str, ...],
    least_face: float = LEAST_FACE,
    estimates: frozenset[str] = frozenset(),
) -> Scene:
    """The sample's records in the frame.

    Args:
        query: "nouns", "phrases" or "caption": what names the subjects.
        wanted: the feedbacks that will be asked; members that only others need are not read.
        estimates: of "gaze" and "interaction", those whose targets may be a model's estimates
            (`socialcli.records.sources`). Everybody's head is there all the same.

    Raises:
        SampleFailed: no caption, no entities, or a member that cannot be read.
    """
    caption = sample.record(records.Caption).text.strip()
    if not caption:
        raise SampleFailed("caption.json: the caption is empty")
    found = sample.record(records.Boxes) if sample.has("boxes.json") else None
    all_boxes = found.boxes if found else []
    boxes = {box.id: box for box in frame.boxes(all_boxes)}
    scene = Scene(caption, _query(sample, caption, query, all_boxes, boxes), None)
    if "boundary" in wanted and sample.has("masks.json"):
        scene.mask = _mask(sample.record(records.Masks), frame)
    crowd: dict[int, records.Person] = {}
    if sample.has("people.json") and set(wanted) - {"boundary"}:
        listed = sample.record(records.People).people
        crowd = {person.id: frame.person(person) for person in listed}
    bodies = {n: body for n, p in crowd.items() if (body := _body(p, boxes)) is not None}
    for number, person in crowd.items():
        if person.face is not None and _side(person.face.xyxy) * frame.size >= least_face:
            scene.faces.append(person.face)
        head = person.head or (people.head_of(person.face.xyxy) if person.face else None)
        if head is not None:
            gaze = person.gaze
            if gaze is not None and "gaze" not in estimates and not is_annotation(gaze):
                gaze = None
            scene.gazers.append((head, gaze))
        if number in bodies:
            scene.bodies.append((bodies[number], person.keypoints))
    if "interaction" in wanted and sample.has("interactions.json"):
        acts = sample.record(records.Interactions).interactions
        if "interaction" not in estimates:
            acts = [one for one in acts if is_annotation(one)]
        scene.pairs = _pairs(acts, boxes, bodies)
    return scene


def _query(
    sample: Sample,
    caption: str,
    query: str,
    all_boxes: list[records.Box],
    boxes: dict[int, records.Box],
) -> str:
    """The words for the subjects: entities with a box in the square, in the caption's order.

    Entities whose boxes all left the square are left out, those that never had one too, unless
    that leaves none.
    """
    if query == "caption":
        return caption
    entities = sample.record(records.Entities).entities
    if not entities:
        raise SampleFailed("entities.json: the entity list is empty, there is no subject to name")
    shown = {box.entity for box in boxes.values()}
    boxed = {box.entity for box in all_boxes}
    chosen = [e for e in entities if e.id in shown]
    chosen = chosen or [e for e in entities if e.id in boxed] or entities
    words = [e.text if query == "phrases" else e.head for e in chosen]
    return ", ".join(dict.fromkeys(w.strip() for w in words if w.strip()))


def _mask(masks: records.Masks, frame: Frame) -> numpy.ndarray:
    """The union of the subjects' masks; of all masks where none is linked to an entity."""
    import numpy

    subjects = [m for m in masks.masks if m.entity is not None] or masks.masks
    union = numpy.zeros((frame.size, frame.size), bool)
    for mask in subjects:
        union |= frame.mask(rle.decode(mask.rle))
    return union


def _body(person: records.Person, boxes: dict[int, records.Box]) -> XYXY | None:
    if person.box is not None and person.box in boxes:
        return boxes[person.box].xyxy
    return person.xyxy


def _pairs(
    acts: list[records.Interaction], boxes: dict[int, records.Box], bodies: dict[int, XYXY]
) -> list[Pair]:
    pairs: dict[tuple[XYXY, XYXY], Pair] = {}
    for one in acts:
        human = bodies.get(one.subject) if one.subject is not None else None
        if human is None and one.subject_box in boxes:
            human = boxes[one.subject_box].xyxy
        thing = boxes[one.object].xyxy if one.object in boxes else None
        if thing is None and one.object_person is not None:
            thing = bodies.get(one.object_person)
        if human is None or thing is None:
            continue
        label = one.object_label or (boxes[one.object].label if one.object in boxes else "person")
        pair = pairs.setdefault((human, thing), Pair(human, thing, label, []))
        if one.verb not in pair.verbs:
            pair.verbs.append(one.verb)
    return list(pairs.values())


def _side(xyxy: XYXY) -> float:
    return min(xyxy[2] - xyxy[0], xyxy[3] - xyxy[1])


# --- as numbers -----------------------------------------------------------------------------------


def tensors(scene: Scene, wanted: tuple[str, ...]) -> dict[str, Any]:
    """What the feedbacks need of a scene, as tensors and lists: ``NAME_part`` for each feedback
    that has something to say. Missing landmarks and gazes are NaN."""
    import torch

    nan = float("nan")
    made: dict[str, Any] = {}
    speaking = [name for name in wanted if scene.speaks(name)]
    if "boundary" in speaking:
        made["boundary_mask"] = torch.from_numpy(scene.mask)
    if "identity" in speaking:
        empty = [(nan, nan)] * 5
        made["identity_boxes"] = torch.tensor([f.xyxy for f in scene.faces])
        made["identity_landmarks"] = torch.tensor([f.landmarks or empty for f in scene.faces])
    if "gaze" in speaking:
        made["gaze_heads"] = torch.tensor([head for head, _ in scene.gazers])
        points, vectors = zip(*(_gaze(head, gaze) for head, gaze in scene.gazers), strict=True)
        made["gaze_points"], made["gaze_vectors"] = torch.tensor(points), torch.tensor(vectors)
    if "pose" in speaking:
        unseen = [(nan, nan, 0.0)] * len(records.COCO_KEYPOINTS)
        made["pose_boxes"] = torch.tensor([body for body, _ in scene.bodies])
        made["pose_keypoints"] = torch.tensor(
            [
                k.points if k is not None and k.layout == "coco17" else unseen
                for _, k in scene.bodies
            ]
        )
    if "interaction" in speaking:
        made["interaction_boxes"] = torch.tensor([(p.human, p.object) for p in scene.pairs])
        made["interaction_objects"] = [p.label for p in scene.pairs]
        made["interaction_verbs"] = [p.verbs for p in scene.pairs]
    return made


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


def whole(sample: Sample, size: int) -> Frame:
    """The centre square, unmirrored, without decoding the picture: to look at records alone."""
    import random

    facts = images.facts(sample.picture())
    return geometry.choose(facts.width, facts.height, size, random.Random(0), "centre", 0.0)

"""The record schema: what each member of a sample holds, and nothing about how it is stored.

Conventions, said once and meant everywhere
    * **Picture frame.** The picture as a person sees it: after its EXIF orientation has been
      applied. x grows to the right, y grows downwards, the top left corner is (0, 0).
    * **Coordinates** are normalised by the upright picture's width and height, so a point inside
      the picture lies in [0, 1] x [0, 1]. Boxes are ``xyxy``: (left, top, right, bottom).
    * **Keypoints** are (x, y, visibility), normalised x and y; visibility as COCO has it:
      0 not labelled, 1 labelled but hidden, 2 visible.
    * **Gaze** is a point (normalised) and a vector of length 1 from the centre of the head box
      (hx, hy) in the picture's own frame, that is measured in pixels: normalise((px - hx) * width,
      (py - hy) * height), so that a gaze at 45 degrees on screen is (0.7071, 0.7071) whatever the
      picture's aspect ratio.
    * **Links are ids**, never list positions. An id is an integer of at least 1, unique among its
      kind within one sample, and survives every filter: dropping box 2 leaves box 3 box 3.
    * **Provenance.** Every member a stage writes carries ``model`` objects that say which backend,
      checkpoint, revision and options made it. Ground truth says ``{"backend": "ground-truth"}``.
    * **Sources.** Every box, mask, person, face, skeleton, gaze and interaction says in ``source``
      whether it is an annotation or which backend made it (`socialcli.records.sources`).

A sample ``KEY`` may have these members (`docs/records.md` shows one of each):

    ============================= ==========================================================
    ``KEY.jpg`` / ``.png`` ...    the picture, byte for byte as it came
    ``KEY.meta.json``             `Meta`: size, orientation, where the picture came from
    ``KEY.caption.json``          `Caption`
    ``KEY.entities.json``         `Entities`: noun phrases and subject-verb-object triples
    ``KEY.boxes.json``            `Boxes`: one or more boxes per entity
    ``KEY.masks.json``            `Masks`: COCO run-length masks, at most one per box
    ``KEY.people.json``           `People`: face, head, keypoints, gaze of each person
    ``KEY.identity.npy``          face embeddings: a matrix, see `dump_identity`
    ``KEY.interactions.json``     `Interactions`: who does what to whom
    ``KEY.layout.json``           `Layout`: which part of a picture to be made shows what
    ``KEY.generated.json``        `Generated`: of a picture that `socialcli generate` made
    ============================= ==========================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from socialcli.records import limits, sources
from socialcli.records.arrays import (
    IDENTITY,
    dump_identity,
    dump_npy,
    identity_array,
    load_identity,
    load_npy,
)
from socialcli.records.members import SCHEMA_VERSION, Refused, dump, load

COCO_KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip

# Pairs of indices into COCO_KEYPOINTS, the limbs that a skeleton drawing connects.
COCO_LIMBS = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip

# A face's five landmarks in the order ArcFace alignment expects; left and right are the viewer's.
FACE_LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")

Point = tuple[limits.Coordinate, limits.Coordinate]
XYXY = tuple[limits.Coordinate, limits.Coordinate, limits.Coordinate, limits.Coordinate]
Vector = tuple[limits.Direction, limits.Direction]
Keypoint = tuple[limits.Coordinate, limits.Coordinate, limits.Visibility]


@dataclass
class Model:
    """Which model made a member, as recorded beside its results."""

    backend: limits.SomeName
    model: limits.Name = ""
    revision: limits.Name | None = None
    role: limits.Name = ""
    options: dict[str, Any] = field(default_factory=dict)


GROUND_TRUTH = Model(backend="ground-truth")


@dataclass
class Meta:
    """``KEY.meta.json``: facts about the picture, written by `socialcli import`."""

    width: limits.Pixels  # of the upright picture, pixels
    height: limits.Pixels
    orientation: limits.Orientation = 1  # the EXIF orientation found in the file (1 = upright)
    source: limits.Text = ""  # path or URL it was imported from
    split: limits.Name = ""  # train, val, test where the data set has one
    license: limits.Text = ""
    extra: dict[str, Any] = field(default_factory=dict)  # data-set specific facts


@dataclass
class Caption:
    """``KEY.caption.json``. ``text`` is the caption later stages parse; ``others`` are spare."""

    text: limits.SomeText
    others: Annotated[list[limits.Text], limits.ITEMS] = field(default_factory=list)
    model: Model | None = None
    source: limits.SomeName | None = None  # of text and others: see `socialcli.records.sources`


@dataclass
class Entity:
    """One noun phrase of the caption; ``start``/``end`` are character offsets into its text."""

    id: limits.Id
    text: limits.SomeText  # the phrase: "a woman in red"
    head: limits.Text  # its head noun as written: "woman"
    lemma: limits.Text  # "woman"
    start: limits.Count
    end: limits.Positive
    kind: limits.Kind  # person | animal | object
    count: limits.Count = 1  # "two dogs" -> 2; an unnumbered plural -> 0, meaning several
    source: limits.SomeName | None = None


@dataclass
class Triple:
    """<subject, verb, object> from the caption's dependency parse; ids are entity ids.

    ``verb`` is the lemma with its particle or preposition ("pick up", "ride on"); ``object`` is
    None for an intransitive ("a man smiles").
    """

    subject: limits.Id
    verb: limits.SomeText
    object: limits.Id | None = None
    text: limits.Text = ""  # the verb as written: "is being kissed"
    passive: bool = False
    source: limits.SomeName | None = None


@dataclass
class Entities:
    """``KEY.entities.json``."""

    entities: Annotated[list[Entity], limits.ITEMS] = field(default_factory=list)
    triples: Annotated[list[Triple], limits.ITEMS] = field(default_factory=list)
    model: Model | None = None


@dataclass
class Box:
    """One box; ``entity`` links to `Entity.id` (None when nothing names it).

    ``keypoints`` are those of an animal or a thing; people have theirs in `Person`.
    """

    id: limits.Id
    xyxy: XYXY
    label: limits.Text = ""
    entity: limits.Id | None = None
    score: limits.Score | None = None
    source: limits.SomeName | None = None  # of every part: see `socialcli.records.sources`
    keypoints: Keypoints | None = None


@dataclass
class Boxes:
    """``KEY.boxes.json``."""

    width: limits.Pixels
    height: limits.Pixels
    boxes: Annotated[list[Box], limits.ITEMS] = field(default_factory=list)
    model: Model | None = None


class RLE(TypedDict):
    """COCO's compressed run-length code: ``size`` is [height, width], ``counts`` the runs."""

    size: Annotated[list[limits.Pixels], limits.PAIR]
    counts: limits.MaskCode


@dataclass
class Mask:
    """A binary mask in COCO's compressed run-length code (column-major, upright picture).

    ``rle`` is ``{"size": [height, width], "counts": "..."}`` as `pycocotools` reads it; ``iou`` is
    the segmenter's own estimate, ``stability`` SAM's stability score, both in [0, 1].
    """

    id: limits.Id
    rle: RLE
    box: limits.Id | None = None
    entity: limits.Id | None = None
    iou: limits.Score | None = None
    stability: limits.Score | None = None
    source: limits.SomeName | None = None


@dataclass
class Masks:
    """``KEY.masks.json``."""

    width: limits.Pixels
    height: limits.Pixels
    masks: Annotated[list[Mask], limits.ITEMS] = field(default_factory=list)
    model: Model | None = None


@dataclass
class Face:
    """A face box, with five landmarks (`FACE_LANDMARKS`) where the detector gives them.

    ``landmarks_source`` is set only where the landmarks are not from the face's own ``source``.
    """

    xyxy: XYXY
    score: limits.Score | None = None
    landmarks: Annotated[list[Point], limits.FIVE] | None = None
    source: limits.SomeName | None = None
    landmarks_source: limits.SomeName | None = None


@dataclass
class Keypoints:
    """Keypoints, ``points[i]`` = (x, y, visibility) in the order that ``layout`` names.

    That is COCO's body, or one of `socialcli.records.keypoint_layouts`.
    """

    points: Annotated[list[Keypoint], limits.ITEMS]
    scores: Annotated[list[limits.Number], limits.ITEMS] | None = None
    layout: limits.SomeName = "coco17"
    source: limits.SomeName | None = None


@dataclass
class Gaze:
    """Where a person looks. ``inside`` is False when the target lies outside the picture.

    ``points`` holds every annotator's point where there were several (GazeFollow's test set has
    about ten); ``point`` is then their mean.
    """

    point: Point | None = None
    vector: Vector | None = None
    inside: bool | None = None
    score: limits.Score | None = None
    points: Annotated[list[Point], limits.ITEMS] | None = None
    source: limits.SomeName | None = None


@dataclass
class Person:
    """One person: every part is optional, because every part has its own detector.

    ``identity`` names who it is where the data knows (ground truth); the embedding of the face is
    in ``KEY.identity.npy`` under this person's ``id``. ``source`` says who found the person;
    ``head_source`` is set only where the head box is not from there.
    """

    id: limits.Id
    box: limits.Id | None = None  # Box.id of this person's body
    entity: limits.Id | None = None
    xyxy: XYXY | None = None  # body box when no Box stands for it
    head: XYXY | None = None
    face: Face | None = None
    keypoints: Keypoints | None = None
    gaze: Gaze | None = None
    identity: limits.Text | None = None
    source: limits.SomeName | None = None
    head_source: limits.SomeName | None = None


@dataclass
class People:
    """``KEY.people.json``. ``models`` maps a role (face, identity, pose, gaze) to its model."""

    width: limits.Pixels
    height: limits.Pixels
    people: Annotated[list[Person], limits.ITEMS] = field(default_factory=list)
    models: dict[str, Model] = field(default_factory=dict)


@dataclass
class Interaction:
    """Person ``subject`` does ``verb`` to box ``object`` (or to person ``object_person``).

    ``subject_box`` and ``object`` are box ids. ``hoi`` is the data set's own class number where
    there is one (HICO-DET: 1 to 600).
    """

    id: limits.Id
    verb: limits.SomeText
    subject: limits.Id | None = None  # Person.id
    subject_box: limits.Id | None = None  # Box.id
    object: limits.Id | None = None  # Box.id
    object_person: limits.Id | None = None  # Person.id when the object is a person
    object_label: limits.Text = ""
    hoi: limits.Id | None = None
    score: limits.Score | None = None
    source: limits.SomeName | None = None


@dataclass
class Interactions:
    """``KEY.interactions.json``."""

    interactions: Annotated[list[Interaction], limits.ITEMS] = field(default_factory=list)
    model: Model | None = None


@dataclass
class SegmentReference:
    """A reference picture of what a segment shall show: a file, or a key or subject of the shards
    that `generate --references` names. ``query`` and ``scale`` as in `Shown`."""

    name: limits.SomeName
    query: limits.Text = ""
    scale: limits.Number | None = None


@dataclass
class Segment:
    """One part of a layout: its pixels, and what they shall show.

    ``rle`` is as in `Mask`. ``colour`` is the segment's in the picture that people edit.
    ``word`` is what a detector calls the thing in it ("dog"), ``subject`` who or what it is, as
    reference shards and learnt words call it ("Ada").
    ``keypoints`` is the skeleton of the person in it. ``depth`` orders segments from the viewer
    away: 0 is nearest. ``entity`` and ``person`` say what it was made of.
    """

    id: limits.Id
    colour: limits.Colour  # "#rrggbb"
    prompt: limits.SomeText
    rle: RLE
    negative: limits.Text = ""
    word: limits.Text | None = None
    subject: limits.Text | None = None
    keypoints: Keypoints | None = None
    references: Annotated[list[SegmentReference], limits.ITEMS] = field(default_factory=list)
    depth: limits.Number | None = None
    background: bool = False
    entity: limits.Id | None = None
    person: limits.Id | None = None


@dataclass
class Layout:
    """``KEY.layout.json``: the plan of a picture. Every pixel belongs to exactly one segment;
    ``prompt`` says what the picture as a whole shall show."""

    width: limits.Pixels
    height: limits.Pixels
    prompt: limits.SomeText
    segments: Annotated[list[Segment], limits.SEGMENTS]
    negative: limits.Text = ""
    model: Model | None = None


@dataclass
class Shown:
    """A reference picture that a generated one was made from.

    ``key`` is the key of its sample, or its file's name; ``query`` the words that say what in it
    was meant ("" where the method asks for none).
    """

    key: limits.SomeName
    query: limits.Text = ""
    scale: limits.Number = 1.0


@dataclass
class Attempts:
    """How often a picture was drawn, and what a detector found wrong with the one that was kept:
    ``kept`` is its number from 1, ``price`` what its faults cost (`socialcli.vision.assignment`).
    """

    count: limits.Positive
    kept: limits.Positive
    price: limits.Number
    missing: limits.Count = 0
    surplus: limits.Count = 0
    hybrid: limits.Count = 0
    swapped: limits.Count = 0


@dataclass
class Generated:
    """``KEY.generated.json``: all that a picture was made with.

    ``plain_prompt`` is the prompt in ordinary words where ``prompt`` has pseudo-words;
    ``models`` maps a role (ssr, embedding, ...) to what was used besides ``model``; ``unread``
    holds the ends of prompt, negative and queries that the text encoder's length cut off, and
    ``long_prompts`` how they were read instead.
    """

    prompt: limits.SomeText
    seed: limits.Seed
    method: limits.SomeName
    model: Model
    scheduler: limits.SomeName
    steps: limits.Positive
    guidance: limits.Number
    size: tuple[limits.Pixels, limits.Pixels]  # width, height
    negative: limits.Text = ""
    source_key: limits.Name | None = None  # of the sample whose caption the prompt is
    references: Annotated[list[Shown], limits.ITEMS] = field(default_factory=list)
    plain_prompt: limits.Text | None = None
    models: dict[str, Model] = field(default_factory=dict)
    unread: Annotated[list[limits.Text], limits.ITEMS] | None = None
    long_prompts: limits.Name | None = None
    attempts: Attempts | None = None


# Member suffix -> record type; the one list of what this schema version knows.
MEMBERS: dict[str, type] = {
    "meta.json": Meta,
    "caption.json": Caption,
    "entities.json": Entities,
    "boxes.json": Boxes,
    "masks.json": Masks,
    "people.json": People,
    "interactions.json": Interactions,
    "layout.json": Layout,
    "generated.json": Generated,
}
# Member suffix -> the subcommand that writes it.
WRITERS = {
    "meta.json": "import",
    "caption.json": "caption",
    "entities.json": "extract-entities",
    "boxes.json": "ground",
    "masks.json": "segment",
    "people.json": "annotate-pose",
    "interactions.json": "annotate-pose --with interaction",
    "layout.json": "layout",
    "generated.json": "generate",
    IDENTITY: "annotate-pose --with identity",
}
IMAGE_SUFFIXES = (
    "jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "avif", "heic", "heif",
)  # fmt: skip

__all__ = [
    "COCO_KEYPOINTS", "COCO_LIMBS", "FACE_LANDMARKS", "GROUND_TRUTH", "IDENTITY",
    "IMAGE_SUFFIXES", "MEMBERS", "RLE", "SCHEMA_VERSION", "WRITERS", "XYXY", "Attempts", "Box",
    "Boxes", "Caption", "Entities", "Entity", "Face", "Gaze", "Generated", "Interaction",
    "Interactions", "Keypoint", "Keypoints", "Layout", "Mask", "Masks", "Meta", "Model",
    "People", "Person", "Point", "Refused", "Segment", "SegmentReference", "Shown", "Triple",
    "Vector", "dump", "dump_identity", "dump_npy", "identity_array", "limits", "load",
    "load_identity", "load_npy", "sources",
]  # fmt: skip

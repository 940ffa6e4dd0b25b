"""The record schema: what each member of a sample holds, and nothing about how it is stored.

Conventions, said once and meant everywhere
    * **Picture frame.** The picture as a person sees it: after its EXIF orientation has been
      applied. x grows to the right, y grows downwards, the top left corner is (0, 0).
    * **Coordinates** are normalised by the upright picture's width and height, so a point inside
      the picture lies in [0, 1] x [0, 1]. Boxes are ``xyxy``: (left, top, right, bottom).
    * **Keypoints** are (x, y, visibility), normalised x and y; visibility as COCO has it:
      0 not labelled, 1 labelled but hidden, 2 visible.
    * **Gaze** is a point (normalised) and a vector of length 1 in the picture's own frame, that
      is measured in pixels: normalise((px - hx) * width, (py - hy) * height), so that a gaze at
      45 degrees on screen is (0.7071, 0.7071) whatever the picture's aspect ratio.
    * **Links are ids**, never list positions. An id is an integer of at least 1, unique among its
      kind within one sample, and survives every filter: dropping box 2 leaves box 3 box 3.
    * **Provenance.** Every member a stage writes carries ``model`` objects that say which backend,
      checkpoint, revision and options made it. Ground truth says ``{"backend": "ground-truth"}``.

A sample ``KEY`` may have these members (`docs/records.md` shows one of each):

    ============================= ==========================================================
    ``KEY.jpg`` / ``.png`` ...    the picture, byte for byte as it came
    ``KEY.meta.json``             `Meta`: size, orientation, where the picture came from
    ``KEY.caption.json``          `Caption`
    ``KEY.entities.json``         `Entities`: noun phrases and subject-verb-object triples
    ``KEY.boxes.json``            `Boxes`: one or more boxes per entity
    ``KEY.masks.json``            `Masks`: COCO run-length masks, at most one per box
    ``KEY.people.json``           `People`: face, head, keypoints, gaze of each person
    ``KEY.identity.npy``          face embeddings: structured array, see `identity_array`
    ``KEY.interactions.json``     `Interactions`: who does what to whom
    ``KEY.generated.json``        `Generated`: of a picture that `socialcli generate` made
    ============================= ==========================================================
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from socialcli.errors import SampleFailed

if TYPE_CHECKING:
    import numpy

SCHEMA_VERSION = 1

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

Point = tuple[float, float]
XYXY = tuple[float, float, float, float]


@dataclass
class Model:
    """Which model made a member, as recorded beside its results."""

    backend: str
    model: str = ""
    revision: str | None = None
    role: str = ""
    options: dict[str, Any] = field(default_factory=dict)


GROUND_TRUTH = Model(backend="ground-truth")


@dataclass
class Meta:
    """``KEY.meta.json``: facts about the picture, written by `socialcli import`."""

    width: int  # of the upright picture, pixels
    height: int
    orientation: int = 1  # the EXIF orientation found in the file (1 = upright)
    source: str = ""  # path or URL it was imported from
    split: str = ""  # train, val, test where the data set has one
    license: str = ""
    extra: dict[str, Any] = field(default_factory=dict)  # data-set specific facts


@dataclass
class Caption:
    """``KEY.caption.json``. ``text`` is the caption later stages parse; ``others`` are spare."""

    text: str
    others: list[str] = field(default_factory=list)
    model: Model | None = None


@dataclass
class Entity:
    """One noun phrase of the caption; ``start``/``end`` are character offsets into its text."""

    id: int
    text: str  # the phrase: "a woman in red"
    head: str  # its head noun as written: "woman"
    lemma: str  # "woman"
    start: int
    end: int
    kind: str  # person | animal | object
    count: int = 1  # "two dogs" -> 2; an unnumbered plural -> 0, meaning several


@dataclass
class Triple:
    """<subject, verb, object> from the caption's dependency parse; ids are entity ids.

    ``verb`` is the lemma with its particle or preposition ("pick up", "ride on"); ``object`` is
    None for an intransitive ("a man smiles").
    """

    subject: int
    verb: str
    object: int | None = None
    text: str = ""  # the verb as written: "is being kissed"
    passive: bool = False


@dataclass
class Entities:
    """``KEY.entities.json``."""

    entities: list[Entity] = field(default_factory=list)
    triples: list[Triple] = field(default_factory=list)
    model: Model | None = None


@dataclass
class Box:
    """One detected box; ``entity`` links to `Entity.id` (None when nothing names it)."""

    id: int
    xyxy: XYXY
    label: str = ""
    entity: int | None = None
    score: float | None = None


@dataclass
class Boxes:
    """``KEY.boxes.json``."""

    width: int
    height: int
    boxes: list[Box] = field(default_factory=list)
    model: Model | None = None


@dataclass
class Mask:
    """A binary mask in COCO's compressed run-length code (column-major, upright picture).

    ``rle`` is ``{"size": [height, width], "counts": "..."}`` as `pycocotools` reads it; ``iou`` is
    the segmenter's own estimate, ``stability`` SAM's stability score, both in [0, 1].
    """

    id: int
    rle: dict[str, Any]
    box: int | None = None
    entity: int | None = None
    iou: float | None = None
    stability: float | None = None


@dataclass
class Masks:
    """``KEY.masks.json``."""

    width: int
    height: int
    masks: list[Mask] = field(default_factory=list)
    model: Model | None = None


@dataclass
class Face:
    """A face box, with five landmarks (`FACE_LANDMARKS`) where the detector gives them."""

    xyxy: XYXY
    score: float | None = None
    landmarks: list[Point] | None = None


@dataclass
class Keypoints:
    """Body keypoints, ``points[i]`` = (x, y, visibility) in the order ``layout`` names."""

    points: list[tuple[float, float, float]]
    scores: list[float] | None = None
    layout: str = "coco17"


@dataclass
class Gaze:
    """Where a person looks. ``inside`` is False when the target lies outside the picture.

    ``points`` holds every annotator's point where there were several (GazeFollow's test set has
    about ten); ``point`` is then their mean.
    """

    point: Point | None = None
    vector: Point | None = None
    inside: bool | None = None
    score: float | None = None
    points: list[Point] | None = None


@dataclass
class Person:
    """One person: every part is optional, because every part has its own detector.

    ``identity`` names who it is where the data knows (ground truth); the embedding of the face is
    in ``KEY.identity.npy`` under this person's ``id``.
    """

    id: int
    box: int | None = None  # Box.id of this person's body
    entity: int | None = None
    xyxy: XYXY | None = None  # body box when no Box stands for it
    head: XYXY | None = None
    face: Face | None = None
    keypoints: Keypoints | None = None
    gaze: Gaze | None = None
    identity: str | None = None


@dataclass
class People:
    """``KEY.people.json``. ``models`` maps a role (face, identity, pose, gaze) to its model."""

    width: int
    height: int
    people: list[Person] = field(default_factory=list)
    models: dict[str, Model] = field(default_factory=dict)


@dataclass
class Interaction:
    """Person ``subject`` does ``verb`` to box ``object`` (or to person ``object_person``).

    ``subject_box`` and ``object`` are box ids. ``hoi`` is the data set's own class number where
    there is one (HICO-DET: 1 to 600).
    """

    id: int
    verb: str
    subject: int | None = None  # Person.id
    subject_box: int | None = None  # Box.id
    object: int | None = None  # Box.id
    object_person: int | None = None  # Person.id when the object is a person
    object_label: str = ""
    hoi: int | None = None
    score: float | None = None


@dataclass
class Interactions:
    """``KEY.interactions.json``."""

    interactions: list[Interaction] = field(default_factory=list)
    model: Model | None = None


@dataclass
class Shown:
    """A reference picture that a generated one was made from.

    ``key`` is the key of its sample, or its file's name; ``query`` the words that say what in it
    was meant ("" where the method asks for none).
    """

    key: str
    query: str = ""
    scale: float = 1.0


@dataclass
class Generated:
    """``KEY.generated.json``: all that a picture was made with.

    ``plain_prompt`` is the prompt in ordinary words where ``prompt`` has pseudo-words;
    ``models`` maps a role (ssr, embedding, ...) to what was used besides ``model``.
    """

    prompt: str
    seed: int
    method: str
    model: Model
    scheduler: str
    steps: int
    guidance: float
    size: tuple[int, int]  # width, height
    negative: str = ""
    source_key: str | None = None  # of the sample whose caption the prompt is
    references: list[Shown] = field(default_factory=list)
    plain_prompt: str | None = None
    models: dict[str, Model] = field(default_factory=dict)


# Member suffix -> record type; the one list of what this schema version knows.
MEMBERS: dict[str, type] = {
    "meta.json": Meta,
    "caption.json": Caption,
    "entities.json": Entities,
    "boxes.json": Boxes,
    "masks.json": Masks,
    "people.json": People,
    "interactions.json": Interactions,
    "generated.json": Generated,
}
IDENTITY = "identity.npy"
IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "avif")

Record = TypeVar("Record")


def _plain(value: Any) -> Any:
    """Dataclasses to dicts, floats to six decimals (a millionth of the picture), no None noise."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: _plain(item) for name, item in items if item is not None}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise SampleFailed(f"a value is {number}: the model's output is not finite")
    return round(number, 6)


def dump(record: Any) -> bytes:
    """One record as UTF-8 JSON: the same record always gives the same bytes."""
    body = {"schema": SCHEMA_VERSION, **_plain(record)}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def load(kind: type[Record], data: bytes, where: str = "") -> Record:
    """Parse one member into its dataclass; unknown fields are ignored so that newer files load.

    Raises:
        SampleFailed: the bytes are not JSON, lack a required field, or come from a newer schema.
    """
    try:
        body = json.loads(data)
    except ValueError as error:
        raise SampleFailed(f"{where or kind.__name__}: not valid JSON ({error})") from None
    if not isinstance(body, dict):
        raise SampleFailed(f"{where or kind.__name__}: expected a JSON object")
    if body.get("schema", SCHEMA_VERSION) > SCHEMA_VERSION:
        raise SampleFailed(
            f"{where or kind.__name__}: schema {body['schema']} is newer than this version's "
            f"{SCHEMA_VERSION}; upgrade socialcli"
        )
    try:
        return _build(kind, body)
    except (TypeError, ValueError, KeyError) as error:
        raise SampleFailed(f"{where or kind.__name__}: {error}") from None


# field name -> dataclass of its items, for the nested fields above.
_NESTED: dict[tuple[type, str], type] = {
    (Caption, "model"): Model,
    (Entities, "model"): Model,
    (Entities, "entities"): Entity,
    (Entities, "triples"): Triple,
    (Boxes, "model"): Model,
    (Boxes, "boxes"): Box,
    (Masks, "model"): Model,
    (Masks, "masks"): Mask,
    (People, "people"): Person,
    (People, "models"): Model,
    (Person, "face"): Face,
    (Person, "keypoints"): Keypoints,
    (Person, "gaze"): Gaze,
    (Interactions, "model"): Model,
    (Interactions, "interactions"): Interaction,
    (Generated, "model"): Model,
    (Generated, "models"): Model,
    (Generated, "references"): Shown,
}


def _build(kind: type[Record], body: dict[str, Any]) -> Record:
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in body.items():
        if name not in known:
            continue
        nested = _NESTED.get((kind, name))
        if nested is None or value is None:
            values[name] = value
        elif isinstance(value, list):
            values[name] = [_build(nested, item) for item in value]
        elif name == "models":
            values[name] = {role: _build(nested, item) for role, item in value.items()}
        else:
            values[name] = _build(nested, value)
    return kind(**values)


def identity_array(people: list[int], embeddings: numpy.ndarray) -> numpy.ndarray:
    """Face embeddings with the person ids they belong to, in one self-describing array.

    Args:
        people: N person ids (`Person.id`).
        embeddings: (N, D) float32, as the recogniser gives them (not normalised).

    Returns:
        Structured array of N rows with fields ``person`` (int32) and ``embedding`` (D float32);
        ``numpy.load`` reads it without pickle.
    """
    import numpy

    embeddings = numpy.asarray(embeddings, dtype=numpy.float32).reshape(len(people), -1)
    dtype = [("person", "<i4"), ("embedding", "<f4", (embeddings.shape[1],))]
    rows = numpy.zeros(len(people), dtype=dtype)
    rows["person"] = people
    rows["embedding"] = embeddings
    return rows


def dump_npy(array: numpy.ndarray) -> bytes:
    """An array as ``.npy`` bytes; object arrays (which would need pickle) are refused."""
    import io

    import numpy

    out = io.BytesIO()
    numpy.lib.format.write_array(out, array, version=(1, 0), allow_pickle=False)
    return out.getvalue()


def load_npy(data: bytes, where: str = IDENTITY) -> numpy.ndarray:
    """The array in ``.npy`` bytes, never unpickling.

    Raises:
        SampleFailed: not a plain ``.npy`` file.
    """
    import io

    import numpy

    try:
        return numpy.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise SampleFailed(f"{where}: not a plain .npy array ({error})") from None

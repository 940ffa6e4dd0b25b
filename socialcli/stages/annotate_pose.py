"""Find people: faces, identities, keypoints, gaze, interactions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.backends import ModelSpec
from socialcli.config import ModelOptions, check_bounds, option
from socialcli.errors import UsageError
from socialcli.pipeline.stage import Item, Stage
from socialcli.vision import boxes as geometry
from socialcli.vision import close_ups, images
from socialcli.vision.people import crowds, kind_of

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

    from socialcli.records import Box
    from socialcli.shards import Sample

PARTS = ("identity", "pose", "gaze", "interaction")


@dataclass
class Config(ModelOptions):
    with_: str = option(
        "identity,pose,gaze",
        "What to annotate, divided by commas: identity, pose, gaze, interaction.",
        choices=PARTS,
        many=True,
    )
    face_backend: str = option(
        "insightface", "Which face detector; `socialcli models` lists them.", role="face"
    )
    face_model: str = option("", "Its model: an insightface pack's name or folder.")
    identity_backend: str | None = option(
        None,
        "Which identity embedder; by default the face detector's own, if it has one.",
        role="face",
    )
    identity_model: str = option("", "Its model: a backbone.pth for iresnet, a pack otherwise.")
    pose_backend: str = option("vitpose", "Which keypoint estimator.", role="pose")
    pose_model: str = option("", "Its model: hub id, folder, or a file for xpose.")
    pose_revision: str | None = option(None, "Commit or tag of the keypoint model on the hub.")
    gaze_backend: str = option("sharingan", "Which gaze estimator.", role="gaze")
    gaze_model: str = option("", "Its model: a checkpoint file for sharingan and gazelle.")
    interaction_backend: str = option(
        "ground-truth", "Where interactions come from.", role="interaction"
    )
    interaction_model: str = option("", "Its model, for backends that have one.")
    face_threshold: float = option(
        0.5, "Faces scored below this are not faces (0 to 1).", at_least=0, at_most=1
    )
    face_margin: float = option(
        close_ups.MARGIN,
        "Where no face is sure, look again with this margin about the picture (of its longer "
        "side): finds faces that fill it. 0: do not.",
        at_least=0,
        at_most=4,
    )
    keypoint_threshold: float | None = option(
        None,
        "Keypoints scored below this are not visible; default 0.3; mediapipe 0.5, xpose 0.1.",
        at_least=0,
        at_most=1,
    )
    max_people: int = option(50, "Largest people kept in a picture; 0 keeps all.", at_least=0)
    replace: bool = option(
        False, "Estimate again what earlier runs estimated; annotations of the data always stay."
    )


@dataclass
class Work:
    """One sample: its picture and what is already known about its people."""

    image: Image
    people: records.People | None
    bodies: list[Box]  # boxes of people, each person once
    boxes: records.Boxes | None
    interactions: records.Interactions | None
    identity: numpy.ndarray | None
    entities: dict[int, records.Entity] | None = None  # by id


@dataclass
class Loaded:
    """One object per role in use (see `socialcli.backends.roles`)."""

    face: Any = None
    identity: Any = None
    pose: Any = None
    gaze: Any = None
    interaction: Any = None


def parts(config: Config) -> set[str]:
    """What ``--with`` asks for.

    Raises:
        UsageError: it names something else, or nothing.
    """
    asked = {part.strip() for part in config.with_.split(",") if part.strip()}
    unknown = sorted(asked - set(PARTS))
    if unknown or not asked:
        named = f"'{', '.join(unknown)}' is unknown" if unknown else "it is empty"
        raise UsageError(f"--with: {named}; there are {', '.join(PARTS)}, divided by commas")
    return asked


def _specs(config: Config) -> dict[str, ModelSpec]:
    """The model of each part in use, by part. Faces are found for everything but interactions."""
    asked = parts(config)

    def spec(role: str, backend: str, model: str, **options: Any) -> ModelSpec:
        return ModelSpec(role, backend, model, None, config.device, config.dtype, options)

    specs: dict[str, ModelSpec] = {}
    if asked & {"identity", "pose", "gaze"}:
        specs["face"] = spec(
            "face", config.face_backend, config.face_model, threshold=config.face_threshold
        )
    if "identity" in asked and (config.identity_backend or config.identity_model):
        backend = config.identity_backend or config.face_backend
        # Naming the face detector's own backend asks for the face detector's own model.
        if backend != config.face_backend or config.identity_model not in ("", config.face_model):
            specs["identity"] = spec("face", backend, config.identity_model)
    if "pose" in asked:
        pose = spec("pose", config.pose_backend, config.pose_model)
        if config.keypoint_threshold is not None:
            pose.options["threshold"] = config.keypoint_threshold
        specs["pose"] = replace(pose, revision=config.pose_revision)
    if "gaze" in asked:
        specs["gaze"] = spec("gaze", config.gaze_backend, config.gaze_model)
    if "interaction" in asked:
        specs["interaction"] = spec(
            "interaction", config.interaction_backend, config.interaction_model
        )
    return specs


class AnnotatePoseStage(Stage):
    """See `Stage`."""

    READS: tuple[
        str, ...
    ] = ()  # boxes.json, entities.json, people.json, interactions.json are used where they exist
    # boxes.json only where a pose backend gives animals and things keypoints
    WRITES = ("people.json", "identity.npy", "interactions.json", "boxes.json")
    VERSION = 3
    config_type = Config

    def models(self, config: Config) -> list[ModelSpec]:
        return list(_specs(config).values())

    def load(self, config: Config) -> Loaded:
        from socialcli import backends

        check_bounds(Config, vars(config))
        loaded = Loaded(**{part: backends.load(spec) for part, spec in _specs(config).items()})
        if loaded.face is not None and not hasattr(loaded.face, "detect"):
            raise UsageError(
                f"--face-backend {config.face_backend} finds no faces; it only embeds them"
            )
        asked = loaded.identity
        if asked is None and config.identity_backend and "identity" in parts(config):
            asked = loaded.face  # named twice: the one model for both
        if asked is not None and not _embeds(asked):
            name = config.identity_backend or config.face_backend
            raise UsageError(f"--identity-backend {name} has no identity embedding; use iresnet")
        if "identity" in parts(config) and loaded.identity is None and _embeds(loaded.face):
            loaded.identity = loaded.face
        return loaded

    def prepare(self, config: Config, sample: Sample) -> Work:
        boxes = sample.record(records.Boxes) if sample.has("boxes.json") else None
        kinds: dict[int, str] = {}
        entities = None
        if sample.has("entities.json"):
            entities = {e.id: e for e in sample.record(records.Entities).entities}
            kinds = {e.id: e.kind for e in entities.values()}
        crowd = crowds(sample.record(records.Meta) if sample.has("meta.json") else None)
        # What the caption calls a person is one; a box no entity names goes by its label.
        bodies = [
            b
            for b in (boxes.boxes if boxes else [])
            if (kinds.get(b.entity or 0) or kind_of(b.label)) == "person"
            and b.id not in crowd
            and geometry.area(geometry.clip(b.xyxy)) > 0
        ]
        people = sample.record(records.People) if sample.has("people.json") else None
        known = sample.record(records.Interactions) if sample.has("interactions.json") else None
        identity = None
        if sample.has(records.IDENTITY):
            identity = records.load_identity(sample.members[records.IDENTITY])
        image = images.decode_to_look(sample.picture())
        return Work(image, people, bodies, boxes, known, identity, entities)

    def process(
        self, config: Config, loaded: Loaded, items: list[Item]
    ) -> list[dict[str, bytes] | Exception]:
        """People of each picture: bodies and faces matched, then each part added where missing."""
        from socialcli.stages import _people, _things

        work: list[Work] = [item.work for item in items]
        asked = parts(config)
        scenes = _people.scenes(config, asked, loaded, work)
        if loaded.face is not None:
            _people.add_faces(config, loaded, scenes)
        if loaded.identity is not None:
            _people.add_identities(loaded, scenes)
        elif "identity" in asked:
            _people.say_no_identity(config.face_backend, scenes)
        if loaded.pose is not None:
            _people.add_keypoints(loaded, scenes)
            if hasattr(loaded.pose, "things"):
                _things.add_keypoints(config, loaded, scenes)
        if loaded.gaze is not None:
            _people.add_gaze(loaded, scenes)
        if loaded.interaction is not None:
            _people.add_interactions(loaded, scenes)
        return [_people.members(scene) for scene in scenes]


def _embeds(backend: Any) -> bool:
    return getattr(backend, "embeds", hasattr(backend, "embed"))

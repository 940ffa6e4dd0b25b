"""Faces of reference pictures, for adapters that draw a person from a face embedding."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli import backends
from socialcli.backends import ModelSpec, naming
from socialcli.config import option
from socialcli.errors import SampleFailed, UsageError
from socialcli.vision import close_ups
from socialcli.vision import faces as aligning

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

    from socialcli.records import Face

KEPT = 32  # pictures whose faces are kept: one person often stands in many prompts
CROP = 224  # pixels of a face that CLIP is shown, as FaceID's authors cut it
ROOM = 1.5  # sides of a square about a face, of the longer side of its box
UNIT = 1e-3  # how near to 1 the length of an embedding that somebody has normalised is


@dataclass
class FaceOptions:
    """Who finds faces in references, and says who they are."""

    face_backend: str = option(
        "insightface", "Which face detector and embedder; `socialcli models` lists them.",
        role="face", affects_result=False,
    )  # fmt: skip
    face_model: str = option(
        "", "Its model: an insightface pack's name or folder (default: the adapter's own).",
        affects_result=False,
    )  # fmt: skip


def spec(config: Any, pack: str) -> ModelSpec:
    """The model that reads faces; ``pack`` where none is named."""
    model = config.face_model or (pack if config.face_backend == "insightface" else "")
    return ModelSpec("face", config.face_backend, model, None, config.device, "float32")


def facts(config: Any, pack: str) -> list[Any]:
    """What pictures depend on of it, see `GenerateMethod.facts`."""
    return [config.face_backend, naming.content(spec(config, pack).model)]


@dataclass(frozen=True)
class Seen:
    """The largest face of a picture: where it is, and its (D,) embedding as the recogniser gives
    it."""

    face: Face
    embedding: numpy.ndarray


@dataclass
class Reader:
    """Finds the largest face of pictures, and keeps it for a while."""

    finder: Any
    kept: OrderedDict[str, Seen] = field(default_factory=OrderedDict)

    def see(self, image: Image, key: str) -> Seen:
        """The largest face.

        Raises:
            SampleFailed: there is none that can be aligned.
        """
        name = hashlib.sha256(image.tobytes() + repr(image.size).encode()).hexdigest()
        if name not in self.kept:
            detected = close_ups.detect(self.finder, [image])[0]
            detected = [face for face in detected if face.landmarks is not None][:1]
            if not detected:
                raise SampleFailed(f"no face is seen in the reference {key}")
            try:
                (rows,) = self.finder.embed([image], [detected])
            except ValueError as error:
                raise SampleFailed(f"the reference {key}: {error}") from None
            self.kept[name] = Seen(detected[0], rows[0])
            while len(self.kept) > KEPT:
                self.kept.popitem(last=False)
        return self.kept[name]


def load(config: Any, pack: str) -> Reader:
    """The face models.

    Raises:
        ModelMissing: they are not here. UsageError: they find no faces, or embed none.
    """
    finder = backends.load(spec(config, pack))
    if not hasattr(finder, "detect") or not getattr(finder, "embeds", False):
        raise UsageError(
            f"--face-backend {config.face_backend} must both find faces and embed them; take "
            "insightface"
        )
    return Reader(finder)


def embedding(seen: Seen, form: str, width: int, label: str, pack: str) -> numpy.ndarray:
    """(D,) of a face in the form that an adapter reads.

    Args:
        form: `adapter_files.UNIT` or `RAW`. width: D that it reads. label: what it is called.
        pack: of insightface, that it was trained with.

    Raises:
        UsageError: an embedding of another recogniser, or one that was normalised where a raw one
            is read; wrong ones draw somebody, but not this person.
    """
    import numpy

    row = seen.embedding
    if len(row) != width:
        raise UsageError(
            f"{label} reads face embeddings of {width} numbers, the face model gives {len(row)}: "
            f"name the one it was trained with, --face-model {pack}"
        )
    length = float(numpy.linalg.norm(row))
    if form == "raw" and abs(length - 1) < UNIT:
        raise UsageError(
            f"{label} reads raw face embeddings, the face model gives some of length 1: name the "
            f"one it was trained with, --face-backend insightface --face-model {pack}"
        )
    return row / length if form == "unit" else row


def aligned(image: Image, face: Face) -> Image:
    """The face upright in the middle of `CROP` x `CROP` pixels."""
    import numpy
    from PIL import Image as Images

    assert face.landmarks is not None
    crop = aligning.crop(numpy.asarray(image), numpy.asarray(face.landmarks), CROP)
    return Images.fromarray(crop.round().clip(0, 255).astype(numpy.uint8))


def about(image: Image, face: Face) -> Image:
    """A square about a face's box, with some room; black beyond the picture."""
    left, top, right, bottom = face.xyxy
    width, height = image.size
    x, y = (left + right) / 2 * width, (top + bottom) / 2 * height
    half = max((right - left) * width, (bottom - top) * height) * ROOM / 2
    box = tuple(round(value) for value in (x - half, y - half, x + half, y + half))
    return image.crop(box)  # type: ignore[arg-type]

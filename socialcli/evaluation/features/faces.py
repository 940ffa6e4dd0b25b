"""Faces of a picture and their embeddings.

``boxes`` (normalised xyxy), ``embeddings`` (K, D) of those that can be aligned, ``embedded``: which
of the boxes these are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.errors import SampleFailed, UsageError
from socialcli.evaluation.features import Feature, Look, Value, _vectors, model_spec

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec


@dataclass
class Options:
    face_backend: str = option("insightface", "Which face detector.", role="face")
    face_model: str = option("", "Its model: an insightface pack's name or folder.")
    face_threshold: float = option(
        0.5, "Faces scored below this are not faces (0 to 1).", at_least=0, at_most=1
    )
    identity_backend: str | None = option(
        None,
        "Which identity embedder; by default the face detector's own, if it has one.",
        role="face",
    )
    identity_model: str = option("", "Its model: a backbone.pth for iresnet, a pack otherwise.")


class Faces(Feature):
    """See `Feature`."""

    config_type = Options
    VERSION = 3  # says which faces are embedded

    def models(self, config: Any) -> tuple[ModelSpec, ...]:
        """A detector, and an embedder where the detector is not to embed too."""
        detector = (config.face_backend, config.face_model)
        backend = config.identity_backend or config.face_backend
        model = config.identity_model or (config.face_model if not config.identity_backend else "")
        specs = [model_spec(config, "face", *detector, threshold=config.face_threshold)]
        if (backend, model) != detector:
            specs.append(model_spec(config, "face", backend, model))
        return tuple(specs)

    def check_models(self, models: list[Any]) -> None:
        if not hasattr(models[0], "detect"):
            raise UsageError(
                "the face backend finds no faces, it only embeds them: see --face-backend"
            )
        if not getattr(models[-1], "embeds", hasattr(models[-1], "embed")):
            raise UsageError("the face backend has no identity embedding: give --identity-backend")

    def run(self, config: Any, models: list[Any], looks: list[Look]) -> list[Value | SampleFailed]:
        import numpy

        from socialcli.vision import close_ups, faces

        detector, embedder = models[0], models[-1]
        pictures = [look.image for look in looks]
        detected = close_ups.detect(detector, pictures)  # type: ignore[arg-type]
        usable = []
        for picture, detections in zip(pictures, detected, strict=True):
            assert picture is not None
            size = numpy.array(picture.size)
            usable.append(
                [
                    at
                    for at, face in enumerate(detections)
                    if face.landmarks and faces.alignable(numpy.asarray(face.landmarks) * size)
                ]
            )
        faces_of = [
            [detections[at] for at in some]
            for detections, some in zip(detected, usable, strict=True)
        ]
        rows = embedder.embed(pictures, faces_of)
        return [
            {
                "boxes": [list(map(float, face.xyxy)) for face in detections],
                "embeddings": _vectors.array(vectors),
                "embedded": some,
            }
            for detections, some, vectors in zip(detected, usable, rows, strict=True)
        ]

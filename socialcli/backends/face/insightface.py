"""Faces and ArcFace identities from an insightface pack: a folder of ONNX files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli.backends import BackendInfo, naming
from socialcli.errors import ModelMissing, UsageError
from socialcli.records import Face
from socialcli.vision import boxes, faces

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

    from socialcli.backends import ModelSpec

INFO = BackendInfo(
    summary="SCRFD face detector and ArcFace embedding, from an insightface ONNX pack.",
    licence="non-commercial research only (packs); MIT (code)",
    model="buffalo_l",
    get="insightface-cli model.download buffalo_l",
    size="326 MB",
    packages=("insightface", "onnxruntime"),
)
DETECTOR_SIZE = (640, 640)
PUBLISHED = ("antelopev2", "buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc")
EMBEDDING_BATCH = 64


def load(spec: ModelSpec) -> InsightFace:
    """Load the pack ``spec.model``: a folder, or a name below the insightface home.

    The home is ``$INSIGHTFACE_HOME``, else ``~/.insightface``; packs lie in its ``models``.
    Nothing is ever downloaded here.

    Raises:
        ModelMissing: no such pack. UsageError: the folder holds no face detector.
    """
    return InsightFace(spec, find_pack(spec.model or INFO.model))


def find_pack(model: str) -> Path:
    """The folder whose ``*.onnx`` files make up a pack.

    Raises:
        ModelMissing: there is none; the message has the command that fetches it.
    """
    home = Path(os.environ.get("INSIGHTFACE_HOME") or "~/.insightface").expanduser()
    places = [Path(model).expanduser(), home / "models" / model, home / model]
    for place in places:
        for folder in (place, place / place.name):  # antelopev2.zip holds a folder of its own name
            if folder.is_dir() and any(folder.glob("*.onnx")):
                return folder
    raise ModelMissing(f"no insightface pack '{model}'. Get it with: {_command(model, home)}")


def _command(model: str, home: Path) -> str:
    name = Path(model).name if Path(model).name in PUBLISHED else INFO.model
    if home == Path("~/.insightface").expanduser():
        return f"insightface-cli model.download {name}"
    return f"insightface-cli model.download {name} --root {home}"


class InsightFace:
    """A `FaceDetector` and, where the pack has a recogniser, a `FaceEmbedder`."""

    def __init__(self, spec: ModelSpec, pack: Path) -> None:
        from insightface.app import FaceAnalysis

        try:
            app = FaceAnalysis(
                name=str(pack),
                allowed_modules=["detection", "recognition"],
                providers=_providers(spec.device),
            )
        except AssertionError:
            raise UsageError(f"{pack} holds no face detector: not an insightface pack") from None
        self.threshold = float(spec.options.get("threshold", 0.5))
        app.prepare(0, det_thresh=self.threshold, det_size=DETECTOR_SIZE)
        self.detector = app.models["detection"]
        self.recogniser: Any = app.models.get("recognition")
        self.embeds = self.recogniser is not None
        self.model = naming.describe(
            spec,
            INFO.model,
            {
                "files": sorted(Path(m.model_file).name for m in app.models.values()),
                "detector_size": list(DETECTOR_SIZE),
                "threshold": self.threshold,
            },
        )

    def detect(self, images: list[Image]) -> list[list[Face]]:
        """Faces of each picture, largest first, each with its five landmarks."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> list[Face]:
        import numpy

        rgb = numpy.asarray(image)
        detections, landmarks = self.detector.detect(numpy.ascontiguousarray(rgb[:, :, ::-1]))
        size = numpy.array([image.width, image.height], dtype=numpy.float64)
        result = []
        for number, row in enumerate(detections):
            xyxy = boxes.clip(tuple(row[:4] / numpy.tile(size, 2)))  # type: ignore[arg-type]
            if boxes.area(xyxy) == 0:
                continue
            points = None
            if landmarks is not None:
                points = [(float(x), float(y)) for x, y in landmarks[number] / size]
            result.append(Face(xyxy, float(row[4]), points))
        return sorted(result, key=lambda face: -boxes.area(face.xyxy))

    def embed(self, images: list[Image], detected: list[list[Face]]) -> list[numpy.ndarray]:
        """(N, D) embeddings per picture, one for each of its faces; all must have landmarks."""
        import numpy

        side = self.recogniser.input_size[0]
        crops = faces.crop_all(images, detected, side)
        fixed = self.recogniser.input_shape[0]  # a batch of one is built into some packs
        step = fixed if isinstance(fixed, int) and fixed > 0 else EMBEDDING_BATCH
        parts = [
            self.recogniser.forward(crops[start : start + step].transpose(0, 3, 1, 2))
            for start in range(0, len(crops), step)
        ]
        width = int(self.recogniser.output_shape[-1]) if not parts else parts[0].shape[-1]
        rows = numpy.concatenate([p.reshape(-1, width) for p in parts] or [numpy.zeros((0, width))])
        return faces.deal_out(rows, detected)


def _providers(device: str) -> list[Any]:
    """ONNX Runtime's execution providers for a device; CUDA only where this build has it."""
    import onnxruntime

    if (
        device.startswith("cuda")
        and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    ):
        number = int(device.partition(":")[2] or 0)
        return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]

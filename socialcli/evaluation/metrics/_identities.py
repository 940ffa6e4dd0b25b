"""Faces of a generated picture against the people that it should show, one picture at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from socialcli.config import option
from socialcli.errors import UsageError
from socialcli.evaluation.cases import Case, Context, Picture
from socialcli.evaluation.metrics import Metric, Needs, _means

if TYPE_CHECKING:
    import numpy

    from socialcli.records import XYXY

SOURCE = "Identity Embedding (arXiv 2402.00631), section IV-A"


@dataclass
class Options:
    face_prompt: str = option(
        "a photo of the face of {}",
        "Which prompts ask for a face alone ({} is anything): id-f and detect-f are of these, "
        "prompt, id, detect and id-p of all others.",
    )


class PerPicture(Metric, base=True):
    """A metric whose columns are means over pictures: sums of one array over sums of another.

    Attributes:
        FACE_PHOTOS: whether it is of the prompts that `--face-prompt` fits (True), or of all others
            (False).
    """

    SOURCE = SOURCE
    OPTIONS: ClassVar[tuple[str, ...]] = ("face_prompt",)
    config_type: type = Options
    FACE_PHOTOS: ClassVar[bool] = False

    def needs(self, config: Any) -> Needs:
        return Needs(generated=("faces",), references=("faces",), paired=True)

    def check_options(self, config: Any) -> None:
        if "{}" not in config.face_prompt:
            raise UsageError(f"--face-prompt '{config.face_prompt}': write {{}} for the person")

    def wanted(self, case: Case, context: Context) -> bool:
        """Whether a picture's prompt is one of those that this metric is of."""
        return of_a_face(case.prompt, context.config.face_prompt) == self.FACE_PHOTOS

    def parts(
        self, rows: dict[str, numpy.ndarray]
    ) -> dict[str, tuple[numpy.ndarray, numpy.ndarray]]:
        """Column -> (N,) what is summed, and (N,) what it is divided by."""
        raise NotImplementedError

    def estimate(
        self, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
    ) -> dict[str, numpy.ndarray]:
        return {name: _means.ratio(*parts, counts) for name, parts in self.parts(rows).items()}

    def pictures(self, rows: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
        return {name: _means.each(*parts) for name, parts in self.parts(rows).items()}


def of_a_face(prompt: str, template: str) -> bool:
    """Whether a prompt is a template with something in place of its ``{}``."""
    parts = [re.escape(part.strip()) for part in template.split("{}")]
    pattern = r"\s*\S.*".join(parts) + r"\s*\.?"
    return re.fullmatch(pattern, prompt.strip(), re.IGNORECASE) is not None


def known(values: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Values, 0 where there is none, and whether there is one: what a mean is made of."""
    import numpy

    return numpy.nan_to_num(values), numpy.isfinite(values)


def similarities(case: Case) -> numpy.ndarray | None:
    """(people, faces) cosines of the people that a picture should show with the faces it has.

    The people are all faces of the source picture; where pictures of single subjects are the
    reference, one a subject: the mean of the unit embeddings of each picture's largest face.

    Returns:
        None where the picture could not be seen, or a person has no face to compare with. Without
        a face in the picture (people, 0).
    """
    import numpy

    embeddings = case.generated.get("faces", "embeddings")
    people = _people(case)
    if embeddings is None or people is None or not len(people):
        return None
    return _means.cosine(people, embeddings) if len(embeddings) else numpy.zeros((len(people), 0))


def _people(case: Case) -> numpy.ndarray | None:
    import numpy

    if case.source is not None:
        embeddings: numpy.ndarray | None = case.source.get("faces", "embeddings")
        return embeddings
    rows = []
    for pictures in case.subjects:
        faces = [face for face in map(main_face, pictures) if face is not None]
        if not faces:
            return None
        rows.append(numpy.mean(faces, axis=0))
    return numpy.stack(rows) if rows else None


def main_face(picture: Picture, place: XYXY | None = None) -> numpy.ndarray | None:
    """The unit embedding of a picture's largest face, (D,).

    Args:
        place: a normalised box, in which the middle of the face has to lie.
    """
    import numpy

    embeddings = picture.get("faces", "embeddings")
    if embeddings is None or not len(embeddings):
        return None
    boxes = boxes_of(picture)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    if place is not None:
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        there = ((middles >= place[:2]) & (middles <= place[2:])).all(1)
        if not there.any():
            return None
        areas = numpy.where(there, areas, -1)
    face = numpy.asarray(embeddings[int(numpy.argmax(areas))], numpy.float64)
    unit: numpy.ndarray = face / max(float(numpy.linalg.norm(face)), 1e-12)
    return unit


def boxes_of(picture: Picture) -> numpy.ndarray:
    """(K, 4) xyxy of the K faces that have an embedding, normalised."""
    import numpy

    boxes = numpy.asarray(picture.get("faces", "boxes"), numpy.float64).reshape(-1, 4)
    return boxes[picture.get("faces", "embedded")]


def assign(similarity: numpy.ndarray) -> list[tuple[int, int]]:
    """The pairs (person, face) whose cosines have the largest sum, each used once.

    Args:
        similarity: (N, M).

    Returns:
        min(N, M) pairs, by person.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(similarity, maximize=True)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))

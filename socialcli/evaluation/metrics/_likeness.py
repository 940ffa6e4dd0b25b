"""Likeness: mean cosine of a generated picture with its reference pictures, in any feature, or
with the pictures that its method was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.evaluation.cases import Case, Context, Picture
from socialcli.evaluation.metrics import Metric, Needs, _means

if TYPE_CHECKING:
    import numpy

CROPS = ("none", "references", "both")


@dataclass
class Options:
    crops: str = option(
        "none",
        "Compare subjects instead of whole pictures in clip-i and dino: none, references "
        "(crop those), both (find the subjects in the generated picture too).",
        choices=CROPS,
    )


class Likeness(Metric, base=True):
    """The mean over a picture's subjects of the mean over a subject's reference pictures.

    Attributes:
        FEATURE: of whole pictures; ``FEATURE-subjects`` and ``FEATURE-found`` are of crops.
    """

    FEATURE: str
    OPTIONS = ("against", "crops")
    config_type = Options

    def _features(self, config: Any) -> tuple[str, str]:
        """Which feature of the generated and of the reference pictures `--crops` asks for."""
        generated = f"{self.FEATURE}-found" if config.crops == "both" else self.FEATURE
        return generated, self.FEATURE if config.crops == "none" else f"{self.FEATURE}-subjects"

    def needs(self, config: Any) -> Needs:
        generated, reference = self._features(config)
        return Needs(generated=(generated,), references=(reference,), paired=True)

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """``cosine`` (N,): of each picture with its references."""
        return {"cosine": cosines(cases, *self._features(context.config))}

    def estimate(
        self, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
    ) -> dict[str, numpy.ndarray]:
        return {self.COLUMNS[0].name: _means.mean(rows["cosine"], counts)}

    def pictures(self, rows: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
        return {self.COLUMNS[0].name: rows["cosine"]}


class TrainingLikeness(Likeness, base=True):
    """The same, of the training pictures of its subject, and how far it exceeds the other.

    ``COLUMNS`` are likeness to the training pictures, and that less `Likeness`.
    """

    def needs(self, config: Any) -> Needs:
        generated, reference = self._features(config)
        return Needs(generated=(generated,), references=(reference,), training=(reference,))

    def rows(self, cases: list[Case], context: Context) -> dict[str, numpy.ndarray]:
        """``cosine`` (N,): of each picture with the training pictures; ``gap`` (N,)."""
        features = self._features(context.config)
        training = cosines(cases, *features, lambda case: [case.training])
        return {"cosine": training, "gap": training - cosines(cases, *features)}

    def estimate(
        self, rows: dict[str, numpy.ndarray], counts: numpy.ndarray
    ) -> dict[str, numpy.ndarray]:
        columns = zip(self.COLUMNS, ("cosine", "gap"), strict=True)
        return {column.name: _means.mean(rows[name], counts) for column, name in columns}

    def pictures(self, rows: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
        columns = zip(self.COLUMNS, ("cosine", "gap"), strict=True)
        return {column.name: rows[name] for column, name in columns}


def cosines(
    cases: list[Case],
    generated: str,
    reference: str,
    of: Callable[[Case], list[list[Picture]]] = lambda case: case.subjects,
) -> numpy.ndarray:
    """(N,): for each case the mean over its subjects of the mean over a subject's pictures.

    A subject's feature may be a vector (the whole picture) or one vector for each of its boxes in
    the picture; several give several pairs. NaN where nothing can be compared.

    Args:
        of: a case's pictures to compare with, subject by subject.
    """
    import numpy

    result = numpy.full(len(cases), numpy.nan)
    for number, case in enumerate(cases):
        picture = case.generated.get(generated)
        if picture is None:
            continue
        subjects = []
        for pictures in of(case):
            seen = [p.get(reference) for p in pictures if p.get(reference) is not None]
            if seen:
                rows = numpy.concatenate([numpy.atleast_2d(vector) for vector in seen])
                pairs = _means.cosine(picture, rows)
                # Of several crops of the generated picture, the one that is this subject.
                subjects.append(pairs.max(axis=0).mean())
        if subjects:
            result[number] = numpy.mean(subjects)
    return result

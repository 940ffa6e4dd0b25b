"""Mean cosine of a generated picture with its reference pictures, in any feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialcli.evaluation.metrics import Case, _means

if TYPE_CHECKING:
    import numpy


def names(feature: str, config: Any) -> tuple[str, str]:
    """Which feature of the generated and of the reference pictures `--crops` asks for."""
    crops = getattr(config, "crops", "none")
    generated = f"{feature}-found" if crops == "both" else feature
    return generated, feature if crops == "none" else f"{feature}-subjects"


def cosines(cases: list[Case], feature: str, config: Any) -> numpy.ndarray:
    """(N,): for each case the mean over its subjects of the mean over a subject's pictures.

    A subject's feature may be a vector (the whole picture) or one vector for each of its boxes in
    the picture; several give several pairs. NaN where nothing can be compared.
    """
    import numpy

    mine, theirs = names(feature, config)
    found = numpy.full(len(cases), numpy.nan)
    for number, case in enumerate(cases):
        picture = case.generated.get(mine)
        if picture is None:
            continue
        subjects = []
        for pictures in case.subjects:
            seen = [p.get(theirs) for p in pictures if p.get(theirs) is not None]
            if seen:
                rows = numpy.concatenate([numpy.atleast_2d(vector) for vector in seen])
                pairs = _means.cosine(picture, rows)
                # Of several crops of the generated picture, the one that is this subject.
                subjects.append(pairs.max(axis=0).mean())
        if subjects:
            found[number] = numpy.mean(subjects)
    return found

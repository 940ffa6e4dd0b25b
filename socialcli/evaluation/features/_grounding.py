"""Things looked for by their name, which several features do with other names and thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.errors import SampleFailed
from socialcli.evaluation.features import Look, Value, model_spec
from socialcli.vision import boxes as geometry
from socialcli.vision.people import kind_of

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec

SAME_OBJECT = 0.7  # IoU from which two boxes of one label are one thing


@dataclass
class Options:
    ground_backend: str = option(
        "grounding-dino", "Which detector finds objects by their name.", role="ground"
    )
    ground_model: str = option("", "Its model: hub id or folder.")
    box_threshold: float = option(
        0.35, "An object's box scores at least this (0 to 1).", at_least=0, at_most=1
    )
    text_threshold: float = option(
        0.25, "It belongs to the labels that score above this.", at_least=0, at_most=1
    )


def models(config: Any) -> tuple[ModelSpec, ...]:
    return (model_spec(config, "ground", config.ground_backend, config.ground_model),)


def limits(config: Any, least: float) -> dict[str, float]:
    """Thresholds of a search in which a box scores at least ``least``."""
    return {"box_threshold": least, "text_threshold": min(least, config.text_threshold)}


def objects(
    grounder: Any, looks: list[Look], box_threshold: float, text_threshold: float
) -> list[Value | SampleFailed]:
    """``boxes``, (label, normalised xyxy) of each look's labels, and their ``scores``. A grounder
    that knows only kinds is asked for the kind."""
    kinds = getattr(grounder, "kinds", None)
    queries = []
    for look in looks:
        wanted = list(look.extra)
        if kinds is not None:
            wanted = sorted({kind_of(label) for label in wanted} & set(kinds))
        queries.append(wanted)
    busy = [i for i, wanted in enumerate(queries) if wanted]
    answers = {}
    if busy:
        if hasattr(grounder, "remember"):  # another feature looks at the same pictures
            grounder.remember()
        detections = grounder.ground(
            [looks[i].image for i in busy], [queries[i] for i in busy], box_threshold,
            text_threshold,
        )  # fmt: skip
        answers = dict(zip(busy, detections, strict=True))
    results: list[Value | SampleFailed] = []
    for i, look in enumerate(looks):
        boxes, scores = [], []
        for number, query in enumerate(queries[i]):
            of_phrase = [d for d in answers.get(i, []) if d.phrase == number]
            xyxys, sure = [d.xyxy for d in of_phrase], [d.score for d in of_phrase]
            for kept in geometry.nms(xyxys, sure, SAME_OBJECT):  # type: ignore[arg-type]
                same = [label for label in look.extra if kind_of(label) == query]
                for label in same if kinds is not None else [query]:
                    boxes.append([label, [float(v) for v in of_phrase[kept].xyxy]])
                    scores.append(float(of_phrase[kept].score))
        results.append({"boxes": boxes, "scores": scores})
    return results

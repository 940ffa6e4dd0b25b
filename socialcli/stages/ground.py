"""Find a box for every entity (GroundingDINO)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.backends import ModelSpec
from socialcli.config import ModelOptions, check_bounds, option
from socialcli.errors import SampleFailed, SampleFiltered, UsageError
from socialcli.pipeline.stage import Item, Stage
from socialcli.vision import boxes, images
from socialcli.vision.people import kind_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.backends.roles import Detection, Grounder
    from socialcli.shards import Sample


@dataclass
class Config(ModelOptions):
    backend: str = option(
        "grounding-dino", "Which grounder; `socialcli models` lists them.", role="ground"
    )
    model: str | None = option(
        None, "Checkpoint: hub id, folder or file (default: the backend's own)."
    )
    revision: str | None = option(None, "Branch, tag or commit of a hub checkpoint.")
    box_threshold: float = option(
        0.35, "A box stays if some phrase scores above this (0 to 1).", at_least=0, at_most=1
    )
    text_threshold: float = option(
        0.25, "It belongs to the phrases that score above this.", at_least=0, at_most=1
    )
    phrase_score: str = option("max", "Score of a phrase from those of its tokens: max or mean.")
    nms: float = option(
        0.7,
        "Drop boxes of one entity that overlap a better one by this IoU.",
        at_least=0,
        at_most=1,
    )
    boxes_per_entity: str = option(
        "count", "Boxes of an entity at most: a number, all, or count (what its phrase says)."
    )
    query: str = option("phrase", "What is looked for: the whole phrase, or its head noun (head).")
    classes: str | None = option(
        None, "Ground these phrases, divided by commas, instead of the caption's entities."
    )
    keep_existing: bool = option(False, "Leave samples that have boxes.json as they are.")
    drop_empty: bool = option(False, "Filter out samples in which nothing was found.")
    model_config: str | None = option(
        None, "Configuration of an original checkpoint (default: the package's own)."
    )
    text_encoder: str | None = option(
        None, "BERT tokenizer of an original checkpoint (default: bert-base-uncased)."
    )


@dataclass
class Target:
    """One thing to look for: an entity, or a class of ``--classes`` (then without an id)."""

    query: str
    label: str
    entity: int | None
    kind: str
    count: int  # 0 = several


@dataclass
class Work:
    """One sample to ground, or one that keeps the boxes it has: then without ``image``."""

    image: Image | None
    targets: list[Target]
    kept: bytes = b""
    annotated: list[records.Box] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)  # ids that boxes have or had
    kinds: dict[int, str] = field(default_factory=dict)  # entity -> person, animal or object


class GroundStage(Stage):
    """See `Stage`."""

    READS = ("entities.json",)
    WRITES = ("boxes.json",)
    VERSION = 2
    config_type = Config

    def models(self, config: Config) -> list[ModelSpec]:
        options: dict[str, Any] = {"phrase_score": config.phrase_score}
        for name in ("model_config", "text_encoder"):
            if getattr(config, name):
                options[name] = getattr(config, name)
        return [
            ModelSpec(
                "ground",
                config.backend,
                config.model or "",
                config.revision,
                config.device,
                config.dtype,
                options,
            )
        ]

    def load(self, config: Config) -> Grounder:
        from socialcli import backends

        _check(config)
        return backends.load(self.models(config)[0])

    def prepare(self, config: Config, sample: Sample) -> Work:
        if config.keep_existing and sample.has("boxes.json"):
            return Work(None, [], sample.members["boxes.json"])
        entities = records.Entities()
        if config.classes is not None:
            targets = [Target(c, c, None, kind_of(c), 0) for c in _classes(config)]
        else:
            entities = sample.record(records.Entities)
            targets = [
                Target(
                    e.text if config.query == "phrase" else e.head, e.head, e.id, e.kind, e.count
                )
                for e in entities.entities
            ]
        image = images.decode_to_look(sample.picture())
        known = sample.record(records.Boxes).boxes if sample.has("boxes.json") else []
        return Work(
            image,
            targets,
            annotated=_annotated(config, known, entities),
            taken=[box.id for box in known],
            kinds={e.id: e.kind for e in entities.entities},
        )

    def process(
        self, config: Config, loaded: Grounder, items: list[Item]
    ) -> list[dict[str, bytes] | Exception]:
        """Boxes of each sample; those without anything to look for skip the model."""
        kinds = getattr(loaded, "kinds", None)
        asked = []
        for item in items:
            targets = [t for t in item.work.targets if kinds is None or t.kind in kinds]
            queries = sorted({t.kind for t in targets}) if kinds else [t.query for t in targets]
            asked.append((targets, queries))
        busy = [i for i, (_, queries) in enumerate(asked) if queries]
        answers: dict[int, list[Detection]] = {}
        if busy:
            detections = loaded.ground(
                [items[i].work.image for i in busy],
                [asked[i][1] for i in busy],
                config.box_threshold,
                config.text_threshold,
            )
            answers = dict(zip(busy, detections, strict=True))
        results: list[dict[str, bytes] | Exception] = []
        for i, item in enumerate(items):
            if item.work.image is None:
                results.append({"boxes.json": item.work.kept})
                continue
            targets, queries = asked[i]
            link = _by_kind if kinds else _by_phrase
            try:
                chosen = link(config, targets, queries, answers.get(i, []))
                results.append(_member(config, loaded, item.work, chosen))
            except (SampleFailed, SampleFiltered) as error:
                results.append(error)
        return results


def _check(config: Config) -> None:
    check_bounds(Config, vars(config))
    if config.query not in ("phrase", "head"):
        raise UsageError(f"--query {config.query}: expected phrase or head")
    if config.phrase_score not in ("max", "mean"):
        raise UsageError(f"--phrase-score {config.phrase_score}: expected max or mean")
    if config.classes is not None and not _classes(config):
        raise UsageError("--classes is empty: expected phrases divided by commas")
    _limit(config, 1)


def _limit(config: Config, count: int) -> int | None:
    """How many boxes an entity that counts ``count`` may have; None = as many as there are."""
    wanted = config.boxes_per_entity
    if wanted == "all":
        return None
    if wanted == "count":
        return count or None
    if not wanted.isdecimal() or int(wanted) < 1:
        raise UsageError(f"--boxes-per-entity {wanted}: expected count, all, or a number from 1 on")
    return int(wanted)


def _classes(config: Config) -> list[str]:
    return [name.strip() for name in (config.classes or "").split(",") if name.strip()]


def _annotated(
    config: Config, known: list[records.Box], entities: records.Entities
) -> list[records.Box]:
    """The annotated boxes. What names them is believed where that entity is an annotation too;
    ids of entities that a parser has found since mean something else."""
    annotated = [box for box in known if records.sources.is_annotation(box)]
    if config.classes is not None:
        return annotated
    ids = {e.id for e in entities.entities if records.sources.is_annotation(e)}
    return [box if box.entity in ids else replace(box, entity=None) for box in annotated]


def _member(
    config: Config, loaded: Grounder, work: Work, detected: list[records.Box]
) -> dict[str, bytes]:
    """Annotated boxes and what was detected besides (`socialcli.stages._annotated`)."""
    from socialcli.stages import _annotated

    assert work.image is not None
    source = records.sources.of(loaded.model)
    counts = {t.entity: t.count for t in work.targets if t.entity is not None}
    chosen = _annotated.joined(
        work.annotated,
        [replace(box, source=source) for box in detected],
        work.taken,
        work.kinds,
        lambda entity: _limit(config, counts.get(entity, 0)),
    )
    if not chosen and config.drop_empty:
        raise SampleFiltered("no boxes found")
    model = replace(
        loaded.model,
        options={
            **loaded.model.options,
            "box_threshold": config.box_threshold,
            "text_threshold": config.text_threshold,
            "nms": config.nms,
            "boxes_per_entity": config.boxes_per_entity,
            "query": config.query if config.classes is None else "classes",
        },
    )
    record = records.Boxes(work.image.width, work.image.height, chosen, model)
    return {"boxes.json": records.dump(record)}


def _suppressed(config: Config, detections: list[Detection]) -> list[Detection]:
    """Detections of one phrase after suppression, best first."""
    if not all(math.isfinite(d.score) for d in detections):
        raise SampleFailed("the grounder's output is not a number; try --dtype float32")
    placed = [(boxes.in_picture(d.xyxy), d) for d in detections]
    detections = [replace(d, xyxy=xyxy) for xyxy, d in placed if xyxy is not None]
    kept = boxes.nms([d.xyxy for d in detections], [d.score for d in detections], config.nms)  # type: ignore[arg-type]
    return [detections[k] for k in kept]


def _by_phrase(
    config: Config, targets: list[Target], queries: list[str], detections: list[Detection]
) -> list[records.Box]:
    """Boxes of targets that were asked for one by one, in their order, best first.

    Targets with the same words ("a man ... a man") have the same candidates, so these are dealt:
    the first target takes its best, the next the best that are left. When none are left the next
    target shares the best, for two mentions of one visible thing are most often the same thing.
    """
    pools: dict[str, list[Detection]] = {}
    dealt: dict[str, int] = {}
    chosen: list[records.Box] = []
    for number, target in enumerate(targets):
        words = " ".join(target.query.lower().split())
        if words not in pools:
            pools[words] = _suppressed(config, [d for d in detections if d.phrase == number])
        pool, limit = pools[words], _limit(config, target.count)
        start = dealt.get(words, 0) if limit is not None else 0
        share = pool[start:] or pool
        share = share if limit is None else share[:limit]
        dealt[words] = start + len(share)
        chosen += [
            records.Box(len(chosen) + n, d.xyxy, target.label, target.entity, d.score)
            for n, d in enumerate(share, 1)
        ]
    return chosen


def _by_kind(
    config: Config, targets: list[Target], queries: list[str], detections: list[Detection]
) -> list[records.Box]:
    """Boxes from a grounder that sees a kind ("person") and cannot read phrases.

    Where one target alone is of that kind, the boxes are its; where several are ("a man and a
    woman"), nobody knows which is whose, and the boxes name the kind and link to none.
    """
    chosen: list[records.Box] = []
    for number, kind in enumerate(queries):
        of_kind = _suppressed(config, [d for d in detections if d.phrase == number])
        same = [t for t in targets if t.kind == kind]
        label, entity = kind, None
        if len(same) == 1:
            label, entity = same[0].label, same[0].entity
            of_kind = of_kind[: _limit(config, same[0].count)]
        chosen += [
            records.Box(len(chosen) + n, d.xyxy, label, entity, d.score)
            for n, d in enumerate(of_kind, 1)
        ]
    return chosen

"""Draw a mask in every box (SAM)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from socialcli import records
from socialcli.backends import ModelSpec
from socialcli.config import ModelOptions, check_bounds, option
from socialcli.errors import SampleFailed, SampleFiltered
from socialcli.pipeline.stage import Item, Stage
from socialcli.records.consistency import free_ids
from socialcli.vision import boxes, images
from socialcli.vision.people import kind_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from socialcli.backends.roles import Segment, Segmenter
    from socialcli.shards import Sample


@dataclass
class Config(ModelOptions):
    batch_size: int = option(4, "Pictures per model call.", affects_result=False, at_least=1)
    backend: str = option("sam", "Which segmenter; `socialcli models` lists them.", role="segment")
    model: str | None = option(
        None, "Checkpoint: hub id, folder or .pth file (default: the backend's own)."
    )
    revision: str | None = option(None, "Branch, tag or commit of a hub checkpoint.")
    min_iou: float = option(
        0.0, "Drop masks whose predicted IoU is below this (0 to 1).", at_least=0, at_most=1
    )
    min_stability: float = option(
        0.0, "Drop masks whose stability score is below this (0 to 1).", at_least=0, at_most=1
    )
    min_area: float = option(
        0.0, "Drop masks that cover less of the picture than this (0 to 1).", at_least=0, at_most=1
    )
    mask_threshold: float = option(0.0, "A pixel is in the mask where its logit is above this.")
    prompts: int = option(
        32, "Boxes per pass of the mask decoder.", affects_result=False, at_least=1
    )
    keep_existing: bool = option(False, "Leave samples that have masks.json as they are.")
    drop_empty: bool = option(False, "Filter out samples that end without a mask.")


@dataclass
class Work:
    """One sample to segment, or one that keeps the masks it has: then without ``image``.

    ``kinds`` names what each box holds (person, animal, object), for segmenters of one kind.
    """

    image: Image | None
    boxes: list[records.Box]
    kinds: list[str]
    kept: bytes = b""
    annotated: list[records.Mask] = field(default_factory=list)  # of which none is made again


class SegmentStage(Stage):
    """See `Stage`."""

    READS = ("boxes.json",)
    WRITES = ("masks.json",)
    VERSION = 2
    config_type = Config

    def models(self, config: Config) -> list[ModelSpec]:
        options = {"mask_threshold": config.mask_threshold, "prompts": config.prompts}
        return [
            ModelSpec(
                "segment",
                config.backend,
                config.model or "",
                config.revision,
                config.device,
                config.dtype,
                options,
            )
        ]

    def load(self, config: Config) -> Segmenter:
        from socialcli import backends

        check_bounds(Config, vars(config))
        return backends.load(self.models(config)[0])

    def prepare(self, config: Config, sample: Sample) -> Work:
        if config.keep_existing and sample.has("masks.json"):
            return Work(None, [], [], sample.members["masks.json"])
        wanted = sample.record(records.Boxes).boxes
        kinds: dict[int, str] = {}
        if sample.has("entities.json"):
            kinds = {e.id: e.kind for e in sample.record(records.Entities).entities}
        image = images.decode_to_look(sample.picture())
        annotated = _annotated(sample, wanted)
        done = {mask.box for mask in annotated}
        wanted = [box for box in wanted if box.id not in done]
        # A box outside the picture, or without area, holds nothing to segment.
        inside = [replace(b, xyxy=boxes.clip(b.xyxy)) for b in wanted]
        inside = [b for b in inside if boxes.area(b.xyxy) > 0]
        shown = [kinds.get(b.entity or 0) or kind_of(b.label) for b in inside]
        return Work(image, inside, shown, annotated=annotated)

    def process(
        self, config: Config, loaded: Segmenter, items: list[Item]
    ) -> list[dict[str, bytes] | Exception]:
        """Masks of each sample; those without boxes skip the model."""
        kinds = getattr(loaded, "kinds", None)
        asked = [
            [
                b
                for b, kind in zip(item.work.boxes, item.work.kinds, strict=True)
                if kinds is None or kind in kinds
            ]
            for item in items
        ]
        busy = [i for i, prompts in enumerate(asked) if prompts]
        answers: dict[int, list[Segment]] = {}
        if busy:
            segments = loaded.segment(
                [items[i].work.image for i in busy], [[b.xyxy for b in asked[i]] for i in busy]
            )
            answers = dict(zip(busy, segments, strict=True))
        results: list[dict[str, bytes] | Exception] = []
        for i, item in enumerate(items):
            if item.work.image is None:
                results.append({"masks.json": item.work.kept})
                continue
            try:
                results.append(_member(config, loaded, item.work, asked[i], answers.get(i, [])))
            except (SampleFailed, SampleFiltered) as error:
                results.append(error)
        return results


def _annotated(sample: Sample, boxes: list[records.Box]) -> list[records.Mask]:
    """The annotated masks of a sample, each with the entity that its box has now."""
    if not sample.has("masks.json"):
        return []
    known = sample.record(records.Masks).masks
    entities = {box.id: box.entity for box in boxes}
    return [
        replace(mask, entity=entities[mask.box]) if mask.box in entities else mask
        for mask in known
        if records.sources.is_annotation(mask)
    ]


def _member(
    config: Config,
    loaded: Segmenter,
    work: Work,
    prompts: list[records.Box],
    segments: list[Segment],
) -> dict[str, bytes]:
    """Annotated masks, and after them one of every other box."""
    from socialcli.vision import masks

    assert work.image is not None
    kept = list(work.annotated)
    taken = {mask.id for mask in kept}
    free = free_ids([*taken, *(box.id for box in work.boxes)])
    source = records.sources.of(loaded.model)
    for box, segment in zip(prompts, segments, strict=True):
        if segment.iou is not None and not math.isfinite(segment.iou):
            raise SampleFailed("the segmenter's output is not a number; try --dtype float32")
        if _wanted(config, segment):
            # A mask has its box's id, the same number whatever else is dropped, unless an annotated
            # mask of another box has it.
            number = box.id if box.id not in taken else next(free)
            kept.append(
                records.Mask(
                    id=number,
                    rle=masks.encode(segment.mask),
                    box=box.id,
                    entity=box.entity,
                    iou=segment.iou,
                    stability=segment.stability,
                    source=source,
                )
            )
    if not kept and config.drop_empty:
        raise SampleFiltered("no masks left")
    filters = {n: getattr(config, n) for n in ("min_iou", "min_stability", "min_area")}
    model = replace(loaded.model, options={**loaded.model.options, **filters})
    record = records.Masks(work.image.width, work.image.height, kept, model)
    return {"masks.json": records.dump(record)}


def _wanted(config: Config, segment: Segment) -> bool:
    share = float(segment.mask.mean())
    return (
        share > 0  # a mask without a pixel is no mask
        and share >= config.min_area
        and (segment.iou is None or segment.iou >= config.min_iou)
        and (segment.stability is None or segment.stability >= config.min_stability)
    )

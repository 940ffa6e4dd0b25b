"""Find who and what a caption names, and who does what to whom (spaCy)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli import backends, records
from socialcli.config import ModelOptions, check_bounds, option
from socialcli.errors import SampleFailed, SampleFiltered, UsageError
from socialcli.pipeline.stage import Item, Stage
from socialcli.stages import _annotated

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.shards import Sample


KINDS = ("person", "animal", "object")
MAX_CHARACTERS = 10_000  # the parser's memory grows with the text; captions have a few hundred


@dataclass
class Config(ModelOptions):
    """Options of `socialcli extract-entities`."""

    backend: str = option("spacy", "Entity extractor.", role="entities")
    spacy_model: str | None = option(
        None, "spaCy model: name or folder (default: the English one that is installed)."
    )
    keep_kinds: str = option("person,animal,object", "Kinds of entities kept, comma-separated.")
    max_entities: int | None = option(
        None, "Keep only the first N entities of a caption.", at_least=1
    )
    replace_annotations: bool = option(
        False, "Write over entities that came with the data, which otherwise stay."
    )
    drop_empty: bool = option(False, "Leave out samples whose caption names nothing kept.")
    batch_size: int = option(256, "Captions per call.", affects_result=False, at_least=1)


@dataclass
class Work:
    """One caption to parse."""

    text: str
    annotated: records.Entities | None = None  # the annotated part of what is there


class ExtractEntitiesStage(Stage):
    """See `Stage`."""

    READS = ("caption.json",)
    WRITES = ("entities.json",)
    VERSION = 1
    config_type = Config

    def models(self, config: Config) -> list[ModelSpec]:
        return [
            backends.ModelSpec(
                "entities", config.backend, model=config.spacy_model or "", device=config.device
            )
        ]

    def load(self, config: Config) -> Any:
        """The extractor.

        Raises:
            UsageError: an option that cannot be used. ModelMissing: no spaCy model.
        """
        check_bounds(Config, vars(config))
        _kinds(config)
        return backends.load(self.models(config)[0])

    def prepare(self, config: Config, sample: Sample) -> Work:
        """The caption's text, and the entities that came with it.

        Raises:
            SampleFailed: there is no caption, one far longer than any caption, or another one than
                that of the annotated entities.
        """
        text = sample.record(records.Caption).text
        if len(text) > MAX_CHARACTERS:
            raise SampleFailed(
                f"the caption has {len(text)} characters; the limit is {MAX_CHARACTERS}"
            )
        if config.replace_annotations or not sample.has("entities.json"):
            return Work(text)
        return Work(text, _annotated.entities(sample.record(records.Entities), text))

    def process(
        self, config: Config, loaded: Any, items: list[Item]
    ) -> list[dict[str, bytes] | Exception]:
        """One entities.json a sample; SampleFiltered where nothing is kept (--drop-empty)."""
        kinds = _kinds(config)
        extracted = loaded.extract([item.work.text for item in items])
        results: list[dict[str, bytes] | Exception] = []
        for item, entities in zip(items, extracted, strict=True):
            kept = keep(entities, kinds, config.max_entities)
            if item.work.annotated is not None:
                kept = _annotated.with_entities(item.work.annotated, kept)
            if config.drop_empty and not kept.entities:
                results.append(SampleFiltered("the caption names no entity that is kept"))
            else:
                results.append({self.WRITES[0]: records.dump(kept)})
        return results


def _kinds(config: Config) -> set[str]:
    kinds = {kind.strip() for kind in config.keep_kinds.split(",") if kind.strip()}
    if not kinds or kinds - set(KINDS):
        raise UsageError(f"--keep-kinds '{config.keep_kinds}': some of {', '.join(KINDS)}")
    return kinds


def keep(extracted: records.Entities, kinds: set[str], most: int | None) -> records.Entities:
    """The entities of some kinds, the first ``most`` of them, and the triples among those.

    Ids do not change. A triple goes when its subject or its object goes.
    """
    entities = [entity for entity in extracted.entities if entity.kind in kinds][:most]
    ids = {entity.id for entity in entities}
    triples = [
        triple
        for triple in extracted.triples
        if triple.subject in ids and (triple.object is None or triple.object in ids)
    ]
    return records.Entities(entities, triples, extracted.model)

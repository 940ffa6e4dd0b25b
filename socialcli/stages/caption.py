"""Write a caption for each picture (BLIP-2, BLIP, Florence-2, Qwen2-VL), or take given ones."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from socialcli import backends, records
from socialcli.backends.roles import Generation
from socialcli.config import ModelOptions, check_bounds, option
from socialcli.errors import SampleFailed
from socialcli.pipeline.stage import Item, Noted, Stage

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.shards import Sample


DEFAULT_MAX_TOKENS = 30  # for a backend from outside that does not name its own


@dataclass
class Config(ModelOptions):
    """Options of `socialcli caption`."""

    backend: str = option(
        "blip2", "Captioner: blip2, blip, florence2, qwen2-vl or given.", role="caption"
    )
    model: str | None = option(None, "Checkpoint: hub id or folder (default: the backend's own).")
    revision: str | None = option(None, "Branch, tag or commit of a hub checkpoint.")
    captions: str | None = option(
        None,
        "Take captions from this .csv, .tsv or .jsonl file; implies --backend given.",
        file=True,
        mends=True,
    )
    keep_existing: bool = option(False, "Leave samples that have a caption.json as they are.")
    replace_annotations: bool = option(
        False, "Write over captions that came with the data, which otherwise stay."
    )
    prompt: str = option("", "Text to continue (blip2, blip), task (florence2) or instruction.")
    beams: int = option(5, "Beam search width; 1 = greedy.", at_least=1)
    nucleus: float = option(
        0.0, "Sample from the nucleus of this probability; 0 = beam search.", at_least=0, at_most=1
    )
    temperature: float = option(1.0, "Temperature of nucleus sampling.", above=0)
    max_tokens: int | None = option(
        None,
        "New tokens at most (default: 30 for blip and blip2, 256 florence2, 128 qwen2-vl).",
        at_least=1,
    )
    repetition_penalty: float = option(1.0, "Above 1 discourages words already written.", above=0)


def _spec(config: Config) -> ModelSpec:
    if config.captions:
        return backends.ModelSpec("caption", "given", model=config.captions)
    if config.backend == "given":
        return backends.ModelSpec("caption", "given")
    return backends.ModelSpec(
        "caption",
        config.backend,
        model=config.model or "",
        revision=config.revision,
        device=config.device,
        dtype=config.dtype,
    )


class CaptionStage(Stage):
    """See `Stage`."""

    READS = ()
    WRITES = ("caption.json",)
    VERSION = 1
    config_type = Config

    def models(self, config: Config) -> list[ModelSpec]:
        return [_spec(config)]

    def load(self, config: Config) -> Any:
        """The captioner.

        Raises:
            UsageError: an option outside its range, or a captions file that cannot be read.
            ModelMissing: the checkpoint is not here and could not be fetched.
        """
        check_bounds(Config, vars(config))
        return backends.load(_spec(config))

    def prepare(self, config: Config, sample: Sample) -> Work:
        """The decoded picture, or the given caption's bytes (no picture is needed then).

        Raises:
            SampleFailed: the picture cannot be decoded, or nobody can tell whether the caption.json
                that is there is an annotation.
        """
        from socialcli.vision import images

        existing = sample.members.get("caption.json")
        given = _spec(config).backend == "given"
        if existing is not None and not (
            config.keep_existing or config.replace_annotations or (given and not config.captions)
        ):  # KEY.txt came with the data as well
            known = sample.record(records.Caption)
            if records.sources.is_annotation(known):
                return Work(existing=existing, annotated=True)
        if given:
            source = sample.record(records.Meta).source if sample.has("meta.json") else ""
            return Work(existing=existing, text=sample.members.get("txt"), source=source)
        if config.keep_existing and existing is not None:
            return Work(existing=existing)
        return Work(picture=images.decode_to_look(sample.picture()))

    def process(
        self, config: Config, loaded: Any, items: list[Item]
    ) -> list[dict[str, bytes] | Exception]:
        """One caption.json per sample; a SampleFailed where no caption came of it."""
        if _spec(config).backend == "given":
            return [
                _kept(item) if item.work.annotated else _given(config, loaded, item)
                for item in items
            ]
        max_tokens: int = getattr(loaded, "max_tokens", DEFAULT_MAX_TOKENS)
        if config.max_tokens is not None:
            max_tokens = config.max_tokens
        how = Generation(
            prompt=config.prompt,
            beams=config.beams,
            nucleus=config.nucleus,
            temperature=config.temperature,
            max_tokens=max_tokens,
            repetition_penalty=config.repetition_penalty,
        )
        model = _with_options(loaded.model, how)
        new = [item for item in items if item.work.picture is not None]
        texts = (
            loaded.caption([i.work.picture for i in new], how, [i.seed for i in new]) if new else []
        )
        written = dict(zip((item.key for item in new), texts, strict=True))
        results: list[dict[str, bytes] | Exception] = []
        for item in items:
            if item.work.picture is None:
                results.append(_kept(item))
                continue
            text = clean(written[item.key])
            if text:
                results.append({"caption.json": records.dump(records.Caption(text, model=model))})
            else:
                results.append(SampleFailed(f"{model.backend} wrote an empty caption"))
        return results


@dataclass
class Work:
    """One sample on its way: a picture to caption, or what the given captions are found by."""

    picture: Any = None  # PIL.Image, for a captioner
    existing: bytes | None = None  # caption.json that may stay
    annotated: bool = False  # it does, because it came with the data
    text: bytes | None = None  # the .txt member
    source: str = ""


def _with_options(model: records.Model, how: Generation) -> records.Model:
    """The model's record with how it wrote; what had no part in it is left out."""
    options: dict[str, Any] = {
        "prompt": how.prompt,
        "max_tokens": how.max_tokens,
        "repetition_penalty": how.repetition_penalty,
    }
    if how.nucleus > 0:
        options |= {"nucleus": how.nucleus, "temperature": how.temperature}
    else:
        options |= {"beams": how.beams}
    return records.Model(
        model.backend, model.model, model.revision, model.role, {**model.options, **options}
    )


def _given(config: Config, loaded: Any, item: Item) -> dict[str, bytes] | Exception:
    work: Work = item.work
    if config.keep_existing and work.existing is not None:
        return _kept(item)
    try:
        captions = [clean(text) for text in loaded.captions(item.key, work.source, work.text)]
    except SampleFailed as error:
        return error
    captions = [text for text in captions if text]
    if captions:
        caption = records.Caption(captions[0], others=captions[1:], model=loaded.model)
        return {"caption.json": records.dump(caption)}
    if config.captions:
        return SampleFailed(f"{config.captions} has no caption for this key")
    if work.text is not None:
        return SampleFailed("its .txt member is empty")
    if work.existing is not None:
        return _kept(item)
    return SampleFailed("no given caption: neither a .txt member nor a caption.json")


def _kept(item: Item) -> dict[str, bytes] | Exception:
    """An earlier caption.json byte for byte, once it is known to be readable."""
    try:
        records.load(records.Caption, item.work.existing, "caption.json")
    except SampleFailed as error:
        return error
    kept = {"caption.json": item.work.existing}
    if not item.work.annotated:
        return kept
    line = "captions that came with the data stay; --replace-annotations writes over them"
    return Noted(kept, {"annotations_kept": line})  # the same words each time: they are said once


def clean(text: str) -> str:
    """One line: white space and control characters become single spaces; no word is lost.

    Invisible format characters go (zero-width space, byte order mark, direction marks), except
    the joiners that emoji and several scripts need; so do halves of surrogate pairs, which UTF-8
    cannot hold.
    """
    kept = []
    for character in text:
        category = unicodedata.category(character)
        if category == "Cc":
            kept.append(" ")
        elif category != "Cs" and (category != "Cf" or character in "\u200c\u200d"):
            kept.append(character)
    return " ".join("".join(kept).split())

"""Requests for pictures out of the samples of shards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.generation import adapters, subject_prompts
from socialcli.generation.options import LayoutOptions, ReferenceOptions, SourceOptions
from socialcli.generation.requests import Request, Wanted, asked, copies
from socialcli.generation.subject_prompts import Text
from socialcli.shards import Sample

_LEARNED = re.compile(r"<[^<>\s]+>")


def of_sample(
    config: Any, sample: Sample, masks: list[str] | None = None, queries: bool = True
) -> Request:
    """The request that a sample of a shard is.

    Args:
        masks: see `GenerateMethod.masks`. queries: see `GenerateMethod.QUERIES`.

    Raises:
        SampleFailed: no such caption, or nothing to tell its subjects by.
    """
    text, plain = _only_text(config, sample), None
    if text is None and config.subject_word:
        texts, plains = _of_word(config, sample)
        text = _numbered(texts, config.caption, subject_prompts.PLACE)
        plain = str(plains[config.caption]).strip() if plains else None  # a text where that is one
    elif text is None:
        text = caption(sample, config.caption)
    wanted: tuple[Wanted, ...] = ()
    if isinstance(config, SourceOptions):
        given = tuple(Wanted(name) for name in config.reference)
        if not given and not config.references:
            sample.picture()  # there must be one
        own = None if config.references else sample
        wanted = asked(config, given or (Wanted(sample.key, own=own),))
    elif isinstance(config, ReferenceOptions):
        wanted = (
            asked(config, (), masks)
            if config.reference
            else _matched(config, sample, masks, queries)
        )
    if not config.subject_word:
        plain = _plain(sample, text)
    return Request(text, config.negative, None, sample.key, plain, wanted, sample)


def all_of_sample(
    config: Any, sample: Sample, masks: list[str] | None = None, queries: bool = True
) -> list[tuple[str, Request | SampleFailed]]:
    """(key, request) of everything that a sample of a shard is drawn for: ``--captions`` captions,
    as far as it has so many, ``--per-prompt`` pictures of each; of a caption that cannot be drawn,
    why. Arguments as of `of_sample`.

    Raises:
        SampleFailed: none of them can be, see `of_sample`.
    """
    if config.captions == 1:
        request = of_sample(config, sample, masks, queries)
        return [*copies(sample.key, request, config.per_prompt)]
    end = min(config.caption + config.captions, max(_count(config, sample), config.caption + 1))
    requests: list[tuple[str, Request | SampleFailed]] = []
    failed: list[SampleFailed] = []
    for number in range(config.caption, end):
        key = f"{sample.key}-caption-{number}"
        try:
            request = of_sample(replace(config, caption=number), sample, masks, queries)
        except SampleFailed as error:
            failed.append(error)
            requests.append((key, error))
            continue
        requests += copies(key, request, config.per_prompt)
    if len(failed) == len(requests):
        raise failed[0]
    return requests


def _only_text(config: Any, sample: Sample) -> str | None:
    """The one text that a sample is drawn from whatever captions it has: the instruction, or its
    layout's prompt."""
    if isinstance(config, SourceOptions) and config.instruction:
        return str(config.instruction)
    planned = isinstance(config, LayoutOptions) or not sample.has("caption.json")
    if planned and not config.subject_word and sample.has("layout.json"):
        return sample.record(records.Layout).prompt
    return None


def _count(config: Any, sample: Sample) -> int:
    """How many captions a sample has that it is drawn from."""
    if _only_text(config, sample) is not None:
        return 1
    if config.subject_word:
        return len(_of_word(config, sample)[0])
    return len(_captions(sample)[0])


def _of_word(config: Any, sample: Sample) -> tuple[list[Text], list[Text] | None]:
    return subject_prompts.of_word(sample, config.subject_word, lambda: adapters.called(config))


def _plain(sample: Sample, text: str) -> str | None:
    """What a caption with learned words (<so>) means: the sample's first caption, if that has none
    of them."""
    if not _LEARNED.search(text) or not sample.has("caption.json"):
        return None
    first = sample.record(records.Caption).text.strip()
    return first if first and not _LEARNED.search(first) else None


def caption(sample: Sample, number: int) -> str:
    """Caption ``number`` of a sample: 0 is the one its records parse. A subject's picture without
    captions has the prompts that its data set tests it with.

    Raises:
        SampleFailed: it has none of that number, or an empty one.
    """
    texts, place = _captions(sample)
    return _numbered(texts, number, place)


def _captions(sample: Sample) -> tuple[Sequence[Text], str]:
    """All captions of a sample, and where they stand."""
    texts = subject_prompts.of_class(sample)
    if sample.has("caption.json") or not texts:
        record = sample.record(records.Caption)
        return [record.text, *record.others], "caption.json"
    return texts, subject_prompts.PLACE


def _numbered(texts: Sequence[Text], number: int, place: str) -> str:
    if number >= len(texts):
        raise SampleFailed(f"no caption {number}: {place} has {len(texts)}, counted from 0")
    text = texts[number]
    if isinstance(text, SampleFailed):
        raise text
    if not text.strip():
        raise SampleFailed("the caption is empty")
    return text.strip()


def _matched(
    config: ReferenceOptions, sample: Sample, masks: list[str] | None, queries: bool
) -> tuple[Wanted, ...]:
    """The sample's own picture, that of the same key, or others of the people in it."""
    from socialcli.generation import references

    match = config.match or ("key" if config.references else "own")
    # Where a mask says which subject, the reference implementation gives the whole caption.
    usual = "nouns" if masks is None else "caption"
    of_each = config.query or [usual]
    query = of_each[0]
    own = sample if match == "own" else None
    if own is not None:
        own.picture()  # there must be one
    if match != "identity" and not config.per_subject:
        try:
            query_words = references.words(sample, query, config.caption)
        except SampleFailed:
            if queries or config.query:
                raise
            query_words = ""  # nobody reads them
        return asked(replace(config, query=[]), (Wanted(sample.key, query_words, own=own),), masks)
    people_or_things = references.subjects(sample)
    if match == "identity":
        people_or_things = [subject for subject in people_or_things if subject.identity is not None]
        if not people_or_things:
            raise SampleFailed("its people.json names nobody: whose other picture shall it be?")
    if not people_or_things:
        raise SampleFailed("entities.json: the entity list is empty, there is no subject")
    wanted = []
    for nth, subject in enumerate(people_or_things[: None if config.per_subject else 1]):
        query = of_each[min(nth, len(of_each) - 1)]
        named = {"nouns": subject.noun, "phrases": subject.phrase}.get(query)
        query_words = named or references.words(sample, query, config.caption)
        who = subject.identity if match == "identity" else None
        entity = subject.entity if config.per_subject and who is None else None
        wanted.append(Wanted(sample.key, query_words, identity=who, own=own, entity=entity))
    return asked(replace(config, query=[]), tuple(wanted), masks)

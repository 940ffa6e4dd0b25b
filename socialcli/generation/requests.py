"""Requests for pictures: out of prompt files and flags, and out of the samples of shards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from socialcli import records, shards, spreadsheets
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import adapters, subject_prompts
from socialcli.generation.options import LayoutOptions, ReferenceOptions, SourceOptions
from socialcli.shards import Sample

SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson")
PROMPT_COLUMNS = ("prompt", "caption", "text")
_LEARNED = re.compile(r"<[^<>\s]+>")
_REFERENCE = re.compile(r"(reference|query|scale|mask)[ _-]?(\d*)")


@dataclass(frozen=True)
class Wanted:
    """A reference picture that is asked for.

    Attributes:
        name: a file, a key or a subject; what it is is found out when it is looked for.
        query: the words that say what in it is meant, or one of `options.QUERIES`; None: not said.
        scale: None: the method's own.
        beside: folder that a relative file name is looked for in first.
        identity: find another picture of this person instead of ``name``.
        own: the sample itself, where it came with the request.
        by_mask: a mask says what is meant, besides the words.
        mask: the file of that mask, white where the subject is; else the sample's masks.json.
        entity: whose mask of the sample's it is; None: all subjects'.
    """

    name: str
    query: str | None = None
    scale: float | None = None
    beside: str = ""
    identity: str | None = None
    own: Sample | None = None
    by_mask: bool = False
    mask: str | None = None
    entity: int | None = None


@dataclass(frozen=True)
class Request:
    """One picture to be made."""

    prompt: str
    negative: str = ""
    seed: int | None = None  # None: of the key
    source_key: str | None = None
    plain_prompt: str | None = None
    references: tuple[Wanted, ...] = ()
    sample: Sample | None = field(default=None, compare=False, repr=False)  # it is made of this one


def is_prompts(name: str) -> bool:
    """Whether an input is a file of prompts, and not a shard."""
    return name.lower().endswith(SUFFIXES)


def entries(config: Any, masks: list[str] | None = None) -> list[tuple[str, Request]]:
    """(key, request) of every picture that the flags and the prompt files ask for, in order.

    Args:
        masks: see `GenerateMethod.masks`.

    Raises:
        UsageError: a file that cannot be read, lacks a column, or has one key twice.
    """
    name = repr(config)
    if name not in _READ:
        _READ.clear()
        _READ[name] = _all(config, masks)
    return _READ[name]


# The last configuration's requests: every shard of a run asks for its part of them.
_READ: dict[str, list[tuple[str, Request]]] = {}


def _all(config: Any, masks: list[str] | None) -> list[tuple[str, Request]]:
    rows: list[tuple[str | None, Request, str]] = [
        (None, Request(text.strip()), "--prompt") for text in config.prompt
    ]
    for file in config.prompts:
        rows += _file(file)
    numbered: list[tuple[str, Request]] = []
    seen: dict[str, str] = {}
    for number, (given, request, where) in enumerate(rows):
        key = f"{number:05d}" if given is None else shards.safe_key(given + ".")
        if key in seen:
            raise UsageError(f"{where}: the key '{key}' is there twice (also {seen[key]})")
        seen[key] = where
        request = replace(
            request,
            negative=request.negative or config.negative,
            references=asked(config, request.references, masks),
        )
        numbered += copies(key, request, config.per_prompt)
    return numbered


def copies(key: str, request: Request, count: int) -> list[tuple[str, Request]]:
    """The request under its key, or ``count`` of it under ``key-0``, ``key-1``...

    A seed that was given is that of the first; the others count on from it.
    """
    if count == 1:
        return [(key, request)]
    seeds = [None if request.seed is None else request.seed + n for n in range(count)]
    return [(f"{key}-{n}", replace(request, seed=seed)) for n, seed in enumerate(seeds)]


def asked(
    config: Any, own: tuple[Wanted, ...], masks: list[str] | None = None
) -> tuple[Wanted, ...]:
    """References with the flags' queries, scales and masks where they have none; those of the
    flags where there are no others."""
    if isinstance(config, SourceOptions):
        sources = own or tuple(Wanted(name) for name in config.reference)
        scale = config.image_guidance
        return tuple(replace(s, scale=scale if s.scale is None else s.scale) for s in sources)
    if not isinstance(config, ReferenceOptions):
        return ()
    wanted = own or tuple(Wanted(name) for name in config.reference)
    by_mask, files = masks is not None, [] if own else masks or []
    filled = []
    for number, one in enumerate(wanted):
        query = config.query[min(number, len(config.query) - 1)] if config.query else None
        scale = config.scale[min(number, len(config.scale) - 1)] if config.scale else None
        filled.append(
            replace(
                one,
                query=query if one.query is None else one.query,
                scale=scale if one.scale is None else one.scale,
                by_mask=by_mask,
                mask=files[number] if files else one.mask,
            )
        )
    return tuple(filled)


# ---------------------------------------------------------------- files


def _file(file: str) -> list[tuple[str | None, Request, str]]:
    """(key or None, request, where it stands) of every row."""
    try:
        data = Path(file).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from None
    text = spreadsheets.decoded(data, file)
    suffix = Path(file).suffix.lower()
    if suffix == ".txt":
        lines = ((n, {"prompt": line}) for n, line in enumerate(text.splitlines(), 1))
        rows: Iterator[tuple[int, dict[str, Any]]] = (r for r in lines if r[1]["prompt"].strip())
    elif suffix in (".jsonl", ".ndjson"):
        rows = _json_rows(file, text)
    else:
        delimiter, text = spreadsheets.delimited(text, suffix, PROMPT_COLUMNS)
        rows = _table_rows(file, text, delimiter)
    beside = str(Path(file).expanduser().parent)
    row_requests = [_row(row, f"{file}, line {number}", beside) for number, row in rows]
    if not row_requests:
        raise UsageError(f"{file}: no prompts in it")
    return row_requests


def _json_rows(file: str, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    import json

    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            body = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{file}, line {number}: not JSON ({error})") from None
        if not isinstance(body, dict):
            raise UsageError(f"{file}, line {number}: expected an object with a prompt")
        yield number, body


def _table_rows(file: str, text: str, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    import csv
    import io

    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = [(name or "").strip().lower() for name in reader.fieldnames or []]
    if not set(names) & set(PROMPT_COLUMNS):
        raise UsageError(
            f"{file}: no column 'prompt'; its first line names {', '.join(names) or 'nothing'}"
        )
    reader.fieldnames = names
    try:
        for row in reader:
            if None in row:
                raise UsageError(
                    f"{file}, line {reader.line_num}: more cells than the first line has; put "
                    "texts with commas in double quotes"
                )
            if any((cell or "").strip() for cell in row.values()):
                yield reader.line_num, {k: v for k, v in row.items() if v}
    except csv.Error as error:
        raise UsageError(f"{file}, line {reader.line_num}: {error}") from None


def _row(row: dict[str, Any], where: str, beside: str) -> tuple[str | None, Request, str]:
    prompt = next((row[c] for c in PROMPT_COLUMNS if row.get(c) is not None), None)
    if not isinstance(prompt, str) and prompt is not None:
        raise UsageError(f"{where}: the prompt is no text")
    key = row.get("key")
    if isinstance(key, float) and key.is_integer():  # a JSON column of numbers with a gap
        key = int(key)
    request = Request(
        (prompt or "").strip(),
        negative=_text(row, "negative", where) or "",
        seed=_number(row, "seed", where, int),
        plain_prompt=_text(row, "plain_prompt", where),
        references=tuple(_references(row, where, beside)),
    )
    return (None if key in (None, "") else str(key)), request, where


def _text(row: dict[str, Any], name: str, where: str) -> str | None:
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{where}: '{name}' is {value!r}, expected text")
    return value


def _number(row: dict[str, Any], name: str, where: str, kind: type) -> Any:
    value = row.get(name)
    try:
        number = spreadsheets.number(value, kind is int)
        if number == -1 and kind is int:  # "any", as other tools write it
            return None
        if kind is int and number is not None and not 0 <= number < 2**63:
            raise ValueError("from 0 to 2^63 - 1")
    except (TypeError, ValueError, OverflowError) as error:
        why = f" ({error})" if str(error) and "convert" not in str(error) else ""
        raise UsageError(f"{where}: '{name}' is {value!r}, expected a number{why}") from None
    return number


def _references(row: dict[str, Any], where: str, beside: str) -> Iterator[Wanted]:
    """``reference``, ``query``, ``scale`` (and ``reference_2``...) or a list ``references``."""
    listed = row.get("references")
    if listed is not None and not isinstance(listed, list):
        raise UsageError(f"{where}: 'references' is a list; one reference is called 'reference'")
    for one in listed or []:
        one = {"reference": one} if isinstance(one, str) else one
        if not isinstance(one, dict):
            raise UsageError(f"{where}: a reference is a name, or an object with key and query")
        name = next((one[c] for c in ("reference", "path", "key", "file") if c in one), None)
        if not isinstance(name, str):
            raise UsageError(f"{where}: a reference has no 'reference' (a file, key or subject)")
        query, scale = _text(one, "query", where), _number(one, "scale", where, float)
        yield Wanted(name, query, scale, beside, mask=_text(one, "mask", where))
    numbers: dict[str, dict[str, str]] = {}
    for column in row:
        match = _REFERENCE.fullmatch(column)
        if match:
            numbers.setdefault(match[2], {})[match[1]] = column
    for number, columns in sorted(numbers.items(), key=lambda item: int(item[0] or 0)):
        name = _text(row, columns["reference"], where) if "reference" in columns else None
        if name:
            query = _text(row, columns.get("query", ""), where)
            scale = _number(row, columns.get("scale", ""), where, float)
            mask = _text(row, columns.get("mask", ""), where)
            yield Wanted(name, query, scale, beside, mask=mask)
        elif "reference" not in columns and number:
            raise UsageError(f"{where}: there is a {'/'.join(columns)} {number} but no reference")


# ---------------------------------------------------------------- samples


def of_sample(config: Any, sample: Sample, masks: list[str] | None = None) -> Request:
    """The request that a sample of a shard is.

    Raises:
        SampleFailed: no such caption, or nothing to tell its subjects by.
    """
    planned = isinstance(config, LayoutOptions) or not sample.has("caption.json")
    plain = None
    if isinstance(config, SourceOptions) and config.instruction:
        text = config.instruction
    elif config.subject_word:
        texts, plains = _of_word(config, sample)
        text = _numbered(texts, config.caption, "meta.json's prompts")
        plain = plains[config.caption].strip() if plains else None
    elif planned and sample.has("layout.json"):
        text = sample.record(records.Layout).prompt
    else:
        text = caption(sample, config.caption)
    wanted: tuple[Wanted, ...] = ()
    if isinstance(config, SourceOptions):
        given = tuple(Wanted(name) for name in config.reference)
        if not given and not config.references:
            sample.picture()  # there must be one
        own = None if config.references else sample
        wanted = asked(config, given or (Wanted(sample.key, own=own),))
    elif isinstance(config, ReferenceOptions):
        wanted = asked(config, (), masks) if config.reference else _matched(config, sample, masks)
    if not config.subject_word:
        plain = _plain(sample, text)
    return Request(text, config.negative, None, sample.key, plain, wanted, sample)


def all_of_sample(
    config: Any, sample: Sample, masks: list[str] | None = None
) -> list[tuple[str, Request]]:
    """(key, request) of everything that a sample of a shard is drawn for: ``--captions`` captions,
    as far as it has so many, ``--per-prompt`` pictures of each.

    Raises:
        SampleFailed: see `of_sample`.
    """
    if config.captions == 1:
        return copies(sample.key, of_sample(config, sample, masks), config.per_prompt)
    end = min(config.caption + config.captions, max(_count(config, sample), config.caption + 1))
    found: list[tuple[str, Request]] = []
    for number in range(config.caption, end):
        request = of_sample(replace(config, caption=number), sample, masks)
        found += copies(f"{sample.key}-caption-{number}", request, config.per_prompt)
    return found


def _count(config: Any, sample: Sample) -> int:
    """How many captions a sample has."""
    if config.subject_word:
        return len(_of_word(config, sample)[0])
    return len(_captions(sample)[0])


def _of_word(config: Any, sample: Sample) -> tuple[list[str], list[str] | None]:
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


def _captions(sample: Sample) -> tuple[list[str], str]:
    """All captions of a sample, and where they stand."""
    texts = subject_prompts.of_class(sample)
    if sample.has("caption.json") or not texts:
        record = sample.record(records.Caption)
        return [record.text, *record.others], "caption.json"
    return texts, "meta.json's prompts"


def _numbered(texts: list[str], number: int, place: str) -> str:
    if number >= len(texts):
        raise SampleFailed(f"no caption {number}: {place} has {len(texts)}, counted from 0")
    if not texts[number].strip():
        raise SampleFailed("the caption is empty")
    return texts[number].strip()


def _matched(
    config: ReferenceOptions, sample: Sample, masks: list[str] | None
) -> tuple[Wanted, ...]:
    """The sample's own picture, that of the same key, or others of the people in it."""
    from socialcli.generation import references

    match = config.match or ("key" if config.references else "own")
    # Where a mask says which subject, the reference implementation gives the whole caption.
    usual = "nouns" if masks is None else "caption"
    query = config.query[0] if config.query else usual
    own = sample if match == "own" else None
    if own is not None:
        own.picture()  # there must be one
    if match != "identity" and not config.per_subject:
        query_words = references.words(sample, query, config.caption)
        return asked(replace(config, query=[]), (Wanted(sample.key, query_words, own=own),), masks)
    people_or_things = references.subjects(sample)
    if match == "identity":
        people_or_things = [subject for subject in people_or_things if subject.identity is not None]
        if not people_or_things:
            raise SampleFailed("its people.json names nobody: whose other picture shall it be?")
    if not people_or_things:
        raise SampleFailed("entities.json: the entity list is empty, there is no subject")
    wanted = []
    for subject in people_or_things if config.per_subject else people_or_things[:1]:
        named = {"nouns": subject.noun, "phrases": subject.phrase}.get(query)
        query_words = named or references.words(sample, query, config.caption)
        who = subject.identity if match == "identity" else None
        entity = subject.entity if config.per_subject and who is None else None
        wanted.append(Wanted(sample.key, query_words, identity=who, own=own, entity=entity))
    return asked(replace(config, query=[]), tuple(wanted), masks)

"""Requests for pictures, and those that prompt files and flags make; `sample_requests` makes those
of the samples of shards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from socialcli import shards, spreadsheets, textfiles
from socialcli.errors import UsageError
from socialcli.generation import contents
from socialcli.generation.options import ReferenceOptions, SourceOptions
from socialcli.shards import Sample

SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson")
PROMPT_COLUMNS = ("prompt", "caption", "text")
COLUMNS = (*PROMPT_COLUMNS, "key", "negative", "seed", "plain_prompt", "references")
MOST = 100  # references of flags that a row's numbered columns speak of
_REFERENCE = re.compile(r"(reference|query|scale|mask)[ _-]?(\d*)")


@dataclass(frozen=True)
class Wanted:
    """A reference picture that is asked for.

    Attributes:
        name: a file, a key or a subject; what it is is found out when it is looked for. Of a row's
            that names none: "", until `asked` puts the flags' in its place.
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


def files_of_rows(entries: list[tuple[str, Request]]) -> str:
    """A word for what the references and masks hold that rows of prompt files name; "" where none
    is a file that is there."""
    names: dict[str, set[str]] = {}  # folder of the prompt file -> names
    for _, request in entries:
        for one in request.references:
            names.setdefault(one.beside, set()).update(n for n in (one.name, one.mask) if n)
    words = (contents.of_files(of, (folder, "")) for folder, of in names.items())
    return ", ".join(word for word in words if word)


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
        try:
            wanted = asked(config, request.references, masks)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        request = replace(request, negative=request.negative or config.negative, references=wanted)
        numbered += copies(key, request, config.per_prompt)
    return numbered


def copies(key: str, request: Request, count: int) -> list[tuple[str, Request]]:
    """The request under its key, or ``count`` of it under ``key-0``, ``key-1``...

    A seed that was given is that of the first; the others count on from it, from 0 behind the
    largest.
    """
    if count == 1:
        return [(key, request)]
    seeds = [None if request.seed is None else (request.seed + n) % 2**63 for n in range(count)]
    return [(f"{key}-{n}", replace(request, seed=seed)) for n, seed in enumerate(seeds)]


def asked(
    config: Any, own: tuple[Wanted, ...], masks: list[str] | None = None
) -> tuple[Wanted, ...]:
    """References with the flags' queries, scales and masks where they have none; those of the
    flags where there are no others.

    Raises:
        UsageError: more is said of the flags' references than there are.
    """
    if isinstance(config, SourceOptions):
        sources = _named(config, own)
        guidance = config.image_guidance
        return tuple(replace(s, scale=guidance if s.scale is None else s.scale) for s in sources)
    if not isinstance(config, ReferenceOptions):
        return ()
    wanted = _named(config, own)
    by_row = any(one.name for one in own)
    by_mask, files = masks is not None, [] if by_row else masks or []
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
                mask=files[number] if files and one.mask is None else one.mask,
            )
        )
    return tuple(filled)


def _named(config: Any, own: tuple[Wanted, ...]) -> tuple[Wanted, ...]:
    """A row's references; where it names none those of the flags, with what the row says of the
    first, the second, and so on."""
    if any(one.name for one in own):
        return own
    names = config.reference
    if len(own) > max(1, len(names)):
        raise UsageError(_without(len(own), own[-1]))
    rows = [*own, *(Wanted("") for _ in names)]
    return tuple(
        # A flag's file is not beside the prompt file, but the row's mask may be.
        replace(one, name=name, beside="", mask=_beside(one.beside, one.mask))
        for name, one in zip(names, rows, strict=False)
    )


def _beside(folder: str, name: str | None) -> str | None:
    """A file by a name that stands wherever it is looked for from: in ``folder`` if it is there."""
    if name is None:
        return None
    file = contents.file_called(name, (folder,))
    return name if file is None else str(file)


# ---------------------------------------------------------------- files


def _file(file: str) -> list[tuple[str | None, Request, str]]:
    """(key or None, request, where it stands) of every row."""
    beside = str(Path(file).expanduser().parent)
    row_requests = [_row(row, f"{file}, line {number}", beside) for number, row in _rows(file)]
    if not row_requests:
        raise UsageError(f"{file}: no prompts in it")
    return row_requests


def unread(file: str, of_references: Mapping[str, str]) -> list[str]:
    """The columns of a prompt file that are not read, in the order in which they come.

    Args:
        of_references: see `GenerateMethod.unread`.

    Raises:
        UsageError: it cannot be read.
    """
    columns = dict.fromkeys(column for _, row in _rows(file) for column in row)
    names = []
    for column in columns:
        match = _REFERENCE.fullmatch("reference" if column == "references" else column)
        if match is None and column not in COLUMNS:
            names.append(column)
        elif match is not None and match[1] in of_references:
            mend = of_references[match[1]]
            names.append(f"{column} (it is with {mend})" if mend else column)
    return names


def _rows(file: str) -> list[tuple[int, dict[str, Any]]]:
    """(number of its line, column -> cell) of every row."""
    try:
        data = Path(file).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from None
    text = spreadsheets.decoded(data, file)
    suffix = Path(file).suffix.lower()
    if suffix == ".txt":
        lines: list[tuple[int, dict[str, Any]]]
        lines = [(n, {"prompt": line}) for n, line in enumerate(textfiles.split(text), 1)]
        return [row for row in lines if row[1]["prompt"].strip()]
    if suffix in (".jsonl", ".ndjson"):
        return list(_json_rows(file, text))
    delimiter, text = spreadsheets.delimited(text, suffix, PROMPT_COLUMNS)
    return list(_table_rows(file, text, delimiter))


def _json_rows(file: str, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    import json

    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            body = json.loads(line)
        except (ValueError, RecursionError) as error:
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
    for name in names:
        if names.count(name) > 1 and (name in COLUMNS or _REFERENCE.fullmatch(name)):
            raise UsageError(f"{file}: the column '{name}' is there twice")
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


def _references(row: dict[str, Any], where: str, beside: str) -> list[Wanted]:
    """``reference``, ``query``, ``scale`` (and ``reference_2``...) or a list ``references``.

    What a row that names no reference says of one is of the flags': without a name, at the place
    of the flag.
    """
    wanted = _listed(row, where, beside)
    numbers: dict[str, dict[str, str]] = {}
    for column in row:
        match = _REFERENCE.fullmatch(column)
        if match:
            numbers.setdefault(match[2], {})[match[1]] = column
    of_flags: dict[int, Wanted] = {}
    for number, columns in sorted(numbers.items(), key=lambda item: int(item[0] or 0)):
        name = _text(row, columns.get("reference", ""), where)
        query = _text(row, columns.get("query", ""), where)
        scale = _number(row, columns.get("scale", ""), where, float)
        mask = _text(row, columns.get("mask", ""), where)
        if name:
            wanted.append(Wanted(name, query, scale, beside, mask=mask))
        elif query or mask or scale is not None:
            place = max(1, int(number or 1))
            one = Wanted("", query or None, scale, beside, mask=mask or None)
            if place in of_flags or place > MOST:
                raise UsageError(f"{where}: {_without(place, one)}")
            of_flags[place] = one
    if wanted and of_flags:
        raise UsageError(f"{where}: {_without(*min(of_flags.items(), key=lambda item: item[0]))}")
    last = max(of_flags, default=0)
    return wanted or [of_flags.get(place, Wanted("")) for place in range(1, last + 1)]


def _without(place: int, one: Wanted) -> str:
    columns = (name for name in ("query", "scale", "mask") if getattr(one, name) is not None)
    return f"there is a {'/'.join(columns)} {place} but no reference {place}"


def _listed(row: dict[str, Any], where: str, beside: str) -> list[Wanted]:
    """The list ``references`` of a row."""
    listed = row.get("references")
    if listed is not None and not isinstance(listed, list):
        raise UsageError(f"{where}: 'references' is a list; one reference is called 'reference'")
    wanted = []
    for one in listed or []:
        one = {"reference": one} if isinstance(one, str) else one
        if not isinstance(one, dict):
            raise UsageError(f"{where}: a reference is a name, or an object with key and query")
        name = next((one[c] for c in ("reference", "path", "key", "file") if c in one), None)
        if not isinstance(name, str):
            raise UsageError(f"{where}: a reference has no 'reference' (a file, key or subject)")
        query, scale = _text(one, "query", where), _number(one, "scale", where, float)
        wanted.append(Wanted(name, query, scale, beside, mask=_text(one, "mask", where)))
    return wanted

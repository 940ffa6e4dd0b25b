"""Captions that already exist: a ``.txt`` member, a CSV, TSV or JSON Lines file, a caption.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from socialcli import spreadsheets, textfiles
from socialcli.backends import BackendInfo, ModelSpec
from socialcli.errors import SampleFailed, UsageError
from socialcli.records import Model

INFO = BackendInfo(
    summary="captions that already exist: KEY.txt, --captions FILE, or an earlier caption.json",
    licence="none needed (no model)",
)

KEY_COLUMNS = ("key", "__key__", "file_name", "filename", "file", "image", "image_name", "path")
TEXT_COLUMNS = ("caption", "captions", "text", "sentence", "description")


def load(spec: ModelSpec) -> Given:
    """``spec.model`` is the captions file, or empty."""
    return Given(spec.model)


class Given:
    """Looks a sample's captions up; the sources in order are the file, KEY.txt, caption.json."""

    def __init__(self, file: str = "") -> None:
        self.file = file
        self.by_name: dict[str, list[str]] = {}  # as the file writes it, folders and suffix too
        self.names: dict[str, list[str]] = {}  # key as socialcli spells it -> names in by_name
        options = {}
        if file:
            import hashlib

            from socialcli.shards import safe_key

            data = _read(file)
            for name, text in _rows(file, data):
                self.by_name.setdefault(name, []).append(text)
            if not self.by_name:
                raise UsageError(f"--captions {file}: no captions in it")
            for name in self.by_name:
                key = safe_key(name) if "." in name.rpartition("/")[2] else name
                self.names.setdefault(key, []).append(name)
            options["sha256"] = hashlib.sha256(data).hexdigest()
        name = Path(file).name if file else ""
        self.model = Model(backend="given", model=name, role="caption", options=options)

    def captions(self, key: str, source: str, text: bytes | None) -> list[str]:
        """The captions of one sample, uncleaned, best first; empty where there is none.

        Args:
            key: the sample's key.
            source: where its picture came from (`Meta.source`), or "".
            text: the bytes of its ``.txt`` member, or None.

        Raises:
            SampleFailed: the ``.txt`` member is not UTF-8, or the file has two pictures of that
                name in different spellings ("a.jpg" and "a.png").
        """
        if self.file:
            return self._in_file(key, source)
        if text is not None:
            try:
                return [textfiles.decoded(text)]
            except UnicodeDecodeError as error:
                raise SampleFailed(f"{key}.txt is not UTF-8 text ({error.reason})") from None
        return []

    def _in_file(self, key: str, source: str) -> list[str]:
        """Whole names before base names; a base name finds pictures whatever folder they are in."""
        for name in (source, key):
            if name in self.by_name:
                return self.by_name[name]
        for spelling in (key, source.rpartition("/")[2], key.rpartition("/")[2]):
            names = [spelling] if spelling in self.by_name else self.names.get(spelling, [])
            if len(names) > 1:
                raise SampleFailed(
                    f"{self.file} has several pictures for this key: {', '.join(names[:3])}"
                )
            if names:
                return self.by_name[names[0]]
        return []


def _read(file: str) -> bytes:
    try:
        return Path(file).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"--captions {file}: cannot be read ({error.strerror})") from None


def _rows(file: str, data: bytes) -> list[tuple[str, str]]:
    """(name, caption) of every row, in order; rows with an empty caption are left out."""
    text = spreadsheets.decoded(data, f"--captions {file}")
    suffix = Path(file).suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        rows = _json_rows(file, text)
    elif suffix in (".csv", ".tsv", ".txt"):
        rows = _table_rows(file, text, suffix)
    else:
        raise UsageError(f"--captions {file}: expected a .csv, .tsv or .jsonl file")
    return [(name.strip(), caption) for name, caption in rows if caption.strip()]


def _json_rows(file: str, text: str) -> list[tuple[str, str]]:
    import json

    rows: list[tuple[str, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            body: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"--captions {file}, line {number}: not JSON ({error})") from None
        body = body if isinstance(body, dict) else {}
        name = next((body[c] for c in KEY_COLUMNS if c in body), None)
        stated = next((body[c] for c in TEXT_COLUMNS if c in body), None)
        captions = stated if isinstance(stated, list) else [stated]
        if name is None or not all(isinstance(c, str) for c in captions):
            raise UsageError(
                f"--captions {file}, line {number}: expected an object with one of "
                f"{', '.join(KEY_COLUMNS)} and one of {', '.join(TEXT_COLUMNS)}"
            )
        rows += [(str(name), str(c)) for c in captions]
    return rows


def _table_rows(file: str, text: str, suffix: str) -> list[tuple[str, str]]:
    """Rows of a CSV or TSV, with a header naming the columns or with (name, caption) columns."""
    import csv
    import io

    delimiter, text = spreadsheets.delimited(text, suffix, (*KEY_COLUMNS, *TEXT_COLUMNS))
    limit = csv.field_size_limit(2**24)  # of the whole process: other tables keep theirs
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise UsageError(f"--captions {file}: {error}") from None
    finally:
        csv.field_size_limit(limit)
    table = [row for row in table if any(cell.strip() for cell in row)]
    if not table:
        return []
    header = [cell.strip().lower() for cell in table[0]]
    named = next((header.index(c) for c in KEY_COLUMNS if c in header), None)
    texts = next((header.index(c) for c in TEXT_COLUMNS if c in header), None)
    if named is None or texts is None:
        if (named is None) != (texts is None):
            raise UsageError(
                f"--captions {file}: its header has {', '.join(header)}; it needs one of "
                f"{', '.join(KEY_COLUMNS)} and one of {', '.join(TEXT_COLUMNS)}"
            )
        named, texts = 0, 1
    else:
        table = table[1:]
    rows = []
    for number, row in enumerate(table, 1):
        if len(row) <= max(named, texts):
            raise UsageError(
                f"--captions {file}, row {number}: {len(row)} columns, divided by {delimiter!r}; "
                "is a quote missing, or are they divided by something else (comma, semicolon, tab)?"
            )
        rows.append((row[named], row[texts]))
    return rows

"""The card of a folder of shards: README.md, by which Hugging Face `datasets` loads the folder.

``datasets`` guesses the type of every column from the first five samples, and fails where a later
one has a field or a member that those had not: an optional part of a record, a picture in another
format, a face's embedding. The card says the types, so that nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from socialcli import records, shards

NAME = "README.md"
MARK = "<!-- written by socialcli merge -->"  # a card without it is somebody's own and is kept
# As `datasets` decodes members by the last part of their suffix.
_TYPES = {
    "json": "json", "jsn": "json", "txt": "string", "text": "string", "transcript": "string",
    "cls": "int64", "cls2": "int64", "index": "int64", "inx": "int64", "id": "int64",
}  # fmt: skip
_UNKNOWN = ("npy", "npz", "pth", "ten", "tb", "mp", "msg", "cbor")  # decoded, to who knows what


def is_there(folder: str) -> bool:
    """Whether a folder has a card that this program wrote."""
    return MARK.encode() in (shards.read_bytes(f"{folder.rstrip('/')}/{NAME}") or b"")


def write(folder: str, known: Mapping[str, Iterable[str]]) -> str | None:
    """Write the card of all shards in a folder, unless somebody's own is there.

    Args:
        folder: where the shards are, a path or a URL prefix.
        known: name of a shard -> suffixes of its members. The headers of others are read.

    Returns:
        Where it was written; None where there is a card already that this program did not write,
        or where a member's type cannot be told.
    """
    place = f"{folder.rstrip('/')}/{NAME}"
    there = shards.read_bytes(place)
    replaceable = there is None or MARK.encode() in there
    text = card(_suffixes(folder, known)) if replaceable else None
    if text is None:
        if replaceable:
            shards.remove(place)  # it would keep `datasets` from guessing, and be wrong
        return None
    shards.write_bytes(place, text.encode())
    return place


def _suffixes(folder: str, known: Mapping[str, Iterable[str]]) -> set[str]:
    """Of the members of every shard that the card speaks of."""
    found = {suffix for suffixes in known.values() for suffix in suffixes}
    for place in shards.matches(folder, "*.tar"):
        if place.rpartition("/")[2] not in known:
            found |= shards.contents(place)[1]
    return found


def card(suffixes: Iterable[str]) -> str | None:
    """The card's text; None where the type of a member cannot be told."""
    order = [*records.IMAGE_SUFFIXES, *records.MEMBERS, records.IDENTITY]
    known = [s for s in order if s in set(suffixes)]
    columns = known + sorted(set(suffixes) - set(known))
    lines = []
    for suffix in ["__key__", *columns]:
        kind = _feature(suffix)
        if kind is None:
            return None
        lines.append(f"  - name: '{suffix}'\n    {kind}")
    features = "\n".join(lines)
    return f"""---
configs:
- config_name: default
  data_files: '*.tar'
dataset_info:
  features:
{features}
---
{MARK}
# Annotated shards

WebDataset shards of `socialcli`. With Hugging Face `datasets` (a version that has `Json`):

```python
from datasets import load_dataset

rows = load_dataset("PATH/OF/THIS/FOLDER", split="train")  # or streaming=True
```

Members in JSON are dictionaries there, pictures PIL images; what a sample lacks is `None`.
"""


def _feature(suffix: str) -> str | None:
    """A column's type as the card says it, None where it cannot be told."""
    last = suffix.rpartition(".")[2].lower()
    if suffix == "__key__":
        return "dtype: string"
    if suffix in records.IMAGE_SUFFIXES:
        return "dtype: image"
    if suffix == records.IDENTITY:
        return "list:\n      list: float32"
    if last in _UNKNOWN or not suffix.isprintable() or "'" in suffix:
        return None
    return f"dtype: {_TYPES.get(last, 'binary')}"

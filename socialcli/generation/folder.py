"""Pictures and their JSON side by side in a folder, with a list of them as the shard."""

from __future__ import annotations

import json
from typing import BinaryIO

from socialcli import records, shards
from socialcli.generation import attention
from socialcli.shards import Sample

GENERATED, METADATA = "generated.json", "metadata.jsonl"


class FolderWriter:
    """Stands in for `shards.Writer`: writes ``KEY.png`` and ``KEY.json`` (see `shards.file_stem`),
    and to the stream one line a picture.

    The stream is published last, so a list that is there has all its pictures; killed before, the
    same command writes them again, the same.
    """

    def __init__(self, folder: str, prefix: str, stream: BinaryIO) -> None:
        self.folder, self.prefix, self.stream = folder, prefix, stream
        self.files = shards.ManyFiles()
        self.bytes = 0

    def added(self, key: str, new: dict[str, bytes]) -> None:
        """One picture's files, each whole or not there."""
        image = next(s for s in records.IMAGE_SUFFIXES if s in new)
        stem = shards.file_stem(f"{self.prefix}{key}")
        name = f"{stem}.{image}"
        self.files.write(f"{self.folder}/{name}", new[image])
        self.files.write(f"{self.folder}/{stem}.json", new[GENERATED])
        for suffix in {attention.ARRAY, attention.RECORD} & set(new):
            self.files.write(f"{self.folder}/{stem}.{suffix}", new[suffix])
        body = {"file_name": name, **json.loads(new[GENERATED])}
        line = (json.dumps(body, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        self.stream.write(line)
        self.bytes += len(line)

    def passed(self, sample: Sample, new: dict[str, bytes]) -> None:
        """All samples are new: they have nothing but their new members."""
        if new:
            self.added(sample.key, new)

    def close(self) -> None:
        """There is no end mark."""


def write_metadata(targets: list[str]) -> None:
    """All lists of a folder, of earlier runs too, as its ``metadata.jsonl``: by that name Hugging
    Face's image folders know what is said of the pictures.

    Args:
        targets: the lists of this run, in order; those that are not there yet are left out. Where
            none is, nothing is written.
    """
    folder = targets[0].rpartition("/")[0] or "."
    of_run = {target.rpartition("/")[2] for target in targets}
    earlier = [
        place
        for place in shards.matches(folder, "*.jsonl")
        if place.rpartition("/")[2] not in of_run and _is_list(place)
    ]
    lists = [text for target in targets if (text := shards.read_bytes(target)) is not None]
    if lists:
        lists += [text for place in earlier if (text := shards.read_bytes(place)) is not None]
        shards.write_bytes(f"{folder}/{METADATA}", b"".join(lists))


def _is_list(place: str) -> bool:
    """Whether a ``.jsonl`` is a finished list of pictures: it has stats beside it."""
    if place.endswith((f"/{METADATA}", ".errors.jsonl")):
        return False
    return shards.size(f"{shards.stem(place)}.stats.json") is not None

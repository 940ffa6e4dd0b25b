"""Random access to samples: where each member lies in its archive, and reading one from there.

Training reads samples in an order of its own. A local archive that is plain and whole is only
indexed: its headers are read, its data skipped. Whatever is not (compressed, remote, damaged,
joined with sidecars of other keys) is read once from front to back and copied, sample by
sample, to a plain archive in a cache folder, which is then indexed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from socialcli.shards import keys, locations, publishing, tar, urls
from socialcli.shards.sample import STATUS, Damage, Sample, _merge, read_all, write

Span = tuple[int, int]  # offset and length of a member's data in its archive, bytes


@dataclass(slots=True)
class Entry:
    """One sample: its key, and for each joined archive the archive's number and its members."""

    key: str
    parts: list[tuple[int, dict[str, Span]]]

    def has(self, suffix: str) -> bool:
        return any(suffix in spans for _, spans in self.parts)

    def suffixes(self) -> set[str]:
        return {suffix for _, spans in self.parts for suffix in spans}


@dataclass
class Index:
    """Samples of many shards, in the shards' order; `read` gives any of them.

    Safe to use from several threads and after a fork.
    """

    shards: list[str]  # the locations as given
    files: list[Path] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)  # key -> why it was left out
    copied: dict[int, list[str]] = field(default_factory=dict)  # file that is a copy -> of what
    _opened: dict[int, int] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, number: int) -> Sample:
        """Sample ``number``, with its members' bytes (and no blocks: it is not to be passed on).

        It says its number: keys are unique within a shard only, and an index is of many.
        """
        entry = self.entries[number]
        whole: Sample | None = None
        for file, spans in entry.parts:
            archives = self.copied.get(file) or [str(self.files[file])]
            part = Sample(entry.key, archives=tuple(archives))
            for suffix, (offset, length) in spans.items():
                part.members[suffix] = self._bytes(file, offset, length)
                part.blocks.append((suffix, b"", part.members[suffix]))
            if whole is None:
                whole = part
            else:
                _merge(whole, part, self.files[file].name)
        assert whole is not None
        whole.blocks, whole.number = [], number
        return whole

    def _bytes(self, file: int, offset: int, length: int) -> bytes:
        handle = self._opened.get(file)
        if handle is None:
            # Two threads may both open it; the loser's handle lives as long as the process.
            handle = self._opened.setdefault(file, os.open(self.files[file], os.O_RDONLY))
        data = b""
        while len(data) < length:
            part = os.pread(handle, length - len(data), offset + len(data))
            if not part:
                raise OSError(0, "the file became shorter while it was used", self.files[file])
            data += part
        return data

    def select(self, numbers: Iterable[int]) -> Index:
        """The same archives, only these samples, in this order."""
        kept = [self.entries[n] for n in numbers]
        return Index(self.shards, self.files, kept, self.unusable, self.copied, self._opened)

    def fingerprint(self) -> str:
        """Tells another selection of samples, or other sizes of their members, from this one.

        A hash of every key with its members' names and lengths, in order. Where the shards lie,
        how they are cut, and bytes that change without changing their number leave it the same.
        """
        digest = hashlib.sha256()
        for entry in self.entries:
            sizes: dict[str, int] = {}
            for _, spans in entry.parts:
                sizes.update({suffix: length for suffix, (_, length) in spans.items()})
            digest.update(f"{entry.key}\0{sorted(sizes.items())}\n".encode("utf-8", "replace"))
        return digest.hexdigest()[:16]


def build(places: list[str], cache: Path, say: Callable[[str], None] = lambda line: None) -> Index:
    """Index every sample of the shards that `locations.expand` gave.

    Samples with a problem, and those that a sidecar says were filtered, are left out and stand in
    ``unusable``.

    Args:
        cache: folder for copies; a copy is kept and used again while its source has the same
            length and time of change; it cannot be stdin, which gives its bytes once.
        say: told before a shard is copied.

    Raises:
        SocialcliError: a shard cannot be opened, or joined shards do not match.
    """
    index = Index(list(places))
    for place in places:
        archives = locations.parts(place)
        spans_of = [_plain(archive) for archive in archives]
        lists = [spans for spans in spans_of if spans is not None]
        if len(lists) == len(archives) and all(_keys(s) == _keys(lists[0]) for s in lists):
            numbers = range(len(index.files), len(index.files) + len(archives))
            index.files += [Path(archive) for archive in archives]
            for samples in zip(*lists, strict=True):
                parts = [(n, spans) for n, (_, spans) in zip(numbers, samples, strict=True)]
                entry = Entry(samples[0][0], parts)
                if entry.has(STATUS) and (reason := _filtered(index, entry)) is not None:
                    index.unusable[entry.key] = reason
                else:
                    index.entries.append(entry)
        else:
            copy = _copied(place, cache, index.unusable, say)
            index.files.append(copy)
            number = len(index.files) - 1
            index.copied[number] = archives
            index.entries += [Entry(key, [(number, spans)]) for key, spans in _plain(copy) or []]
    return index


def _filtered(index: Index, entry: Entry) -> str | None:
    probe = Index(index.shards, index.files, [entry], _opened=index._opened)
    return probe.read(0).filtered


def _keys(samples: list[tuple[str, dict[str, Span]]]) -> list[str]:
    return [key for key, _ in samples]


def _copied(place: str, cache: Path, unusable: dict[str, str], say: Callable[[str], None]) -> Path:
    """The usable samples of a location as a plain archive in the cache."""
    import json

    facts = [(urls.public(a), *locations.size_and_modified(a)) for a in locations.parts(place)]
    name = hashlib.sha256(repr(facts).encode("utf-8", "replace")).hexdigest()[:24]
    copy, notes = cache / f"{name}.tar", cache / f"{name}.json"
    known = locations.read_bytes(str(notes))
    if known is not None and copy.exists():
        unusable.update(json.loads(known))
        return copy
    say(f"{urls.public(place)}: not a plain local archive; copying it once to {cache}")
    bad: dict[str, str] = {}

    def usable() -> Iterable[tuple[str, dict[str, bytes]]]:
        for sample in read_all(place):
            if isinstance(sample, Damage):
                bad[f"({len(bad) + 1}. damaged place of {urls.public(place)})"] = sample.reason
            elif not sample.key:
                continue
            elif sample.filtered is not None:
                bad[sample.key] = sample.filtered
            elif sample.problem or not sample.whole:
                bad[sample.key] = sample.problem or "its bytes are not all there"
            else:
                yield sample.key, {s: d for s, d in sample.members.items() if s != STATUS}

    write(copy, usable())
    publishing.write_bytes(str(notes), json.dumps(bad).encode())
    unusable.update(bad)
    return copy


def _plain(place: str | Path) -> list[tuple[str, dict[str, Span]]] | None:
    """(key, members) of each sample of a local archive; None where it is not plain and whole."""
    if place == "-" or locations.is_url(str(place)) or not Path(place).is_file():
        return None
    samples: list[tuple[str, dict[str, Span]]] = []
    seen: set[str] = set()
    with open(place, "rb", buffering=1 << 16) as file:
        length = os.fstat(file.fileno()).st_size
        long_name: str | None = None
        pax: dict[str, str] = {}
        headers = 0  # before the next member
        while True:
            block = file.read(tar.BLOCK)
            if block == tar.ZERO:
                break
            if len(block) < tar.BLOCK or not tar._valid(block):
                return None
            kind = block[156:157]
            try:
                size = tar._number(block[124:136])
            except ValueError:
                return None
            start = file.tell()
            following = start + size + -size % tar.BLOCK
            if not 0 <= size <= tar.MAX_MEMBER or following > length:
                return None
            if kind in (b"L", b"x"):
                if size > tar.MAX_EXTENSION:
                    return None
                data = file.read(size)
                headers += 1
                if headers > tar.MAX_EXTENSIONS or (kind == b"x" and tar._pax_problem(data)):
                    return None
                if kind == b"L":
                    long_name = tar._text(data)
                else:
                    pax = tar._pax(data)
            elif kind in tar._REGULAR:
                if "size" in pax or any(k.startswith("GNU.sparse") for k in pax):
                    return None
                name = pax.get("path") or long_name or tar._name(block)
                long_name, pax, headers = None, {}, 0
                split = keys.split_name(name)
                if not keys.is_safe(name) or tar._field_problem(block):
                    return None
                if split is not None:
                    key, suffix = split
                    if not samples or samples[-1][0] != key:
                        if key in seen:
                            return None
                        seen.add(key)
                        samples.append((key, {}))
                    if suffix in samples[-1][1]:
                        return None
                    samples[-1][1][suffix] = (start, size)
            elif kind == tar._FOLDER:
                long_name, pax, headers = None, {}, 0
                following = start
            else:  # links too: what they stand for is resolved when they are copied
                return None
            file.seek(following)
        # More after the end mark (cat a.tar b.tar) is for the reader that knows about it.
        rest = file.read(tar.BLOCK)
        while rest == tar.ZERO:
            rest = file.read(tar.BLOCK)
        return None if rest else samples

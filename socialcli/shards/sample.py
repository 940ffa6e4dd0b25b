"""Samples: the members of an archive that share a key, read in order, joined, written again."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from socialcli import records
from socialcli.errors import SampleFailed, SocialcliError
from socialcli.shards import failures, keys, locations, publishing, reading, tar, urls
from socialcli.shards.checksum import Checksum

REMEMBERED = 250_000  # keys, at least, that a duplicate is recognised among: some 40 MB
STATUS = "status.json"  # a sidecar's note that a sample was filtered or failed
Record = TypeVar("Record")
_BY_TYPE = {kind: suffix for suffix, kind in records.MEMBERS.items()}


@dataclass(slots=True)
class Sample:
    """One sample. ``members`` maps suffix to bytes; ``problem`` says why it cannot be used.

    ``blocks`` holds what is written when the sample passes through: (suffix, header, data), with
    "" as the suffix of files that belong to no sample and travel with the next one.
    """

    key: str
    members: dict[str, bytes] = field(default_factory=dict)
    blocks: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    problem: str | None = None
    whole: bool = True  # False: bytes are missing or unsafe, it must not be written again
    filtered: str | None = None  # a sidecar says this sample was filtered, and why
    notes: list[dict[str, Any]] = field(default_factory=list)  # what sidecars say went wrong
    work: Any = None  # an importer's entry, when the sample is still to be made
    archives: tuple[str, ...] = ()  # those it was read from, several of a join
    number: int = field(default=-1, compare=False)  # in the index that it was read from

    def picture(self) -> bytes:
        """The picture's bytes as stored.

        Raises:
            SampleFailed: the sample has no picture member.
        """
        for suffix in records.IMAGE_SUFFIXES:
            if suffix in self.members:
                return self.members[suffix]
        raise SampleFailed(
            f"no picture among its members ({', '.join(self.members) or 'none'}); "
            f"expected one of .{', .'.join(records.IMAGE_SUFFIXES[:4])}...{self.dotted()}"
        )

    def dotted(self) -> str:
        """What to say where a picture's name has dots, "" where that is not why it is missing."""
        for suffix in self.members:
            inner, dot, kind = suffix.rpartition(".")
            if dot and kind in records.IMAGE_SUFFIXES:
                base = self.key.rpartition("/")[2]
                return (
                    f". A key ends at the first dot: {base}.{inner}.{kind} is '{suffix}' of the "
                    f"sample '{base}'; give files names without dots"
                )
        return ""

    def has(self, suffix: str) -> bool:
        return suffix in self.members

    def record(self, kind: type[Record]) -> Record:
        """One JSON member as its dataclass, e.g. ``sample.record(records.Caption)``.

        Raises:
            SampleFailed: the member is missing (the message names the stage that writes it) or
                not readable.
        """
        suffix = _BY_TYPE[kind]
        if suffix not in self.members:
            raise self.lacking(suffix)
        return records.load(kind, self.members[suffix], suffix)

    def lacking(self, suffix: str, wanted: str = "", instead: str = "") -> SampleFailed:
        """What is to be raised where a member is missing: it names the command that writes it, or
        why that command has failed on this sample.

        Args:
            wanted: what needs the member ("--augment"). instead: what helps as well.
        """
        needed = f", which {wanted} needs" if wanted else ""
        mend = self.failure(suffix)
        if not mend:
            mend = f"run `socialcli {records.WRITERS[suffix]}` first"
            if "-" in self.archives:  # a pipe carries no notes of failures
                mend += " (if it ran, it failed on this sample)"
        return SampleFailed(f"no {suffix}{needed}: {mend}" + (f", {instead}" if instead else ""))

    def failure(self, suffix: str) -> str:
        """Why a command failed to write a member of this sample, and the mend; "" where nothing
        is noted. A later command that failed for want of the member has noted the same."""
        return failures.why_missing(self.archives, self.key, suffix, self.notes)

    def decoded(self, suffix: str) -> Any:
        """A member that the record schema knows: its record, of `records.IDENTITY` its rows.

        Raises:
            Refused: it is not what its type says.
        """
        data = self.members[suffix]
        if suffix == records.IDENTITY:
            return records.load_identity(data)
        return records.load(records.MEMBERS[suffix], data, suffix)


@dataclass(slots=True)
class Damage:
    """Bytes of a shard that belong to no nameable sample and are lost."""

    reason: str


def _group(
    stream: BinaryIO, checksum: Checksum, archive: str = ""
) -> Generator[Sample | Damage, None, None]:
    """Consecutive members with one key become a sample; damage is yielded where it lies.

    ``archive``: where the stream comes from. Of "-", one that ends early raises `SocialcliError`.

    A key that comes back within the last `REMEMBERED` samples is a sample with a ``problem``,
    because every reader that groups consecutive members would see two. Several archives in one
    stream count as one, since they leave as one.
    """
    current: Sample | None = None
    loose: list[tuple[str, bytes, bytes]] = []
    archives = (archive,) if archive else ()
    recent: set[int] = set()  # hashes of keys, in two generations: a stream may have no end
    older: set[int] = set()
    for member in tar.members(stream):
        if isinstance(member, tar.ArchiveEnd):
            if member.early and getattr(stream, "unproven", False):
                raise SocialcliError(
                    f"the compressed stream is corrupt or cut ({member.early}), so that nothing in "
                    "it can be trusted; fetch it, or write it again"
                )
            if member.early and archive == "-":
                raise SocialcliError(
                    f"standard input ended early ({member.early}): the command before has perhaps "
                    "failed. Nothing was finished; what is damaged indeed is read from a file"
                )
            if current is not None:
                yield current
            current = None
            continue
        checksum.add(member.header)
        checksum.add(member.data)
        split = keys.split_name(member.name) if member.name else None
        if split is None:
            if member.problem:
                if current is not None and _belongs(member.hint, current):
                    current.problem = f"it may lack members: {member.problem}"
                else:
                    yield Damage(member.problem)
            elif keys.is_safe(member.name):
                loose.append(("", member.header, member.data))
            else:
                yield Damage(f"unsafe name {member.name!r} left out")
            continue
        key, suffix = split
        if current is None or current.key != key:
            if current is not None:
                yield current
            current = Sample(key, archives=archives)
            current.blocks, loose = loose, []
            if hash(key) in recent or hash(key) in older:
                current.problem = (
                    "duplicate key: this shard has had a sample of this key already. The files of "
                    "a sample must lie one after another: write the archive sorted by name "
                    "(tar --sort=name), or give different samples different keys"
                )
            recent.add(hash(key))
            if len(recent) >= REMEMBERED:
                recent, older = set(), recent
        if member.problem:
            current.problem = f"{suffix}: {member.problem}"
            if member.bare:  # it is not passed on, for a link may lead anywhere; the others are
                continue
            current.whole = False
        elif not keys.is_safe(member.name):
            current.problem = f"unsafe member name {member.name!r}: it would leave its folder"
            current.whole = False
        elif suffix in current.members:
            current.problem = f"two members are called {suffix}"
        else:
            current.members[suffix] = member.data
        current.blocks.append((suffix, member.header, member.data))
    if current is not None:
        yield current
    if loose:
        yield Sample("", blocks=loose)


def _belongs(hint: str, current: Sample) -> bool:
    """Whether a member that cannot be read was perhaps one of this sample's."""
    split = keys.split_name(hint)
    return hint == tar.CUT_OFF or (split is not None and split[0] == current.key)


def _distrusted(
    items: Iterator[Sample | Damage], damage: str
) -> Generator[Sample | Damage, None, None]:
    """What a corrupt compressed archive seems to hold: every sample named, none of them usable."""
    why = f"its archive's compressed stream is corrupt or cut ({damage}); write it again"
    for item in items:
        if isinstance(item, Sample) and item.key:
            item.problem, item.whole = item.problem or why, False
            yield item
        elif isinstance(item, Damage):
            yield item


def read_all(location: str, checksums: list[Checksum] | None = None) -> Iterator[Sample | Damage]:
    """Everything in one shard or join, in order, including damage and loose files (key "").

    Args:
        location: a path, URL, ``-``, or several joined with ``+``.
        checksums: filled with one `Checksum` per joined archive.

    Raises:
        SocialcliError: an archive cannot be opened, standard input ended before its archive did
            (a file's early end is `Damage`), or the joined archives' keys do not match.
    """
    archives = locations.parts(location)
    sums = [Checksum() for _ in archives]
    if checksums is not None:
        checksums.extend(sums)
    with ExitStack() as stack:
        opened = [stack.enter_context(reading.open_read(a)) for a in archives]
        streams = [
            stack.enter_context(closing(_group(stream, checksum, archive)))
            for archive, stream, checksum in zip(archives, opened, sums, strict=True)
        ]
        for number, stream in enumerate(opened):
            if damage := getattr(stream, "damage", ""):
                streams[number] = stack.enter_context(closing(_distrusted(streams[number], damage)))
        if len(streams) == 1:
            yield from streams[0]
        else:
            yield from _join(archives, streams)


def _join(
    archives: list[str], streams: list[Generator[Sample | Damage, None, None]]
) -> Iterator[Sample | Damage]:
    base_stream, *sides = streams
    names = [urls.public(archive) for archive in archives]
    for base in base_stream:
        if isinstance(base, Damage) or base.key == "":
            yield base
            continue
        for name, side in zip(names[1:], sides, strict=True):
            other = yield from _until_key(side, name)
            if other is None or other.key != base.key:
                other_key = f"'{other.key}'" if other is not None else "its end"
                raise SocialcliError(
                    f"{names[0]} and {name} do not match: at key '{base.key}' of the first the "
                    f"second has {other_key}; join a shard only with sidecars written from it"
                )
            _merge(base, other, name)
        yield base
    for name, side in zip(names[1:], sides, strict=True):
        left = yield from _until_key(side, name)
        if left is not None:
            raise SocialcliError(
                f"{names[0]} and {name} do not match: the second goes on with key "
                f"'{left.key}' after the first has ended"
            )


def _until_key(
    side: Iterator[Sample | Damage], name: str
) -> Generator[Sample | Damage, None, Sample | None]:
    """Yield what a sidecar has that is no sample; return the next one, None at its end."""
    for item in side:
        if isinstance(item, Damage):
            yield Damage(f"in {name}: {item.reason}")
        elif item.key:
            return item
        else:
            yield item
    return None


def _merge(base: Sample, other: Sample, name: str) -> None:
    if other.problem and not base.problem:
        base.problem, base.whole = (
            f"in {name}: {other.problem}",
            base.whole and other.whole,
        )
    base.archives += other.archives
    for suffix, header, data in other.blocks:
        if suffix == STATUS:
            status = _status(data)
            if "reason" in status:
                base.notes.append(status)
            if status.get("status") == "filtered":
                base.filtered = base.filtered or str(status.get("reason", ""))
            continue
        if suffix in base.members:
            base.blocks = [b for b in base.blocks if b[0] != suffix]
        if suffix:
            base.members[suffix] = data
        base.blocks.append((suffix, header, data))


def _status(data: bytes) -> dict[str, Any]:
    import json

    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def read(location: str) -> Iterator[Sample]:
    """The samples of one shard or join, in order; those with a ``problem`` included."""
    for sample in read_all(location):
        if isinstance(sample, Sample) and sample.key and sample.filtered is None:
            yield sample


def scan(location: str) -> Iterator[str]:
    """The keys of one shard or join (of its first archive), from its headers alone."""
    first = locations.parts(location)[0]
    with reading.open_read(first, skipping=True) as stream:
        last = ""
        for member in tar.members(stream, data=False):
            if isinstance(member, tar.ArchiveEnd):
                last = ""
                continue
            split = keys.split_name(member.name)
            if split and split[0] != last:
                last = split[0]
                yield last


def contents(location: str) -> tuple[set[str], set[str]]:
    """(keys, suffixes of members) of one shard, from its headers alone."""
    with reading.open_read(location, skipping=True) as stream:
        members = (m for m in tar.members(stream, data=False) if isinstance(m, tar.TarMember))
        split = [found for m in members if (found := keys.split_name(m.name))]
    return {key for key, _ in split}, {suffix for _, suffix in split}


class Writer:
    """Writes samples to an open stream as a tar archive."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.bytes = 0

    def passed(self, sample: Sample, new: dict[str, bytes]) -> None:
        """A sample as it was read, with ``new`` members after (or in place of) its own."""
        for suffix, header, data in sample.blocks:
            if suffix not in new:
                self._put(header, data)
        self.added(sample.key, new)

    def added(self, key: str, new: dict[str, bytes]) -> None:
        """Only these members, under ``key``."""
        for suffix, data in new.items():
            self._put(tar.header(f"{key}.{suffix}", len(data)), data)

    def _put(self, header: bytes, data: bytes) -> None:
        self.stream.write(header)
        self.stream.write(data)
        pad = tar.padding(len(data))
        if pad:
            self.stream.write(pad)
        self.bytes += len(header) + len(data) + len(pad)

    def close(self) -> None:
        """End the archive (the stream itself stays open)."""
        self.stream.write(tar.END_OF_ARCHIVE)
        self.bytes += len(tar.END_OF_ARCHIVE)


def write(path: str | Path, samples: Iterable[tuple[str, dict[str, bytes]]]) -> None:
    """Publish one shard whole from (key, {suffix: bytes}) pairs."""
    with publishing.publish(str(path)) as stream:
        writer = Writer(stream)
        for key, members in samples:
            writer.added(key, members)
        writer.close()

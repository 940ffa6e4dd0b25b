"""Reference pictures: files, samples by key or subject, other pictures of the same person."""

from __future__ import annotations

import dataclasses
import tempfile
import zlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import records, shards
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import contents
from socialcli.generation.options import QUERIES
from socialcli.generation.requests import Wanted
from socialcli.generation.sample_requests import caption
from socialcli.shards import Sample
from socialcli.validation import members

if TYPE_CHECKING:
    import numpy
    from PIL.Image import Image

    from socialcli.shards.index import Index


@dataclass(frozen=True)
class Reference:
    """A reference picture, ready for a method: upright RGB, its words and its weight.

    ``mask`` is (height, width) bool of the same picture where a mask was asked for.
    """

    key: str
    image: Image
    query: str
    scale: float | None
    mask: numpy.ndarray | None = None


@dataclass(frozen=True)
class Subject:
    """One subject of a sample, as its caption names it."""

    noun: str
    phrase: str
    identity: str | None
    entity: int


def subjects(sample: Sample) -> list[Subject]:
    """The subjects of a sample in the order its caption names them: entities that have a box or a
    person, all of them where none has.

    Raises:
        SampleFailed: no entities.json, or one that cannot be read.
    """
    entities = sample.record(records.Entities).entities
    boxes = sample.record(records.Boxes).boxes if sample.has("boxes.json") else []
    people = sample.record(records.People).people if sample.has("people.json") else []
    entity_of = {box.id: box.entity for box in boxes}
    names: dict[int | None, str | None] = {}
    for p in people:  # of several whom one phrase names the last one who has a name
        entity = p.entity if p.entity is not None else entity_of.get(p.box or 0)
        names[entity] = p.identity or names.get(entity)
    shown = {box.entity for box in boxes} | set(names)
    chosen = [e for e in entities if e.id in shown] or entities
    return [Subject(e.head.strip(), e.text.strip(), names.get(e.id), e.id) for e in chosen]


def words(sample: Sample, query: str, number: int = 0) -> str:
    """A query in words: what ``nouns``, ``phrases`` and ``caption`` mean of a sample.

    ``nouns`` are the subjects' head nouns with commas between them, as SSR-Encoder is trained;
    a subject's class where its data set names one.

    Raises:
        SampleFailed: the sample does not say.
    """
    if query not in QUERIES:
        return query
    if query == "caption":
        return caption(sample, number)
    if sample.has("entities.json"):
        named_subjects = subjects(sample)
        named = [s.noun if query == "nouns" else s.phrase for s in named_subjects]
        text = ", ".join(dict.fromkeys(name for name in named if name))
        if text:
            return text
    extra = sample.record(records.Meta).extra if sample.has("meta.json") else {}
    if isinstance(extra.get("class"), str):
        return str(extra["class"])
    if sample.has("entities.json"):
        raise SampleFailed("entities.json: the entity list is empty; give --query WORDS")
    why = sample.lacking("entities.json", instead="or give --query WORDS")
    raise SampleFailed(f"nothing names its subjects: {why}")


@dataclass
class Library:
    """The samples of ``--references``, found by key, by subject or by who is in them."""

    index: Index
    keys: dict[str, int]
    people: dict[str, list[str]] = field(default_factory=dict)  # identity -> keys
    topics: dict[str, list[str]] = field(default_factory=dict)  # subject -> keys
    unread: dict[str, str] = field(default_factory=dict)  # key -> why nobody knows who is in it
    folder: Any = None  # of copies, as long as this lives

    def sample(self, key: str) -> Sample:
        """One of them.

        Raises:
            SampleFailed: it is malformed.
        """
        sample = self.index.read(self.keys[key])
        members.refuse_malformed(sample)
        return sample


@cache
def library(locations: tuple[str, ...]) -> Library:
    """The reference shards, indexed once a process.

    Raises:
        UsageError: no such shards. SocialcliError: they cannot be read.
    """
    from socialcli.shards import index

    copies = tempfile.TemporaryDirectory(prefix="socialcli-references-")
    whole = index.build(shards.expand(list(locations)), Path(copies.name))
    keys = _distinct(whole)
    opened = Library(whole, keys, folder=copies)
    wanted = ("people.json", "meta.json")
    # The same index without the pictures: who is in a sample is all that is read of it.
    light = dataclasses.replace(
        whole,
        entries=[
            dataclasses.replace(
                entry,
                parts=[(f, {s: v for s, v in m.items() if s in wanted}) for f, m in entry.parts],
            )
            for entry in whole.entries
        ],
    )
    for number, entry in enumerate(light.entries):
        sample = light.read(number)
        try:
            if sample.has("people.json"):
                for person in sample.record(records.People).people:
                    if person.identity is not None:
                        opened.people.setdefault(person.identity, []).append(entry.key)
            topic = _topic(sample)
        except SampleFailed as error:
            # It is of no use as somebody's picture; named by its key it fails with why.
            opened.unread[entry.key] = str(error)
            continue
        opened.topics.setdefault(topic, []).append(entry.key)
    return opened


def _distinct(index: Index) -> dict[str, int]:
    """Key -> number of its sample.

    Raises:
        UsageError: one key in two shards with two pictures, so that nobody knows which is meant.
    """
    keys: dict[str, int] = {}
    for number, entry in enumerate(index.entries):
        other, keys[entry.key] = keys.get(entry.key), number
        if other is not None:
            one, two = (index.read(n) for n in (other, number))
            if _stored(one) != _stored(two):
                places = " and in ".join(sample.archives[0] for sample in (one, two))
                raise UsageError(
                    f"--references: the key '{entry.key}' is in {places} with another picture; "
                    "name those shards apart, or import them under different keys"
                )
    return keys


def _stored(sample: Sample) -> bytes:
    """The picture's bytes, none where it has no picture."""
    return next((sample.members[s] for s in records.IMAGE_SUFFIXES if sample.has(s)), b"")


def _topic(sample: Sample) -> str:
    """What a sample shows, as its importer wrote it; else its key's folder."""
    extra = sample.record(records.Meta).extra if sample.has("meta.json") else {}
    for name in ("subject", "concept"):
        if isinstance(extra.get(name), str):
            return str(extra[name])
    return sample.key.rpartition("/")[0] or sample.key


def find(wanted: Wanted, locations: tuple[str, ...], key: str, prompt: str) -> Reference:
    """The picture that is asked for.

    Args:
        locations: of ``--references``.
        key: of the picture to be made: it decides which of several pictures is taken.
        prompt: what ``caption`` means where the reference is a file.

    Raises:
        SampleFailed: there is none, or it cannot be read.
    """
    if wanted.own is not None:
        return _of(wanted.own, wanted)
    if wanted.identity is not None:
        sample = _other(wanted, locations, key)
        return _of(sample, wanted)
    if file := contents.file_called(wanted.name, (wanted.beside, "")):
        query = prompt if wanted.query == "caption" else wanted.query or ""
        if query in QUERIES:
            raise SampleFailed(
                f"the reference {wanted.name} is a file: give the words that name its subject as "
                "--query, or in a column 'query'"
            )
        picture = _picture(file)
        seen = _mask_file(wanted, picture) if wanted.by_mask else None
        return Reference(file.name, picture, query, wanted.scale, seen)
    there = library(locations) if locations else None
    if there and wanted.name in there.keys:
        return _of(there.sample(wanted.name), wanted)
    if there and wanted.name in there.topics:
        return _of(there.sample(_pick(there.topics[wanted.name], key)), wanted)
    where = ", no file and no key or subject of --references" if locations else ": no such file"
    raise SampleFailed(f"the reference picture '{wanted.name}' is not there{where}{_unread(there)}")


def _unread(there: Library | None) -> str:
    """What a message says of references whose subject or people cannot be read."""
    if there is None or not there.unread:
        return ""
    key, reason = next(iter(sorted(there.unread.items())))
    more = f" and {len(there.unread) - 1} more" if len(there.unread) > 1 else ""
    return f"; who is in {key}{more} cannot be read ({reason})"


def _of(sample: Sample, wanted: Wanted) -> Reference:
    from socialcli.vision import images

    query = wanted.query or ("caption" if wanted.by_mask else "")
    if query and wanted.own is None:
        query = words(sample, query)
    picture = images.decode_to_look(sample.picture())
    seen = None
    if wanted.by_mask:
        seen = _mask_file(wanted, picture) if wanted.mask else _mask(sample, wanted, picture)
    return Reference(sample.key, picture, query, wanted.scale, seen)


def _mask_file(wanted: Wanted, picture: Image) -> numpy.ndarray:
    """The mask in a picture file, looked for as the reference is."""
    import numpy

    from socialcli.vision import images

    if not wanted.mask:
        raise SampleFailed(
            f"the reference {wanted.name} has no mask: give --mask FILE, or a column 'mask'"
        )
    file = contents.file_called(wanted.mask, (wanted.beside, ""))
    if file is None:
        raise SampleFailed(f"the mask '{wanted.mask}' is not there: no such file")
    seen = numpy.asarray(images.decode_file(file).convert("L")) > 127
    return _fitting(seen, picture, wanted.mask)


def _mask(sample: Sample, wanted: Wanted, picture: Image) -> numpy.ndarray:
    """The union of the masks of whom is wanted in a sample: a person, an entity, or all subjects
    (all masks where none is linked to an entity)."""
    import numpy

    from socialcli.vision import masks

    chosen = sample.record(records.Masks).masks
    if wanted.identity is not None:
        people = sample.record(records.People).people
        who = [p for p in people if p.identity == wanted.identity]
        entities = {p.entity for p in who} - {None}
        boxes = {p.box for p in who} - {None}
        chosen = [m for m in chosen if m.entity in entities or m.box in boxes]
    elif wanted.entity is not None:
        chosen = [m for m in chosen if m.entity == wanted.entity]
    else:
        chosen = [m for m in chosen if m.entity is not None] or chosen
    if not chosen:
        raise SampleFailed("masks.json: no mask of the subject")
    seen = numpy.any([_fitting(masks.decode(m.rle), picture, "masks.json") for m in chosen], axis=0)
    return _fitting(seen, picture, "masks.json")


def _fitting(seen: numpy.ndarray, picture: Image, name: str) -> numpy.ndarray:
    if seen.shape != (picture.height, picture.width):
        raise SampleFailed(
            f"{name}: a mask of {seen.shape[1]}x{seen.shape[0]} pixels for a picture of "
            f"{picture.width}x{picture.height}"
        )
    return seen


def _other(wanted: Wanted, locations: tuple[str, ...], key: str) -> Sample:
    there = library(locations)
    assert wanted.identity is not None
    keys = [k for k in there.people.get(wanted.identity, []) if k != wanted.name]
    if not keys:
        raise SampleFailed(
            f"no other picture of '{wanted.identity}' among the references{_unread(there)}"
        )
    return there.sample(_pick(keys, key))


def _pick(keys: list[str], key: str) -> str:
    """One of several, the same for the same key whatever the order of the shards."""
    return sorted(keys)[zlib.crc32(key.encode("utf-8", "surrogateescape")) % len(keys)]


def _picture(file: Path) -> Image:
    """A reference that is a file."""
    from socialcli.vision import images

    if shards.is_tar(file.name):
        raise SampleFailed(
            f"the reference {file} is a shard: give it as --references, and the key or subject of "
            "one of its samples as --reference"
        )
    try:
        picture = images.decode_file(file)
        images.refuse_sliver(picture)
    except SampleFailed as error:
        named = str(error) if str(file) in str(error) else f"{file}: {error}"
        raise SampleFailed(f"the reference {named}") from None
    return picture

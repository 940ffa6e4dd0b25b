"""Generated pictures and their references, read and joined before any model is loaded.

Everything is read once here, but no picture is decoded: what stays in memory of a sample is its
key, the fingerprint of its picture, its prompt and the few records that metrics ask for.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from socialcli import records, shards
from socialcli.errors import SampleFailed, SocialcliError, UsageError
from socialcli.shards import Damage, Sample
from socialcli.validation import members as door

RECORD = "generated.json"


@dataclass
class Known:
    """One sample as far as it is kept in memory."""

    key: str
    location: str
    digest: str  # of the picture's bytes
    info: dict[str, Any] = field(default_factory=dict)  # generated.json
    records: dict[str, Any] = field(default_factory=dict)
    subject: str = ""  # of a reference: which subject it shows

    @property
    def source(self) -> str | None:
        value = self.info.get("source_key")
        return value if isinstance(value, str) else None

    @property
    def references(self) -> list[tuple[str, str]]:
        """(key, query) of each reference picture it was made with."""
        given = self.info.get("references")
        entries = [r for r in given if isinstance(r, dict)] if isinstance(given, list) else []
        return [(str(r.get("key", "")), str(r.get("query", ""))) for r in entries if r.get("key")]

    @property
    def pseudo_words(self) -> list[str]:
        """The learned words of its prompt, each once, without their brackets."""
        prompt = str(self.info.get("prompt") or "")
        return list(dict.fromkeys(re.findall(r"<([^<>\s]+)>", prompt)))

    @property
    def prompt(self) -> str:
        """What the picture should show, in plain words."""
        return str(self.info.get("plain_prompt") or self.info.get("prompt") or "")


@dataclass
class Lost:
    """A sample or a feature of one that could not be used."""

    key: str
    location: str
    reason: str


def locations(inputs: list[str]) -> list[str]:
    """Shards, and folders of pictures with their JSON files, one location each.

    Raises:
        UsageError: nothing there, or standard input, which cannot be read twice.
    """
    archives = []
    for given in inputs:
        if given == "-":
            raise UsageError("score reads its inputs more than once: give files, not -")
        folder = Path(given)
        if folder.is_dir() and not any(shards.is_tar(p.name) for p in folder.iterdir()):
            if not _pictures(folder):
                raise UsageError(f"{given}: neither shards nor pictures in this folder")
            archives.append(given)
        else:
            archives += shards.expand([given])
    return archives


def _pictures(folder: Path) -> list[Path]:
    suffixes = tuple("." + s for s in records.IMAGE_SUFFIXES)
    found = sorted(p for p in folder.rglob("*") if p.name.lower().endswith(suffixes))
    return [path for path in found if not _of_a_page(path)]


def _of_a_page(path: Path) -> bool:
    """Whether it is one of the small pictures that a score made for its page."""
    return (
        re.fullmatch(r"pictures/[0-9a-f]{16}\.jpg", "/".join(path.parts[-2:])) is not None
        and (path.parents[1] / "score.json").is_file()
    )


def read(location: str) -> Iterator[Sample | Damage]:
    """The samples of a shard or of a folder of pictures (``a.png`` with ``a.generated.json`` or
    ``a.json`` beside it)."""
    folder = Path(location)
    if not folder.is_dir():
        for item in shards.read_all(location):
            if isinstance(item, Damage) or (item.key and item.filtered is None):
                yield item
        return
    for path in _pictures(folder):
        relative = path.relative_to(folder).as_posix()
        stem, _, suffix = relative.rpartition(".")
        sample = Sample(stem, {suffix.lower(): path.read_bytes()})
        for name in (f"{stem}.{RECORD}", f"{stem}.json"):
            if (folder / name).is_file():
                sample.members[RECORD] = (folder / name).read_bytes()
                break
        yield sample


def digest(data: bytes) -> str:
    """The fingerprint of a picture's bytes or of a text, 32 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:32]


def generated(
    archives: list[str], limit: int | None, real: bool
) -> tuple[list[Known], list[Lost], list[Lost]]:
    """Generated samples in order, those that cannot be used, and the pictures of folders that
    nothing is said about, such as contact sheets.

    Args:
        limit: samples at most; what nothing is said about is none.
        real: take the pictures for real ones that stand in for generated ones: the prompt is their
            caption and their source is themselves.

    Raises:
        UsageError: no sample has a generated.json (or there is no sample).
    """
    samples: list[Known] = []
    lost: list[Lost] = []
    bare: list[Lost] = []
    count = 0
    for location, item in _items(archives):
        if isinstance(item, Damage):
            lost.append(Lost("", location, item.reason))
            continue
        if not real and not item.has(RECORD) and Path(location).is_dir():
            bare.append(Lost(item.key, location, f"no {RECORD} or .json beside it; see --real"))
            continue
        if count == limit:
            break
        count += 1
        try:
            picture = _picture(item)
            info = _as_generated(item) if real else _info(item)
            samples.append(Known(item.key, location, digest(picture), info))
        except SampleFailed as error:
            lost.append(Lost(item.key, location, str(error)))
    if not samples:
        lost = [*lost, *bare]
        if not lost:
            raise UsageError(f"{', '.join(archives)}: no samples")
        raise UsageError(f"{lost[0].location}: {lost[0].key}: {lost[0].reason}")
    return samples, lost, bare


def _items(archives: list[str]) -> Iterator[tuple[str, Sample | Damage]]:
    for location in archives:
        for item in read(location):
            yield location, item


def _picture(sample: Sample) -> bytes:
    if sample.problem:
        raise SampleFailed(sample.problem)
    # What a picture was made with may be noted by other programs, in few words: see `_info`.
    door.refuse_malformed(sample, remade=(RECORD,))
    return sample.picture()


def _info(sample: Sample) -> dict[str, Any]:
    if not sample.has(RECORD):
        raise SampleFailed(
            f"no {RECORD}: these are not pictures of `socialcli generate`; to score real pictures "
            "give --real"
        )
    try:
        body = json.loads(sample.members[RECORD])
    except (ValueError, RecursionError) as error:
        raise SampleFailed(f"{RECORD}: not valid JSON ({error})") from None
    if not isinstance(body, dict):
        raise SampleFailed(f"{RECORD}: expected a JSON object")
    return body


def _as_generated(sample: Sample) -> dict[str, Any]:
    text = sample.record(records.Caption).text if sample.has("caption.json") else ""
    return {"prompt": text, "source_key": sample.key, "method": "real"}


def reference(
    archives: list[str],
    wanted: set[str] | None,
    members: set[str],
    estimates: frozenset[str] = frozenset(),
) -> tuple[dict[str, Known], list[Lost]]:
    """Every reference sample by key, with the records of those that are wanted.

    Args:
        wanted: keys whose ``members`` are parsed (the others only have fingerprint and subject);
            None: all.
        estimates: of "gaze" and "interaction", those of which a model's estimates are believed
            beside annotations (`socialcli.records.sources`); other estimates are left out.

    Raises:
        SocialcliError: one key in two shards with another picture, or the same picture with other
            records, so that nobody knows which one is meant.
    """
    samples: dict[str, Known] = {}
    lost: list[Lost] = []
    for location, item in _items(archives):
        if isinstance(item, Damage):
            lost.append(Lost("", location, item.reason))
            continue
        try:
            known = Known(item.key, location, digest(_picture(item)), subject=_subject(item))
            if wanted is None or item.key in wanted:
                for suffix in members & set(item.members):
                    kind = records.MEMBERS[suffix]
                    record: Any = records.load(kind, item.members[suffix], suffix)
                    known.records[suffix] = _believed(record, estimates)
        except SampleFailed as error:
            lost.append(Lost(item.key, location, str(error)))
            continue
        other = samples.get(item.key)
        samples[item.key] = known if other is None else _both(other, known)
    return samples, lost


def _both(first: Known, second: Known) -> Known:
    """A reference that is in two shards, with the records of both.

    Raises:
        SocialcliError: they do not say the same.
    """
    by_folder = _folder(first.key)
    subjects = {one.subject for one in (first, second)} - {by_folder}
    differing = [
        suffix
        for suffix in first.records.keys() & second.records.keys()
        if first.records[suffix] != second.records[suffix]
    ]
    if first.digest != second.digest:
        what = "picture"
    elif differing or len(subjects) > 1:
        what = min(differing, default="subject")
    else:
        records_of_both = {**first.records, **second.records}
        subject = next(iter(subjects), by_folder)
        return replace(first, records=records_of_both, subject=subject)
    raise SocialcliError(
        f"the reference key '{first.key}' is in {first.location} and in {second.location} with "
        f"another {what}; score them apart, or merge them under different keys"
    )


def _believed(record: Any, estimates: frozenset[str]) -> Any:
    """A record of a reference without the gazes or interactions that a model estimated."""
    if isinstance(record, records.People) and "gaze" not in estimates:
        for person in record.people:
            if person.gaze is not None and not records.sources.is_annotation(person.gaze):
                person.gaze = None
    if isinstance(record, records.Interactions) and "interaction" not in estimates:
        acts = [one for one in record.interactions if records.sources.is_annotation(one)]
        return records.Interactions(acts, record.model)
    return record


def _subject(sample: Sample) -> str:
    """Which subject a reference shows: as its importer wrote it, else its key's folder."""
    extra: dict[str, Any] = {}
    if sample.has("meta.json"):
        extra = sample.record(records.Meta).extra
    for name in ("subject", "concept"):
        if isinstance(extra.get(name), str):
            return str(extra[name])
    return _folder(sample.key)


def _folder(key: str) -> str:
    return key.rpartition("/")[0] or key

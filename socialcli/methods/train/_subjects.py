"""Which samples show which subject, where it is in them, and what it is called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli.config import option
from socialcli.errors import SampleFailed, UsageError
from socialcli.training import fields, groups
from socialcli.training.options import TrainingOptions

if TYPE_CHECKING:
    import numpy

    from socialcli.shards import Sample
    from socialcli.shards.index import Index


@dataclass
class SubjectOptions(TrainingOptions):
    """Which subjects the samples show, and how their pictures are augmented."""

    subject: list[str] = option(
        [], "A subject as NAME (of a person, animal or thing that the records name) or NAME=GLOB "
        "of its samples' keys. Repeatable; default: by --by."
    )  # fmt: skip
    by: str = option(
        "auto", "What tells subjects apart: a field of meta.json's extra (subject, concept), "
        "folder (of the key), none; auto: the first of these that there is."
    )  # fmt: skip
    class_word: list[str] = option(
        [], "What a subject is: WORD, or NAME=WORD of one subject. Repeatable; default: the "
        "samples' class."
    )  # fmt: skip
    size: int = fields.size()
    crop: str = fields.crop("centre", " of a whole picture")
    flip: float = fields.mirror()
    augment: float = option(
        0.0, "Probability that the subject is cut out by its mask, scaled, and placed on a "
        "background.", at_least=0, at_most=1,
    )  # fmt: skip
    backgrounds: str = option("world", "Folder of background pictures; world: rendered places.")
    background_count: int = option(100, "How many of them are used.", at_least=1)


@dataclass
class Subject:
    """One subject of a run.

    Attributes:
        name: as the data calls it. word: its class, in ordinary words.
        identifier: what stands before the class in prompts, "" where nothing does.
        samples: numbers in the index.
    """

    name: str
    word: str = ""
    identifier: str = ""
    samples: list[int] = field(default_factory=list)

    @property
    def phrase(self) -> str:
        """As prompts write it: "sks dog"."""
        return f"{self.identifier} {self.word}".strip()


def find(config: Any, index: Index) -> list[Subject]:
    """The subjects of a run, by name, with their classes.

    Args:
        config: `SubjectOptions`.

    Raises:
        UsageError: no samples, no class.
    """
    if config.subject:
        subjects = _named(config, index)
    else:
        named = groups.grouped(index, config.by, "subject")
        subjects = [Subject(name, samples=samples) for name, samples in named.items()]
    names = [s.name for s in subjects]
    given = groups.words("--class-word", config.class_word, names, "subjects", "NAME=WORD")
    for subject in subjects:
        subject.word = given.get(subject.name) or given.get("") or _class(subject, index)
        if not subject.word:
            raise UsageError(
                f"{subject.name}: the samples have no class; say what it is: --class-word "
                f"'{subject.name}=dog'"
            )
    return subjects


def name_them(subjects: list[Subject], given: Sequence[str], usual: Sequence[str]) -> None:
    """Give each subject an identifier of its own.

    Args:
        given: ``WORD`` for the subjects in their order, or ``NAME=WORD``; none: ``usual``.

    Raises:
        UsageError: more subjects than identifiers, one for nobody, or the same for two.
    """
    names = [s.name for s in subjects]
    own = {}
    queue = []
    for one in given or usual:
        name, equals, word = one.partition("=")
        if equals and name not in names:
            raise UsageError(f"--identifier {one}: the subjects are {', '.join(names)}")
        if not (word if equals else one).strip():
            raise UsageError(f"--identifier '{one}': expected WORD or NAME=WORD")
        if equals:
            own[name] = word.strip()
        else:
            queue.append(one.strip())
    lacking = [s for s in subjects if s.name not in own]
    if len(lacking) > len(queue):
        raise UsageError(
            f"{len(subjects)} subjects ({', '.join(names)[:120]}) but {len(own) + len(queue)} "
            "identifiers: give --identifier WORD once for each"
        )
    if given and len(queue) > len(lacking):
        raise UsageError(
            f"{len(own) + len(queue)} identifiers but {len(subjects)} subjects "
            f"({', '.join(names)[:120]})"
        )
    for subject, word in zip(lacking, queue, strict=False):
        own[subject.name] = word
    taken: dict[str, str] = {}
    for subject in subjects:
        subject.identifier = own[subject.name]
        other = taken.setdefault(subject.identifier.lower(), subject.name)
        if other != subject.name:
            raise UsageError(
                f"{other} and {subject.name} have one identifier, {subject.identifier}: give each "
                "its own"
            )


def of_samples(subjects: list[Subject]) -> dict[int, list[int]]:
    """Number of a sample in the index -> numbers of the subjects that it shows."""
    of: dict[int, list[int]] = {}
    for number, subject in enumerate(subjects):
        for sample in subject.samples:
            of.setdefault(sample, []).append(number)
    return of


def mask(sample: Sample, subject: Subject) -> numpy.ndarray | None:
    """(H, W) bool: where a sample shows a subject; None where no mask says so.

    The masks of the person or thing that the records call by the subject's name; else those of
    boxes labelled with its class; else all masks, as of a picture that shows nothing but it.
    """
    import numpy

    from socialcli import records
    from socialcli.vision import masks as rle

    if not sample.has("masks.json"):
        return None
    every = sample.record(records.Masks).masks
    numbers = _instances(sample, subject.name) or _labelled(sample, subject.word)
    chosen = [m for m in every if m.box in numbers] if numbers else every
    shown = [rle.decode(m.rle) for m in chosen]
    if not shown or any(m.shape != shown[0].shape for m in shown):
        return None
    whole = numpy.logical_or.reduce(shown)
    return whole if whole.any() else None


def file_name(text: str) -> str:
    """A name for files: letters, digits, dashes and dots of a text."""
    return re.sub(r"[^\w.-]+", "-", text.strip("<>")).strip("-.") or "subject"


def _named(config: Any, index: Index) -> list[Subject]:
    """``--subject NAME`` and ``--subject NAME=GLOB``."""
    subjects: dict[str, Subject] = {}
    shown: dict[int, set[str]] = {}
    for one in config.subject:
        name, equals, pattern = one.partition("=")
        if not name or (equals and not pattern):
            raise UsageError(f"--subject {one}: expected NAME or NAME=GLOB, as 'rex=dogs/rex*'")
        if equals:
            numbers = groups.matching(index, pattern)
        else:
            shown = shown or {n: _names(index, n) for n in range(len(index))}
            numbers = [n for n, names in shown.items() if name in names]
        if not numbers:
            what = "no key matches" if equals else "no sample shows it"
            raise UsageError(f"--subject {one}: {what}; the first is '{index.entries[0].key}'")
        subject = subjects.setdefault(name, Subject(name))
        subject.samples = sorted({*subject.samples, *numbers})
    return list(subjects.values())


def _names(index: Index, number: int) -> set[str]:
    """What a sample's records call those whom it shows."""
    from socialcli import records

    sample = index.read(number)
    extra = groups.extra(sample)
    names = {extra[f] for f in groups.FIELDS if isinstance(extra.get(f), str)}
    subjects = extra.get("subjects")
    if isinstance(subjects, dict):
        names |= {name for name in subjects.values() if isinstance(name, str)}
    if sample.has("people.json"):
        try:
            people = sample.record(records.People).people
        except SampleFailed:
            return names
        names |= {p.identity for p in people if p.identity}
    return names


def _class(subject: Subject, index: Index) -> str:
    """The class that the samples state: in meta.extra, or as the label of the subject's box."""
    from socialcli import records

    for number in subject.samples:
        sample = index.read(number)
        stated = groups.extra(sample).get("class")
        if isinstance(stated, str) and stated.strip():
            return stated.strip()
        try:
            numbers = _instances(sample, subject.name)
            boxes = sample.record(records.Boxes).boxes if sample.has("boxes.json") else []
        except SampleFailed:  # it is told when the sample is to be learnt from
            continue
        labels = [b.label for b in boxes if b.id in numbers and b.label]
        if labels:
            return labels[0]
    return ""


def _instances(sample: Sample, name: str) -> set[int]:
    """Box ids of the person or thing that the records call by a name."""
    from socialcli import records

    numbers: set[int] = set()
    if sample.has("people.json"):
        people = sample.record(records.People).people
        numbers |= {p.box for p in people if p.identity == name and p.box is not None}
    subjects = groups.extra(sample).get("subjects")
    if isinstance(subjects, dict):
        numbers |= {
            int(n) for n, called in subjects.items()
            if called == name and re.fullmatch("[0-9]{1,10}", n)
        }  # fmt: skip
    return numbers


def _labelled(sample: Sample, word: str) -> set[int]:
    from socialcli import records

    if not sample.has("boxes.json"):
        return set()
    boxes = sample.record(records.Boxes).boxes
    return {b.id for b in boxes if b.label.lower() == word.lower()}

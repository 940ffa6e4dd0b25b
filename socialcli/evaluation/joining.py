"""Which reference pictures each generated picture is compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from socialcli import records, shards
from socialcli.errors import UsageError
from socialcli.evaluation.cases import Picture
from socialcli.evaluation.metrics import Needs
from socialcli.evaluation.samples import Known, Lost
from socialcli.vision import layouts

# Records that help where they are there, whatever the metrics ask for.
HELPFUL = {"boxes.json", "entities.json", "layout.json", "meta.json"}
Boxes = list[list[float]]


@dataclass
class Joined:
    """One generated sample with its references and, where these are given, the pictures of its
    subject that were trained on: (sample, boxes of its subject) each."""

    generated: Known
    source: Known | None = None
    subjects: list[list[tuple[Known, Boxes]]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)  # names of its subjects
    training: list[tuple[Known, Boxes]] = field(default_factory=list)

    @property
    def real(self) -> Picture | None:
        """The picture it was generated from, with its records."""
        if self.source is None:
            return None
        return Picture(self.source.key, records=self.source.records)

    @property
    def unit(self) -> str:
        """What it was made from: its source, else its prompt (in plain words, so that methods
        with and without pseudo-words pair), else only itself."""
        return self.generated.source or self.generated.prompt or self.generated.key


def wanted(samples: list[Known], needs: dict[str, Needs]) -> set[str] | None:
    """Keys of the reference samples whose records are needed; None: all of them.

    Those that are named (a file's name stands for its key); all where a metric looks at what is cut
    out of reference pictures, since a subject's own pictures are named nowhere.
    """
    if any(name.endswith("-subjects") for need in needs.values() for name in need.references):
        return None
    named = {sample.source for sample in samples if sample.source}
    given = {key for sample in samples for key, _ in sample.references}
    return named | given | {shards.safe_key(key) for key in given}


def _named(key: str, references: dict[str, Known]) -> Known | None:
    return references.get(key) or references.get(shards.safe_key(key))


def join(
    samples: list[Known],
    references: dict[str, Known],
    needs: dict[str, Needs],
    against: str,
    where: tuple[str, str],
) -> tuple[list[Joined], list[Lost]]:
    """Each generated sample with what it is compared with.

    Args:
        samples: generated ones. references: reference samples by key; empty without any.
        needs: of each metric. against: source, references, subject or auto.
        where: how the generated and the reference shards are called in messages.

    Returns:
        Samples that can be scored; those whose references are not there are lost.

    Raises:
        UsageError: a metric needs references and there are none, no key joins, or no source has a
            member that a metric needs.
    """
    paired = [name for name, need in needs.items() if need.paired]
    anything = [name for name, need in needs.items() if need.paired or need.everything]
    if anything and not references:
        raise UsageError(
            f"{', '.join(anything)}: compared with reference pictures: give --reference SHARDS"
        )
    if not paired:
        return [Joined(sample) for sample in samples], []
    by_subject: dict[str, list[Known]] = {}
    for one in references.values():
        by_subject.setdefault(one.subject, []).append(one)
    joined: list[Joined] = []
    lost: list[Lost] = []
    for sample in samples:
        paired_up = _with_references(sample, references, by_subject, against)
        if isinstance(paired_up, Joined):
            joined.append(paired_up)
        else:
            lost.append(Lost(sample.key, sample.location, paired_up))
    if not joined:
        raise UsageError(
            f"no picture of {where[0]} joins with {where[1]}: first {lost[0].key}: "
            f"{lost[0].reason}; the reference has e.g. '{next(iter(references))}'"
        )
    _check_members(joined, needs, where[1])
    return joined, lost


def _with_references(
    sample: Known, references: dict[str, Known], by_subject: dict[str, list[Known]], against: str
) -> Joined | str:
    """A sample with what it is compared with, or why there is nothing."""
    queries = _queries([query for _, query in sample.references])
    joined = Joined(sample, queries=queries)
    if sample.source:
        joined.source = references.get(sample.source)
        if joined.source is None:
            return f"its source '{sample.source}' is not in the reference shards"
        if against == "layout":
            return _of_layout(joined, joined.source, by_subject)
        if against in ("auto", "source"):
            joined.subjects = [[(joined.source, boxes_of(joined.source, queries))]]
            return joined
    for key, query in sample.references:
        reference = _named(key, references)
        if reference is None:
            return f"its reference '{key}' is not in the reference shards"
        same = [reference] if against == "references" else by_subject[reference.subject]
        joined.subjects.append([(one, boxes_of(one, _queries([query]))) for one in same])
    if not joined.subjects:  # a learned word is the word of the subject that it is called by
        words = {_word(name): own for name, own in by_subject.items()}
        called = [words[word] for word in sample.pseudo_words if word in words]
        joined.subjects = [[(one, boxes_of(one, [])) for one in own] for own in called]
    if not joined.subjects and joined.source is not None and against == "subject":
        own = by_subject[joined.source.subject]
        joined.subjects = [[(one, boxes_of(one, queries)) for one in own]]
    if joined.subjects or joined.source is not None:
        return joined
    return (
        "its generated.json names neither source_key nor references, and no <word> of its prompt "
        "is a subject of the reference"
    )


def _of_layout(joined: Joined, source: Known, by_subject: dict[str, list[Known]]) -> Joined | str:
    """Of each segment of the source's layout the pictures of its subject: those that are called so,
    else its own part of the source."""
    layout: records.Layout | None = source.records.get("layout.json")
    if layout is None:
        return f"its source '{source.key}' has no layout.json"
    segments = [segment for segment in layout.segments if not segment.background]
    words = [layouts.word(segment) for segment in segments]
    joined.queries = list(dict.fromkeys(words))
    for segment, word in zip(segments, words, strict=True):
        own = [one for one in by_subject.get(segment.subject or "", []) if one is not source]
        pictures = [(one, boxes_of(one, [word])) for one in own]
        box = list(map(float, layouts.box(dict(segment.rle))))
        joined.subjects.append(pictures or [(source, [box])])
    return joined


def _word(subject: str) -> str:
    """A subject's name as `invert` makes a pseudo-word of it, without brackets."""
    return re.sub(r"[^\w.-]+", "-", subject.strip("<>")).strip("-.")


def _queries(texts: list[str]) -> list[str]:
    """The things that queries name ("a man, a dog" names two), each once."""
    parts = [part.strip().lower() for text in texts for part in text.split(",")]
    return [part for part in dict.fromkeys(parts) if part]


def boxes_of(sample: Known, queries: list[str]) -> Boxes:
    """The boxes of the things that queries name; all boxes where nothing is named.

    A box is named by its label, or by its entity's phrase, head or lemma; a query names a label
    that is one of its words ("the old man" names "man").
    """
    boxes: records.Boxes | None = sample.records.get("boxes.json")
    if boxes is None:
        return []
    entities = sample.records.get("entities.json") or records.Entities()
    names = {e.id: {e.text.lower(), e.head.lower(), e.lemma.lower()} for e in entities.entities}

    def named(box: records.Box) -> bool:
        nouns = {box.label.lower(), *names.get(box.entity or 0, set())} - {""}
        return any(query in nouns or nouns & set(query.split()) for query in queries)

    return [list(map(float, b.xyxy)) for b in boxes.boxes if not queries or named(b)]


def _check_members(joined: list[Joined], needs: dict[str, Needs], where: str) -> None:
    for name, need in needs.items():
        for member in need.members:
            if any(j.source is not None and member in j.source.records for j in joined):
                continue
            mend = "annotate the reference shards first"
            first = next((j.source for j in joined if j.source is not None), None)
            if first is not None:
                archives = shards.parts(first.location)
                if why := shards.why_missing(archives, first.key, member):
                    mend = f"the first is {first.key}: {why}"
            raise UsageError(
                f"{name}: no sample of {where} that was generated from has {member}, which "
                f"{name} compares with; {mend}"
            )
        if need.speaks is not None and not any(
            need.speaks(j.real)
            for j in joined
            if j.real is not None and all(m in j.real.records for m in need.members)
        ):
            raise UsageError(f"{name}: nothing in {where} to compare with: {need.lacks}")

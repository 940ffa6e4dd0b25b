"""Sentences of interactions, each beside an exemplar of its interaction, as a shard.

``python -m socialcli.benchmarks.sentences EXEMPLARS FILE.csv -o OUT.tar``
(`pipelines/table-001.mk`; Inverted Interaction, section 5). Columns of the file:

    interaction   the exemplars' name of it: kneel-down
    first         the noun of the first subject, as the sentence has it: cat
    second        that of the second
    sentence      in ordinary words: A cat is kneeling down in front of a dog, holding its paw.
    verb          may be missing: kneel down; else the interaction's name

Each row becomes a sample. Its picture, boxes and skeletons are an exemplar's, taken in turn: what
ControlNet, InstructPix2Pix and InteractDiffusion start from. Its captions are the sentence, then "a
cat <kneel-down-1> <kneel-down> a dog <kneel-down-2>" with the words of `invert --method
interaction`, then "a cat <kneel-down> a dog" with one word.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from socialcli import records, shards
from socialcli.benchmarks import publishing
from socialcli.errors import SampleFailed, SocialcliError, UsageError
from socialcli.vision import boxes as geometry
from socialcli.vision.people import kind_of

COLUMNS = ("interaction", "first", "second", "sentence")
FIELDS = ("concept", "subject")  # of meta.json's extra, that may name an exemplar's interaction
ARTICLES = re.compile(r"\b(an?|the|another|one) $", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Sentence:
    """One row of the file, and where it stands."""

    interaction: str
    first: str
    second: str
    text: str
    verb: str
    where: str


def main(arguments: Sequence[str]) -> int:
    """Write the shard; what is wrong is one line on stderr."""
    parser = argparse.ArgumentParser("python -m socialcli.benchmarks.sentences")
    parser.add_argument("exemplars")
    parser.add_argument("file", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    publishing.check(parser, given.output)
    try:
        written = list(samples(exemplars(given.exemplars), read(given.file)))
        shards.write(given.output, written)
    except SocialcliError as error:
        print(f"sentences: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{given.output}: {len(written)} sentences")
    return 0


def read(file: Path) -> list[Sentence]:
    """The rows of a CSV file.

    Raises:
        UsageError: it cannot be read, lacks a column or a cell, or a sentence does not name its
            subjects.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read ({error})") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    lacking = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
    if lacking:
        raise UsageError(f"{file}: no column {', '.join(lacking)}")
    sentences = []
    for row in reader:
        where = f"{file}, line {reader.line_num}"
        cells = [(row[name] or "").strip() for name in COLUMNS]
        if not all(cells):
            raise UsageError(f"{where}: {COLUMNS[cells.index('')]} is empty")
        verb = (row.get("verb") or "").strip() or cells[0].replace("-", " ")
        interaction, first, second, text = cells
        one = Sentence(interaction, first, second, text, verb, where)
        _mentions(one)
        sentences.append(one)
    if not sentences:
        raise UsageError(f"{file}: no sentences in it")
    return sentences


def exemplars(place: str) -> dict[str, list[shards.Sample]]:
    """Interaction -> its exemplars, in the order of their keys.

    Raises:
        UsageError: none names an interaction.
    """
    by_interaction: dict[str, list[shards.Sample]] = {}
    for location in shards.expand([place]):
        for sample in shards.read(location):
            extra = sample.record(records.Meta).extra if sample.has("meta.json") else {}
            name = next((extra[f] for f in FIELDS if isinstance(extra.get(f), str)), None)
            if name is not None:
                by_interaction.setdefault(name, []).append(sample)
    if not by_interaction:
        fields = " and no ".join(f"extra.{field}" for field in FIELDS)
        raise UsageError(f"{place}: no meta.json names an interaction, there is no {fields}")
    return {
        name: sorted(some, key=lambda sample: sample.key) for name, some in by_interaction.items()
    }


def samples(
    known: dict[str, list[shards.Sample]], sentences: Sequence[Sentence]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, members) of each sentence.

    Raises:
        UsageError: an interaction without exemplars, or none of them with two people.
    """
    usable: dict[str, list[tuple[shards.Sample, tuple[records.Person, records.Person]]]] = {}
    turns: Counter[str] = Counter()  # how many sentences of an interaction came before
    for sentence in sentences:
        name = sentence.interaction
        if name not in known:
            some = ", ".join(sorted(known))
            raise UsageError(f"{sentence.where}: no exemplars of '{name}'; there are {some}")
        if name not in usable:
            usable[name] = _with_two(known[name])
            if not usable[name]:
                raise UsageError(f"{sentence.where}: no exemplar of '{name}' shows two people")
        turn = turns[name]
        turns[name] += 1
        exemplar, pair = usable[name][turn % len(usable[name])]
        yield shards.safe_key(f"{name}/{turn:03d}."), _members(sentence, exemplar, pair)


def _with_two(
    some: list[shards.Sample],
) -> list[tuple[shards.Sample, tuple[records.Person, records.Person]]]:
    pairs = []
    for sample in some:
        try:
            pairs.append((sample, _pair(sample)))
        except SampleFailed:
            continue
    return pairs


def _pair(sample: shards.Sample) -> tuple[records.Person, records.Person]:
    """The two people of an annotated interaction; else the two largest, the left one first.

    Raises:
        SampleFailed: fewer than two people with a box.
    """
    people = [p for p in sample.record(records.People).people if _box(sample, p) is not None]
    if len(people) < 2:
        raise SampleFailed("fewer than two people")
    by_id = {person.id: person for person in people}
    if sample.has("interactions.json"):
        for act in sample.record(records.Interactions).interactions:
            if act.subject in by_id and act.object_person in by_id:
                return by_id[act.subject], by_id[act.object_person]
    people.sort(key=lambda person: -geometry.area(_box(sample, person) or (0, 0, 0, 0)))
    first, second = sorted(people[:2], key=lambda p: sum((_box(sample, p) or (0,) * 4)[::2]))
    return first, second


def _box(sample: shards.Sample, person: records.Person) -> records.XYXY | None:
    boxes = sample.record(records.Boxes).boxes if sample.has("boxes.json") else []
    return next((box.xyxy for box in boxes if box.id == person.box), person.xyxy)


def _members(
    sentence: Sentence, exemplar: shards.Sample, pair: tuple[records.Person, records.Person]
) -> dict[str, bytes]:
    suffix = next(name for name in records.IMAGE_SUFFIXES if exemplar.has(name))
    extra = {"concept": sentence.interaction, "class": "interaction", "exemplar": exemplar.key}
    meta = dataclasses.replace(exemplar.record(records.Meta), extra=extra)
    nouns, size = (sentence.first, sentence.second), (meta.width, meta.height)
    boxes, people = [], []
    for number, (noun, person) in enumerate(zip(nouns, pair, strict=True), 1):
        xyxy = _box(exemplar, person)
        assert xyxy is not None
        boxes.append(records.Box(number, xyxy, noun, number, source=person.source))
        people.append(
            dataclasses.replace(person, id=number, box=number, entity=number, identity=None)
        )
    act = records.Interaction(
        1, sentence.verb, subject=1, subject_box=1, object=2, object_person=2,
        object_label=sentence.second,
    )  # fmt: skip
    word = f"<{sentence.interaction}>"
    first, second = (_with_article(noun) for noun in nouns)
    poses = [f"<{sentence.interaction}-{number}>" for number in (1, 2)]
    learned = [f"{first} {poses[0]} {word} {second} {poses[1]}", f"{first} {word} {second}"]
    by_suffix = {
        "meta.json": meta,
        "caption.json": records.Caption(sentence.text, learned, source="annotation"),
        "entities.json": records.Entities(_mentions(sentence)),
        "boxes.json": records.Boxes(*size, boxes),
        "people.json": records.People(*size, people),
        "interactions.json": records.Interactions([act]),
    }
    return {suffix: exemplar.picture()} | {n: records.dump(r) for n, r in by_suffix.items()}


def _mentions(sentence: Sentence) -> list[records.Entity]:
    """Where the sentence names its two subjects.

    Raises:
        UsageError: it does not.
    """
    mentions, after = [], 0
    for number, noun in enumerate((sentence.first, sentence.second), 1):
        match = re.compile(rf"\b{re.escape(noun)}\b", re.IGNORECASE).search(sentence.text, after)
        if match is None:
            raise UsageError(f"{sentence.where}: the sentence does not name '{noun}' in its order")
        article = ARTICLES.search(sentence.text[: match.start()])
        start, after = article.start() if article else match.start(), match.end()
        text = sentence.text[start:after]
        kind = "person" if kind_of(noun) == "person" else "animal"
        mentions.append(records.Entity(number, text, noun, noun.lower(), start, after, kind))
    return mentions


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

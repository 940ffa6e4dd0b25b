"""PDST: a folder per subject with pictures to train on, others to test with, and their captions.

Source: Towards More Accurate Personalized Image Generation, section 3. No layout of its files has
been published. What is read is this one, into which any such set is soon put:

    subjects.csv              subject,class[,live]   (may be missing: then nothing has a class)
    SUBJECT/train/NAME.jpg    pictures to train on (five in the paper)
    SUBJECT/test/NAME.jpg     pictures to test with (ten)
    SUBJECT/test/NAME.txt     captions of that picture, one a line (ten), {} for the subject
    SUBJECT/captions.json     or all captions of a subject: {"NAME.jpg": ["a {} on a sofa", ...]}
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from socialcli import shards, textfiles
from socialcli.config import MISSING, check_bounds, option
from socialcli.errors import SampleFailed, UsageError
from socialcli.importers import Entry, Importer, _picture

SUBJECTS_FILE = "subjects.csv"
CAPTIONS_FILE = "captions.json"
PARTS = ("train", "test")
_YES = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": None}


@dataclass
class Config:
    source: str = option(MISSING, "Folder with one folder for each subject: SUBJECT/train, /test.")
    part: str = option("all", "Pictures of which part: train, test, all.", choices=("all", *PARTS))
    check_pixels: bool = option(False, "Decode every picture fully, not only its header.")


@dataclass
class Subject:
    """What the text files say of one subject."""

    name: str
    category: str = ""  # the class: dog
    live: bool | None = None
    captions: dict[str, Any] = field(default_factory=dict)  # of captions.json, by file name


@dataclass
class Work:
    """One picture of one subject."""

    root: str
    path: str  # SUBJECT/test/NAME.jpg
    part: str
    subject: Subject


class PdstImporter(Importer):
    """See `Importer`."""

    config_type = Config

    def files(self, config: Config) -> list[Path]:
        """The list of subjects, and of the part that is tested with, all captions."""
        root = _picture.source_folder(config.source)
        files = [root / SUBJECTS_FILE]
        for entry in self.entries(config):
            work: Work = entry.work
            if work.part == "test":
                files += [root / work.subject.name / CAPTIONS_FILE, root / _beside(work)]
        return [file for file in dict.fromkeys(files) if file.is_file()]

    def entries(self, config: Config) -> Iterator[Entry]:
        """Every picture, by subject, the training pictures first, in natural order.

        Raises:
            UsageError: no folder has train and test in it, one subject lacks one of them, or a
                file of the whole set or a subject cannot be read.
        """
        check_bounds(Config, vars(config))
        root = _picture.source_folder(config.source)
        folders = [p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")]
        names = sorted((n for n in folders if _has_parts(root / n)), key=_picture.natural)
        if not names:
            raise UsageError(f"{root}: no SUBJECT/train and SUBJECT/test with pictures in here")
        half = sorted(n for n in folders if n not in names and any(map(_pictures(root / n), PARTS)))
        if half:
            raise UsageError(f"{root / half[0]}: it has only one of train and test with pictures")
        subjects = _subjects(root, names)
        parts = PARTS if config.part == "all" else (config.part,)
        works = [
            Work(str(root), f"{name}/{part}/{picture}", part, subjects[name])
            for name in names
            for part in parts
            for picture in _picture.pictures_in(root / name / part)
        ]
        keys = shards.distinct_keys([_picture.printable(work.path) for work in works])
        for key, work in zip(keys, works, strict=True):
            yield Entry(key, work)

    def build(self, config: Config, entry: Entry) -> dict[str, bytes]:
        """The picture and meta; subject, class and a test picture's prompts in ``meta.extra``.

        Raises:
            SampleFailed: the picture cannot be read, or a test picture's captions cannot be used.
        """
        work: Work = entry.work
        picture = _picture.read(Path(work.root), work.path, check_pixels=config.check_pixels)
        extra: dict[str, object] = {"subject": work.subject.name}
        if work.subject.category:
            extra["class"] = work.subject.category
        if work.subject.live is not None:
            extra["live"] = work.subject.live
        if work.part == "test":
            extra["prompts"] = _captions(work)
        return picture.members(split=work.part, extra=extra)


def _pictures(folder: Path) -> Any:
    """A function: part -> whether the subject's folder has pictures of it."""
    return lambda part: (folder / part).is_dir() and bool(_picture.pictures_in(folder / part))


def _has_parts(folder: Path) -> bool:
    return all(map(_pictures(folder), PARTS))


def _subjects(root: Path, names: list[str]) -> dict[str, Subject]:
    """Subject folders by name, with their classes and captions."""
    subjects = {name: Subject(name) for name in names}
    file = root / SUBJECTS_FILE
    if file.is_file():
        try:
            _read_classes(file, subjects)
        except csv.Error as error:
            raise UsageError(f"{file}: not a table ({error})") from None
        unknown = [subject.name for subject in subjects.values() if not subject.category]
        if unknown:
            raise UsageError(f"{file}: it has no class for {', '.join(unknown)}")
    for subject in subjects.values():
        file = root / subject.name / CAPTIONS_FILE
        if file.is_file():
            try:
                subject.captions = json.loads(textfiles.read(file))
            except (ValueError, RecursionError) as error:
                raise UsageError(f"{file}: not JSON ({error})") from None
            if not isinstance(subject.captions, dict):
                raise UsageError(f"{file}: expected an object of file names with their captions")
    return subjects


def _read_classes(file: Path, subjects: dict[str, Subject]) -> None:
    """Fill in what subjects.csv says of the subjects that are there.

    Raises:
        UsageError: other columns, a subject that is there twice, or ``live`` that is neither.
    """
    rows = csv.DictReader(io.StringIO(textfiles.read(file), newline=""))
    columns = rows.fieldnames or []
    if "subject" not in columns or "class" not in columns:
        raise UsageError(f"{file}: its first line is not subject,class or subject,class,live")
    for row in rows:
        subject = subjects.get((row["subject"] or "").strip())
        live = (row.get("live") or "").strip().lower()
        if live not in _YES:
            raise UsageError(f"{file}, line {rows.line_num}: live is '{live}', not yes or no")
        if subject is None:
            continue
        category = (row["class"] or "").strip()
        if subject.category and (subject.category, subject.live) != (category, _YES[live]):
            raise UsageError(
                f"{file}, line {rows.line_num}: {subject.name} was a {subject.category} before"
            )
        subject.category, subject.live = category, _YES[live]


def _beside(work: Work) -> str:
    """The file of a test picture's own captions."""
    return f"{work.path.rpartition('.')[0]}.txt"


def _captions(work: Work) -> list[str]:
    """The captions of a test picture: of the file beside it, else of the subject's.

    Raises:
        SampleFailed: it has none, or one without ``{}``.
    """
    name = work.path.rpartition("/")[2]
    beside = _beside(work)
    if (Path(work.root) / beside).is_file():
        where = beside
        text = _picture.read_file(Path(work.root), beside).decode("utf-8-sig", "replace")
        lines: Any = textfiles.split(text)
    else:
        where = f"{work.subject.name}/{CAPTIONS_FILE}"
        lines = work.subject.captions.get(name, work.subject.captions.get(name.partition(".")[0]))
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise SampleFailed(f"no captions: write them to {beside}, one a line with {{}} in it")
    captions = [line.strip() for line in lines if line.strip()]
    for line in captions:
        if line.count("{}") != 1:
            raise SampleFailed(f"{where}: '{line}' needs one {{}}, where the subject stands")
    if not captions:
        raise SampleFailed(f"{where}: no captions in it")
    return captions

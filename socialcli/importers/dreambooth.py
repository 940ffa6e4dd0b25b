"""DreamBooth: a folder per subject, with classes and prompts from prompts_and_classes.txt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from socialcli import shards, textfiles
from socialcli.config import MISSING, option
from socialcli.errors import UsageError
from socialcli.importers import Entry, Importer, _picture

PROMPTS_FILE = "prompts_and_classes.txt"
REFERENCES_FILE = "references_and_licenses.txt"
# The classes that the paper prompts as living things; the file does not mark them.
LIVE = ("cat", "dog")
# 'a {0} {1} in the jungle'.format(unique_token, class_token)
_PROMPT = re.compile(r"^\s*(['\"])(.*)\1\.format\(unique_token, class_token\),?\s*$")
_CREDIT = re.compile(r"^([0-9]+):\s*(.+)$")
_SUBJECT = re.compile(r"^([A-Za-z0-9_]+):\s*(.*)$")


@dataclass
class Config:
    source: str = option(MISSING, "The DreamBooth repository, its dataset folder, or one like it.")
    check_pixels: bool = option(False, "Decode every picture fully, not only its header.")


@dataclass
class Subject:
    """What the text files say of one subject."""

    name: str
    category: str = ""  # the class token: stuffed animal
    prompts: list[str] = field(default_factory=list)  # with {0} the token and {1} the class
    credit: str = ""  # of all its pictures
    credits: dict[int, str] = field(default_factory=dict)  # picture number -> link or note


@dataclass
class Work:
    """One picture of one subject."""

    root: str
    path: str
    subject: Subject


class DreamboothImporter(Importer):
    """See `Importer`."""

    config_type = Config

    def files(self, config: Config) -> list[Path]:
        """The two text files, where they are there."""
        root = _root(config)
        files = [root / name for name in (PROMPTS_FILE, REFERENCES_FILE)]
        return [file for file in files if file.is_file()]

    def entries(self, config: Config) -> Iterator[Entry]:
        """Every picture of every subject folder, subjects and pictures in natural order.

        A folder without prompts_and_classes.txt is imported too; its subjects have no class then.

        Raises:
            UsageError: no subject folders with pictures, a text file that is not the official one,
                or one that names other subjects than there are.
        """
        root = _root(config)
        names = [p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")]
        pictures = {name: _picture.pictures_in(root / name) for name in names}
        names = sorted((name for name in names if pictures[name]), key=_picture.natural)
        if not names:
            raise UsageError(f"{root}: no folders of pictures here; expected one for each subject")
        subjects = _subjects(root, names)
        paths = [(f"{name}/{picture}", name) for name in names for picture in pictures[name]]
        keys = shards.distinct_keys([_picture.printable(path) for path, _ in paths])
        for key, (path, name) in zip(keys, paths, strict=True):
            yield Entry(key, Work(str(root), path, subjects[name]))

    def build(self, config: Config, entry: Entry) -> dict[str, bytes]:
        """The picture and meta; subject, class, prompts and credit stand in ``meta.extra``.

        Raises:
            SampleFailed: the picture cannot be read, or is none.
        """
        work: Work = entry.work
        picture = _picture.read(Path(work.root), work.path, check_pixels=config.check_pixels)
        subject = work.subject
        extra: dict[str, object] = {"subject": subject.name}
        if subject.category:
            extra["class"] = subject.category
            extra["live"] = subject.category in LIVE
            extra["prompts"] = subject.prompts
        stem = work.path.rpartition("/")[2].partition(".")[0]
        source = subject.credits.get(int(stem), "") if re.fullmatch("[0-9]{1,6}", stem) else ""
        if source or subject.credit:
            extra["credit"] = ", ".join(text for text in (source, subject.credit) if text)
        # The set as a whole is CC BY 4.0; pictures from Unsplash keep its licence.
        unsplash = "unsplash.com" in f"{source} {subject.credit}"
        license = ("Unsplash License" if unsplash else "CC BY 4.0") if subject.category else ""
        return picture.members(license=license, extra=extra)


def _root(config: Config) -> Path:
    """The folder of the subjects' folders."""
    root = _picture.source_folder(config.source)
    if not (root / PROMPTS_FILE).is_file() and (root / "dataset").is_dir():
        return root / "dataset"
    return root


def _subjects(root: Path, names: list[str]) -> dict[str, Subject]:
    subjects = {name: Subject(name) for name in names}
    if (root / PROMPTS_FILE).is_file():
        file = root / PROMPTS_FILE
        classes, objects, live = _read_prompts(file)
        unknown = [name for name in names if name not in classes]
        if unknown:
            raise UsageError(f"{file}: it has no class for {', '.join(unknown)}")
        for subject in subjects.values():
            subject.category = classes[subject.name]
            subject.prompts = live if subject.category in LIVE else objects
    if (root / REFERENCES_FILE).is_file():
        _read_credits(root / REFERENCES_FILE, subjects)
    return subjects


def _read_prompts(file: Path) -> tuple[dict[str, str], list[str], list[str]]:
    """Subject -> class, the prompts of objects, the prompts of living subjects.

    The prompts stand in the file as Python; they are matched line by line, never run.
    """
    classes: dict[str, str] = {}
    prompts: dict[str, list[str]] = {"object": [], "live": []}
    section = ""
    for line in textfiles.split(textfiles.read(file)):
        title = line.strip().lower()
        if title in ("classes", "object prompts", "live subject prompts"):
            section = title.split()[0]
        elif section == "classes" and "," in line and title != "subject_name,class":
            name, category = line.split(",", 1)
            classes[name.strip()] = category.strip()
        elif section in prompts and (match := _PROMPT.match(line)):
            prompts[section].append(match[2])
    if not classes or not prompts["object"] or not prompts["live"]:
        raise UsageError(
            f"{file}: not DreamBooth's file: classes or one of the prompt lists missing"
        )
    return classes, prompts["object"], prompts["live"]


def _read_credits(file: Path, subjects: dict[str, Subject]) -> None:
    """Fill in who made each picture; the file is prose, so what is not understood is left out."""
    subject: Subject | None = None
    for line in textfiles.split(textfiles.read(file)):
        line = line.strip()
        if line.lower() == "licenses":  # the licence texts follow
            break
        if subject is not None and (match := _CREDIT.match(line)):
            subject.credits[int(match[1])] = match[2].strip()
        elif (match := _SUBJECT.match(line)) and match[1] in subjects:
            subject = subjects[match[1]]
            subject.credit = match[2].strip()
        elif subject is not None and line.startswith("(credit:"):
            subject.credit = line.removeprefix("(credit:").removesuffix(")").strip()
        elif line:
            subject = None

"""DreamBench++: one picture of each subject with nine prompts, by category."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from socialcli import shards, textfiles
from socialcli.config import MISSING, option
from socialcli.errors import SampleFailed, UsageError
from socialcli.importers import Entry, Importer, _picture

PICTURES, CAPTIONS = "images", "captions"  # CATEGORY/NN.jpg and CATEGORY/NN.txt in them
LIVE = ("animal", "human")
# What each of the nine prompts asks for, by its number.
KINDS = ("photorealistic",) * 4 + ("style",) * 3 + ("imaginative",) * 2
LICENSE = "academic use, as its authors have checked by picture"


@dataclass
class Config:
    source: str = option(MISSING, "DreamBench++'s data folder, with images/ and captions/.")
    check_pixels: bool = option(False, "Decode every picture fully, not only its header.")


@dataclass
class Work:
    """One picture, and the file of its subject and prompts."""

    root: str
    path: str  # images/live_subject/animal/00.jpg
    captions: str  # captions/live_subject/animal/00.txt


class DreambenchPlusImporter(Importer):
    """See `Importer`. Source: Peng et al., DreamBench++ (arXiv 2406.16855)."""

    config_type = Config

    def files(self, config: Config) -> list[Path]:
        """The file of each picture's subject and prompts."""
        return [Path(entry.work.root, entry.work.captions) for entry in self.entries(config)]

    def entries(self, config: Config) -> Iterator[Entry]:
        """Every picture, by category and number.

        Raises:
            UsageError: no pictures, or one without its captions.
        """
        root = _picture.source_folder(config.source)
        if not (root / PICTURES).is_dir() and (root / "data" / PICTURES).is_dir():
            root = root / "data"
        folders = sorted(p for p in (root / PICTURES).rglob("*") if p.is_dir())
        paths = [
            f"{folder.relative_to(root).as_posix()}/{name}"
            for folder in [root / PICTURES, *folders]
            if folder.is_dir()
            for name in _picture.pictures_in(folder)
        ]
        if not paths:
            raise UsageError(f"{root}: no {PICTURES}/CATEGORY/NN.jpg in here")
        works = [Work(str(root), path, _captions_of(path)) for path in paths]
        missing = [work.captions for work in works if not (root / work.captions).is_file()]
        if missing:
            raise UsageError(f"{root / missing[0]}: {len(missing)} pictures have no such file")
        keys = shards.distinct_keys([_picture.printable(path) for path in paths])
        for key, work in zip(keys, works, strict=True):
            yield Entry(key, work)

    def build(self, config: Config, entry: Entry) -> dict[str, bytes]:
        """The picture and meta; subject, class, category, prompts and their kinds stand in
        ``meta.extra``.

        The prompts name their subject in words. Where one does so once, with its class, ``{}``
        stands there, so that methods may write a word of their own.

        Raises:
            SampleFailed: the picture cannot be read, or its file has no prompts.
        """
        work: Work = entry.work
        picture = _picture.read(Path(work.root), work.path, check_pixels=config.check_pixels)
        text = _picture.read_file(Path(work.root), work.captions).decode("utf-8-sig", "replace")
        lines = [line.strip() for line in textfiles.split(text)]
        name, *prompts = [line for line in lines if line] or [""]
        if not prompts:
            raise SampleFailed(f"{work.captions}: a subject in the first line, then its prompts")
        category = work.path.split("/")[-2]
        extra = {
            "subject": subject(category, work.path, name),
            "class": name,
            "category": category,
            "live": category in LIVE,
            "prompts": [_placed(prompt, name) for prompt in prompts],
        }
        if len(prompts) == len(KINDS):
            extra["kinds"] = list(KINDS)
        return picture.members(license=LICENSE, extra=extra)


def subject(category: str, path: str, name: str) -> str:
    """What the authors' results call a subject: ``live_subject_animal_00_kitten``."""
    number = path.rpartition("/")[2].partition(".")[0]
    live = f"live_subject_{category}" if category in LIVE else category
    return f"{live}_{number}_{name.lower().replace(' ', '_')}"


def _captions_of(path: str) -> str:
    """The file of a picture's captions: the same place below the other folder."""
    below = path.partition("/")[2]
    return f"{CAPTIONS}/{below.rpartition('.')[0]}.txt"


def _placed(prompt: str, name: str) -> str:
    """A prompt with ``{}`` for the name of its subject, where it stands there once."""
    pattern = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
    places = pattern.findall(prompt)
    return pattern.sub("{}", prompt) if len(places) == 1 and "{" not in prompt else prompt

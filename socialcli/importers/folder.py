"""A folder of photographs, with the captions that lie beside them (KEY.txt)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from socialcli import shards
from socialcli.config import MISSING, option
from socialcli.errors import UsageError
from socialcli.importers import Entry, Importer, _picture, _walk

# Files that travel with a picture: suffix -> member. Kohya's trainers call a caption .caption.
COMPANIONS = {"txt": "txt", "caption": "txt", "json": "json"}
_FILE_COLUMNS = ("file", "file_name", "filename", "image", "path")
_TEXT_COLUMNS = ("caption", "text")


@dataclass
class Config:
    source: str = option(MISSING, "Folder of pictures; its subfolders are searched too.")
    hidden: bool = option(False, _walk.HIDDEN)
    follow_links: bool = option(True, _walk.FOLLOW_LINKS)
    check_pixels: bool = option(False, "Decode every picture fully, not only its header.")


@dataclass(frozen=True)
class Work:
    """One picture to be imported: its path, and those of the files that travel with it."""

    path: str
    companions: tuple[tuple[str, str], ...]  # (member suffix, path)


class FolderImporter(Importer):
    """See `Importer`."""

    VERSION = 2
    config_type = Config

    def files(self, config: Config) -> list[Path]:
        """What travels with the pictures."""
        root = _picture.source_folder(config.source)
        entries = self.entries(config)
        return [root / path for entry in entries for _, path in entry.work.companions]

    def entries(self, config: Config) -> Iterator[Entry]:
        """Every picture below the folder, in natural order of its path (2 before 10).

        ``KEY.txt`` and ``KEY.json`` beside a picture travel with it byte for byte, and so does
        ``KEY.caption``, as ``txt`` where there is no ``KEY.txt``; the `caption` stage takes
        captions from there, or from a CSV file.

        Raises:
            UsageError: no such folder, one that cannot be listed, or no picture in it.
        """
        root = _picture.source_folder(config.source)
        paths = sorted(_walk.files(root, config.hidden, config.follow_links), key=_picture.natural)
        pictures = _picture.without_doubles([path for path in paths if _is_picture(root, path)])
        if not pictures:
            raise UsageError(
                f"{config.source}: no pictures in this folder "
                f"(.{', .'.join(_picture.SUFFIXES[:5])}...)"
            )
        beside: dict[tuple[str, str], str] = {}
        for path in paths:
            stem, suffix = _picture.parted(path)
            if suffix in COMPANIONS:
                beside.setdefault((stem, suffix), path)
        keys = shards.distinct_keys([_picture.printable(path) for path in pictures])
        for key, path in zip(keys, pictures, strict=True):
            stem, _ = _picture.parted(path)
            companions: dict[str, str] = {}
            for suffix, member in COMPANIONS.items():
                if (stem, suffix) in beside:
                    companions.setdefault(member, beside[stem, suffix])
            yield Entry(key, Work(path, tuple(companions.items())))

    def build(self, config: Config, entry: Entry) -> dict[str, bytes]:
        """The picture, ``meta.json``, and what lies beside it.

        Raises:
            SampleFailed: a file cannot be read, or the picture is none.
        """
        root, work = Path(config.source).expanduser(), entry.work
        picture = _picture.read(root, work.path, check_pixels=config.check_pixels)
        members = picture.members()
        for suffix, path in work.companions:
            members[suffix] = _picture.read_file(root, path)
        return members


def _is_picture(root: Path, path: str) -> bool:
    """By its name, or where that has no suffix, by how it begins."""
    name = _base(path)
    return _picture.is_picture_name(name) or (
        "." not in name and _picture.looks_like_picture(root / path)
    )


def _base(path: str) -> str:
    return path.rpartition("/")[2]

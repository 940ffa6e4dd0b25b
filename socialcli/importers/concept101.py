"""CustomConcept101: the pictures of 101 concepts with their single and two-concept prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from socialcli import shards, textfiles
from socialcli.config import MISSING, option
from socialcli.errors import UsageError
from socialcli.importers import Entry, Importer, _picture

SINGLE, SHARED = "dataset.json", "dataset_multiconcept.json"
LICENSE = "Unsplash License or CC BY-SA 4.0, by picture"


@dataclass
class Config:
    source: str = option(
        MISSING, "Folder customconcept101: dataset.json, dataset_multiconcept.json, prompts/."
    )
    images: str | None = option(
        None, "Folder that holds benchmark_dataset/, when it is not the source folder."
    )
    check_pixels: bool = option(False, "Decode every picture fully, not only its header.")


@dataclass
class Concept:
    """One concept and the prompts it is tested with."""

    name: str  # the last part of instance_data_dir: scene_barn
    folder: str  # instance_data_dir without its leading ./
    category: str  # class_prompt: barn
    instance_prompt: str  # photo of a <new1> barn
    prompts_file: str
    prompts: list[str]  # with {} where the concept goes
    combinations: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Work:
    """One picture of one concept."""

    root: str
    path: str
    concept: Concept


class Concept101Importer(Importer):
    """See `Importer`."""

    config_type = Config

    def files(self, config: Config) -> list[Path]:
        """Both lists of concepts, and every file of prompts that they name."""
        source = _picture.source_folder(config.source)
        lists = [source / name for name in (SINGLE, SHARED) if (source / name).is_file()]
        prompts = {
            file: None
            for concept in concepts(source).values()
            for file in (
                concept.prompts_file, *(one["prompts_file"] for one in concept.combinations)
            )
        }  # fmt: skip
        return [*lists, *(source / file for file in prompts)]

    def entries(self, config: Config) -> Iterator[Entry]:
        """Every picture of every concept, in the order of dataset.json.

        Raises:
            UsageError: dataset.json, a prompt file or the pictures are missing or not as they
                should be.
        """
        source = _picture.source_folder(config.source)
        images = _picture.source_folder(config.images) if config.images else source
        by_folder = concepts(source)
        paths: list[tuple[str, Concept]] = []
        missing = []
        for concept in by_folder.values():
            folder = images / concept.folder
            names = _picture.pictures_in(folder) if folder.is_dir() else []
            if not names:
                missing.append(concept.folder)
            paths += [(f"{concept.folder}/{name}", concept) for name in names]
        if missing:
            raise UsageError(
                f"{images}: no pictures of {len(missing)} of {len(by_folder)} concepts, first "
                f"{missing[0]}; unpack benchmark_dataset.zip here or name its place with --images"
            )
        keys = shards.distinct_keys([_picture.printable(path) for path, _ in paths])
        for key, (path, concept) in zip(keys, paths, strict=True):
            yield Entry(key, Work(str(images), path, concept))

    def build(self, config: Config, entry: Entry) -> dict[str, bytes]:
        """The picture and meta; concept, class and prompts stand in ``meta.extra``.

        Raises:
            SampleFailed: the picture cannot be read, or is none.
        """
        work: Work = entry.work
        picture = _picture.read(Path(work.root), work.path, check_pixels=config.check_pixels)
        concept = work.concept
        extra = {
            "concept": concept.name,
            "class": concept.category,
            "instance_prompt": concept.instance_prompt,
            "prompts_file": concept.prompts_file,
            "prompts": concept.prompts,
            "combinations": concept.combinations,
        }
        return picture.members(license=LICENSE, extra=extra)


def concepts(source: Path) -> dict[str, Concept]:
    """Concepts by folder, with the two-concept combinations that each takes part in.

    Raises:
        UsageError: a file is missing, or not as it should be.
    """
    file = source / SINGLE
    by_folder: dict[str, Concept] = {}
    try:
        for item in _json(file):
            folder = _relative(item["instance_data_dir"])
            if folder in by_folder:
                raise ValueError(f"two concepts have the folder {folder}")
            by_folder[folder] = Concept(
                name=folder.rpartition("/")[2],
                folder=folder,
                category=_text(item["class_prompt"]),
                instance_prompt=_text(item["instance_prompt"]),
                prompts_file=_relative(item["prompt_filename"]),
                prompts=_prompts(source, item["prompt_filename"]),
            )
        file = source / SHARED
        for number, combination in enumerate(_json(file) if file.is_file() else []):
            *parts, compose = combination
            folders = [_relative(part["instance_data_dir"]) for part in parts]
            name = compose["prompt_filename_compose"]
            for position, folder in enumerate(folders):
                by_folder[folder].combinations.append(
                    {
                        "combination": number,  # counted from 0 in dataset_multiconcept.json
                        "position": position,  # which of {0}, {1} is this concept
                        "concepts": [f.rpartition("/")[2] for f in folders],
                        "categories": [_text(part["class_prompt"]) for part in parts],
                        "prompts_file": _relative(name),
                        "prompts": _prompts(source, name),
                    }
                )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{file}: not Concept101's ({type(error).__name__}: {error})") from None
    return by_folder


def _json(file: Path) -> list[Any]:
    try:
        body = json.loads(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror or error})") from None
    if not isinstance(body, list) or not body:
        raise ValueError("not a list of concepts")
    return body


def _text(value: Any) -> str:
    """A class or a prompt.

    Raises:
        TypeError: it is no text; null would be the class "None" in every prompt.
    """
    if not isinstance(value, str):
        raise TypeError(f"{json.dumps(value)} is no text")
    return value


def _relative(path: Any) -> str:
    """``./benchmark_dataset/scene_barn`` -> ``benchmark_dataset/scene_barn``."""
    parts = [part for part in str(path).split("/") if part not in ("", ".")]
    if ".." in parts or not parts or str(path).startswith("/"):
        raise ValueError(f"unsafe path {path!r}")
    return "/".join(parts)


def _prompts(source: Path, name: Any) -> list[str]:
    """The prompts of one file, one a line, the last without a line end."""
    return textfiles.lines(source / _relative(name))

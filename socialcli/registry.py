"""The one finder of everything that is added by adding a file: stages, methods, metrics and so on.

A *part* is a file ``NAME.py``, or a folder ``NAME`` with an ``__init__.py``, in the folder of its
kind; packages outside this project add one with an entry point of the group ``socialcli.KIND``::

    [project.entry-points."socialcli.metrics"]
    my-metric = "my_package.my_metric"

Parts are found without being imported: `socialcli --help` lists them by the first line of their
file. A part holds one class that inherits the base of its kind (`KINDS`); `load` imports the file,
checks the class and gives one instance of it. Parts keep no state of their own.
"""

from __future__ import annotations

import abc
import functools
import importlib
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from socialcli.errors import SocialcliError, UnknownName, near

ROOT = Path(__file__).parent


@dataclass(frozen=True)
class Kind:
    """A kind of part: where its files lie, and ``module:Class`` of the base they inherit."""

    folder: str
    base: str
    unknown: str  # what is said of a name that nothing has, see `UnknownName`


KINDS = {
    "stages": Kind("stages", "socialcli.pipeline.stage:Stage", "no stage"),
    "importers": Kind("importers", "socialcli.importers:Importer", "no importer"),
    "engines": Kind("pipeline/engines", "socialcli.pipeline.engines:Engine", "no engine"),
    "metrics": Kind("evaluation/metrics", "socialcli.evaluation.metrics:Metric", "no metric"),
    "features": Kind("evaluation/features", "socialcli.evaluation.features:Feature", "no feature"),
    "feedbacks": Kind(
        "methods/train/feedback",
        "socialcli.training.feedback:Feedback",
        "train feedback has no feedback",
    ),
    "methods.train": Kind(
        "methods/train", "socialcli.training.method:TrainMethod", "train has no method"
    ),
    "methods.invert": Kind(
        "methods/invert", "socialcli.training.method:TrainMethod", "invert has no method"
    ),
    "methods.generate": Kind(
        "methods/generate",
        "socialcli.generation.method:GenerateMethod",
        "generate has no method",
    ),
    "words": Kind("diffusion/words", "socialcli.diffusion.words:WordKind", "no kind of word"),
}


class Part(abc.ABC):  # noqa: B024
    """Base of the kinds' bases: a part has the hooks its kind's base names, and no others.

    A public name that the base does not have is an error when the part is loaded: a misspelt
    optional hook would otherwise never be called, and nothing would say so. Helpers are functions
    of the module, or start with an underscore.
    """

    kind: str = ""  # both are filled in when the part is loaded
    name: str = ""  # as on the command line

    def __init_subclass__(cls, base: bool = False, **more: Any) -> None:
        super().__init_subclass__(**more)
        if base:
            return
        inherited = {
            name
            for parent in cls.__mro__[1:]
            for name in (*vars(parent), *getattr(parent, "__annotations__", ()))
        }
        hooks = {name for name in inherited if not name.startswith("_")}
        for name in vars(cls):
            if not name.startswith("_") and name not in hooks:
                raise TypeError(
                    f"{cls.__name__}.{name} is no hook of its base. {near(name, hooks)}"
                )


@dataclass(frozen=True)
class PartInfo:
    """A part that was found and not imported yet."""

    kind: str
    name: str  # as it is typed: text-to-image
    module: str  # dotted path
    file: Path

    @property
    def summary(self) -> str:
        """The first line of the file's docstring, read as text."""
        with self.file.open(encoding="utf-8-sig") as lines:
            return lines.readline().strip().strip('"').strip()


@functools.cache
def available(kind: str) -> dict[str, PartInfo]:
    """Every part of a kind by its name, in alphabetical order; none is imported."""
    package = KINDS[kind].folder.replace("/", ".")
    folder = ROOT / KINDS[kind].folder
    files = {file.stem: file for file in folder.glob("[a-z]*.py")}
    files |= {file.parent.name: file for file in folder.glob("[a-z]*/__init__.py")}
    infos = {
        stem.strip("_").replace("_", "-"): PartInfo(
            kind, stem.strip("_").replace("_", "-"), f"socialcli.{package}.{stem}", file
        )
        for stem, file in files.items()
    }
    for name, module in outside(f"socialcli.{kind}"):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin:
            infos[name] = PartInfo(kind, name, module, Path(spec.origin))
    return dict(sorted(infos.items()))


@functools.cache
def outside(group: str) -> tuple[tuple[str, str], ...]:
    """(name, module) of each entry point of a group, sorted by name."""
    return tuple(sorted((name, value.partition(":")[0]) for name, value in _entry_points(group)))


def _entry_points(group: str) -> list[tuple[str, str]]:
    return _declared().get(group, [])


@functools.cache
def _declared() -> dict[str, list[tuple[str, str]]]:
    """Group -> (name, value) of the entry points of installed packages, for our groups alone.

    `importlib.metadata` parses what every package declares, which took as long as all the rest of
    `socialcli --help`; here a file is parsed if it names one of our groups.
    """
    declared: dict[str, list[tuple[str, str]]] = {}
    for folder in dict.fromkeys(sys.path):
        try:
            names = [file.name for file in os.scandir(folder or ".")]
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                _parse(_text(f"{folder or '.'}/{name}/entry_points.txt"), declared)
    return declared


def _text(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as opened:
            return opened.read()
    except (OSError, UnicodeDecodeError):
        return ""


def _parse(text: str, declared: dict[str, list[tuple[str, str]]]) -> None:
    group = ""
    if "[socialcli." not in text:
        return
    for line in map(str.strip, text.splitlines()):
        name, equals, value = line.partition("=")
        if line.startswith("["):
            group = line.strip("[]").strip()
        elif equals and group.startswith("socialcli.") and not line.startswith("#"):
            declared.setdefault(group, []).append((name.strip(), value.strip()))


def load(kind: str, name: str) -> Any:
    """The part called ``name``, an instance of its kind's base.

    Raises:
        UnknownName: there is none; the line lists those there are. SocialcliError: its file holds
            no class, or several, with that base, or one that lacks a hook or has a wrong one.
    """
    if (kind, name) in _registered:
        return _registered[kind, name]
    entries = available(kind)
    if name not in entries and name.replace("_", "-") in entries:  # as Python and others spell it
        name = name.replace("_", "-")
    if name not in entries:
        raise UnknownName(KINDS[kind].unknown, name, entries)
    return _instance(entries[name])


_registered: dict[tuple[str, str], Any] = {}


def register(kind: str, name: str, part: Part) -> None:
    """Add a part to this process only, without a file."""
    part.kind, part.name = kind, name
    _registered[kind, name] = part


@functools.cache
def _instance(entry: PartInfo) -> Any:
    base = base_of(entry.kind)
    try:
        module = importlib.import_module(entry.module)
        classes = [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, base)
            and value.__module__.split(".")[: entry.module.count(".") + 1]
            == entry.module.split(".")
        ]
        if len(classes) != 1:
            raise TypeError(f"{len(classes)} classes inherit {base.__name__}; there must be one")
        part = classes[0]()
    except TypeError as error:
        raise SocialcliError(f"{entry.kind} {entry.name} ({entry.file}): {error}") from error
    assert isinstance(part, Part)
    part.kind, part.name = entry.kind, entry.name
    return part


def module_of(part: Part) -> Any:
    """The module that a part's name stands for."""
    return importlib.import_module(available(part.kind)[part.name].module)


def base_of(kind: str) -> type:
    """The class that parts of a kind inherit."""
    module, _, name = KINDS[kind].base.partition(":")
    base: type = getattr(importlib.import_module(module), name)
    return base

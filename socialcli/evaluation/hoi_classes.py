"""The interaction classes that are scored: HICO-DET's, the world's, a file's, or what occurs."""

from __future__ import annotations

import functools
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from socialcli.errors import UsageError
from socialcli.evaluation.cases import Picture

if TYPE_CHECKING:
    from socialcli.records import Interaction


TABLES = ("hico-det", "world")  # that have a name


@dataclass
class Classes:
    """The classes that are scored: (verb, object) -> number from 0, and which are rare."""

    names: list[tuple[str, str]]
    rare: set[int] = field(default_factory=set)
    known: str = ""  # hico-det, world, a file, or "" when collected from the reference
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    has_rare: bool = True
    limits: str = ""  # what the recogniser cannot express of them, in words

    def __post_init__(self) -> None:
        self.numbers = {name: number for number, name in enumerate(self.names)}

    @property
    def objects(self) -> tuple[str, ...]:
        """The object labels, each once, sorted."""
        return tuple(sorted({thing for _, thing in self.names}))

    def of(self, verb: str, thing: str, hoi: int | None) -> int | None:
        """The class of an interaction: by its words, else by the data set's own number, unless its
        words tell that this is the number of another table."""
        words = (_plain(verb), _plain(thing))
        number = self.numbers.get(words)
        if number is not None or not self.known or hoi is None:
            return number
        if any(_numbers(name).get(words) == hoi - 1 for name in TABLES):
            return None
        return hoi - 1 if 1 <= hoi <= len(self.names) else None


def _plain(word: str) -> str:
    return " ".join(word.lower().replace("_", " ").split())


def classes(name: str, references: list[list[Interaction]]) -> Classes:
    """The classes ``--hoi-classes`` names: hico-det, world, a JSON file, or auto.

    A file is ``{"classes": [["ride", "horse"], ...], "rare": [numbers from 1]}``. ``auto`` takes
    HICO-DET's or the world's when every interaction of the references is one of them with its
    number, else the classes that occur, of which none is called rare.

    Raises:
        UsageError: no such file, or it is not of that form.
    """
    if name in TABLES:
        return _known(name)
    if name != "auto":
        return _from_file(name)
    for known in TABLES:
        table = _known(known)
        if all(
            one.hoi is not None
            and table.numbers.get((_plain(one.verb), _plain(one.object_label))) == one.hoi - 1
            for annotated in references
            for one in annotated
        ):
            return table
    seen = {(_plain(i.verb), _plain(i.object_label)) for annotated in references for i in annotated}
    return Classes(sorted(seen), has_rare=False)


def _known(name: str) -> Classes:
    if name == "hico-det":
        from socialcli.records import hico

        table = hico.classes()
        names = [(_plain(c.verb), _plain(c.object)) for c in table]
        return Classes(names, {n for n, c in enumerate(table) if c.rare}, name)
    from socialcli.miniature.world.vocabulary import PAIRS

    # Held-out pairs have no training scene at all, rare ones fewer than ten.
    rare = {n for n, pair in enumerate(PAIRS) if pair.tier in "rvt"}
    return Classes([(pair.verb, pair.object) for pair in PAIRS], rare, name)


@functools.cache
def _numbers(name: str) -> dict[tuple[str, str], int]:
    """Words -> number from 0, of a table that has a name."""
    return _known(name).numbers


def _from_file(name: str) -> Classes:
    if not Path(name).is_file():
        raise UsageError(f"--hoi-classes {name}: no such file; or give hico-det, world or auto")
    try:
        body = json.loads(Path(name).read_bytes())
        names = [(_plain(verb), _plain(thing)) for verb, thing in body["classes"]]
        rare = {int(number) - 1 for number in body.get("rare", [])}
        if not names:
            raise ValueError("no classes")
        twice = [name for name, times in Counter(names).items() if times > 1]
        if twice:
            raise ValueError(f"{' '.join(twice[0])} is there twice")
        if not rare <= set(range(len(names))):
            raise ValueError(f"rare classes are numbers from 1 to {len(names)}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f'{name}: expected {{"classes": [[verb, object], ...], "rare": [numbers]}} ({error})'
        ) from None
    return Classes(names, rare, name, has_rare="rare" in body)


def of_pictures(name: str, sources: list[Picture]) -> Classes:
    """The classes ``--hoi-classes`` names, for pictures with their interactions."""
    known = [source.records.get("interactions.json") for source in sources]
    return classes(name, [record.interactions for record in known if record is not None])

"""Which samples show which concept, what its pseudo-word is, and what that starts as."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli.diffusion import tokens
from socialcli.errors import SampleFailed, UsageError

if TYPE_CHECKING:
    from socialcli.shards.index import Index

FIELDS = ("subject", "concept")  # what importers of subjects call it in meta.extra


@dataclass
class Concept:
    """A group of samples and its word."""

    name: str
    token: str  # as prompts write it
    initial: str = ""  # the ordinary word it starts as
    samples: list[int] = field(default_factory=list)  # numbers in the index


def find(config: Any, index: Index) -> list[Concept]:
    """The concepts of a run, by name.

    Args:
        config: has ``concept``, ``by``, ``token`` and ``initial_word`` of `textual_inversion`.

    Raises:
        UsageError: no samples, no initial word, or two concepts with one token.
    """
    extras = [_extra(index, number) for number in range(len(index))]
    concepts = _named(config, index) if config.concept else _grouped(config, index, extras)
    given = _initial(config.initial_word, [c.token for c in concepts])
    for concept in concepts:
        known = class_of(concept, index)
        concept.initial = given.get(concept.token) or given.get("") or known
        if not concept.initial:
            raise UsageError(
                f"{concept.token}: the samples have no class; give an ordinary word near to it: "
                f"--initial-word '{concept.token}=dog'"
            )
    tokens = [c.token for c in concepts]
    for concept in concepts:
        if tokens.count(concept.token) > 1:
            raise UsageError(f"two concepts are called {concept.token}; use {{name}} in --token")
        if not concept.token.strip() or len(concept.token.split()) > 1:
            raise UsageError(f"--token '{concept.token}': one word without spaces, as <cat>")
    return concepts


def class_of(concept: Concept, index: Index) -> str:
    """The class that a data set states of a concept's pictures, "" where it states none."""
    classes = (_extra(index, number).get("class") for number in concept.samples)
    return next((c for c in classes if isinstance(c, str) and c.strip()), "")


def _extra(index: Index, number: int) -> dict[str, Any]:
    from socialcli import records

    if not index.entries[number].has("meta.json"):
        return {}
    try:
        return index.read(number).record(records.Meta).extra
    except SampleFailed:
        return {}


def _named(config: Any, index: Index) -> list[Concept]:
    """``--concept TOKEN=GLOB``."""
    concepts: dict[str, Concept] = {}
    for one in config.concept:
        token, equals, pattern = one.partition("=")
        if not equals or not token or not pattern:
            raise UsageError(f"--concept {one}: expected TOKEN=GLOB, as '<cat>=cats/*'")
        keys = enumerate(entry.key for entry in index.entries)
        samples = [n for n, key in keys if fnmatch.fnmatchcase(key, pattern)]
        if not samples:
            raise UsageError(
                f"--concept {one}: no key matches; the first is '{index.entries[0].key}'"
            )
        concept = concepts.setdefault(token, Concept(token.strip("<>"), token))
        concept.samples = sorted({*concept.samples, *samples})
    return list(concepts.values())


def _grouped(config: Any, index: Index, extras: list[dict[str, Any]]) -> list[Concept]:
    """By a field of meta.extra, by folder, or all as one."""
    by = config.by
    folders = [entry.key.rpartition("/")[0] for entry in index.entries]
    if by == "auto":
        known = [name for name in FIELDS if any(isinstance(e.get(name), str) for e in extras)]
        by = known[0] if known else "folder" if any(folders) else "none"
    if by == "none":
        names: list[str] = ["concept"] * len(index)
    elif by == "folder":
        names = folders
    else:
        names = [e[by] if isinstance(e.get(by), str) else "" for e in extras]
        if not any(names):
            raise UsageError(f"--by {by}: no sample's meta.json has a word there")
    concepts: dict[str, Concept] = {}
    for number, name in enumerate(names):
        if name:
            token = tokens.named(config.token, name)
            concepts.setdefault(name, Concept(name, token)).samples.append(number)
    return [concepts[name] for name in sorted(concepts)]


def _initial(given: list[str], tokens: list[str]) -> dict[str, str]:
    """Token -> word; "" for all others."""
    words = {}
    for one in given:
        token, equals, word = one.partition("=")
        if not equals:
            token, word = "", one
        elif token not in tokens:
            raise UsageError(f"--initial-word {one}: the concepts are {', '.join(tokens)}")
        if not word.strip():
            raise UsageError(f"--initial-word {one}: expected WORD or TOKEN=WORD")
        words[token] = word.strip()
    return words

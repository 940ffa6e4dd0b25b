"""Which samples show which concept, what its pseudo-word is, and what that starts as."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from socialcli.diffusion import tokens
from socialcli.errors import UsageError
from socialcli.training import groups

if TYPE_CHECKING:
    from socialcli.shards.index import Index


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
    if config.concept:
        concepts = _named(config, index)
    else:
        named = groups.grouped(index, config.by, "concept")
        concepts = [Concept(n, tokens.named(config.token, n), samples=s) for n, s in named.items()]
    every = [c.token for c in concepts]
    given = groups.words("--initial-word", config.initial_word, every, "concepts", "TOKEN=WORD")
    for concept in concepts:
        known = class_of(concept, index)
        concept.initial = given.get(concept.token) or given.get("") or known
        if not concept.initial:
            raise UsageError(
                f"{concept.token}: the samples have no class; give an ordinary word near to it: "
                f"--initial-word '{concept.token}=dog'"
            )
    for concept in concepts:
        if every.count(concept.token) > 1:
            raise UsageError(f"two concepts are called {concept.token}; use {{name}} in --token")
        if not concept.token.strip() or len(concept.token.split()) > 1:
            raise UsageError(f"--token '{concept.token}': one word without spaces, as <cat>")
    return concepts


def class_of(concept: Concept, index: Index) -> str:
    """The class that a data set states of a concept's pictures, "" where it states none."""
    classes = (groups.stated(index, n).get("class") for n in concept.samples)
    return next((c for c in classes if isinstance(c, str) and c.strip()), "")


def _named(config: Any, index: Index) -> list[Concept]:
    """``--concept TOKEN=GLOB``."""
    concepts: dict[str, Concept] = {}
    for one in config.concept:
        token, equals, pattern = one.partition("=")
        if not equals or not token or not pattern:
            raise UsageError(f"--concept {one}: expected TOKEN=GLOB, as '<cat>=cats/*'")
        samples = groups.matching(index, pattern)
        if not samples:
            raise UsageError(
                f"--concept {one}: no key matches; the first is '{index.entries[0].key}'"
            )
        concept = concepts.setdefault(token, Concept(token.strip("<>"), token))
        concept.samples = sorted({*concept.samples, *samples})
    return list(concepts.values())

"""How much of what is asked an interaction recogniser or a detector can express at all, by its
classes.

The recogniser in the package knows the pairs of the rendered world, 49 of HICO-DET's 600 classes
among them: on HICO's pictures it says nothing of all the others, and neither a loss nor a score
would tell. A detector of a fixed list of things never finds what is none of them, and that is no
fault of a picture. So who uses one as a judge asks here first.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

from socialcli import backends
from socialcli.errors import UsageError
from socialcli.vision.people import kind_of

Pair = tuple[str, str]  # verb, object
SHOWN = 3


def plain(verb: str, thing: str) -> Pair:
    """A class as it is compared: lower case, spaces for underscores."""
    verb, thing = (" ".join(word.lower().replace("_", " ").split()) for word in (verb, thing))
    return verb, thing


def expressible(backend: str, model: str) -> frozenset[Pair] | None:
    """The verb-object classes of a recogniser; None where its backend cannot say (it has no
    ``classes_of``), or the model is not here (loading it will tell)."""
    place = backends.info("interaction", backend).module
    module = importlib.import_module(place) if place else None
    if module is None or not hasattr(module, "classes_of"):
        return None
    classes: list[Pair] | None = module.classes_of(model)
    return None if classes is None else frozenset(plain(*one) for one in classes)


def unknown(grounder: Any, words: Iterable[str]) -> list[str]:
    """Those of some words for which a grounder can never find a thing, each once in their order:
    it has a fixed list of kinds (``kinds``) or classes (``knows``), and they mean none of these."""
    kinds = getattr(grounder, "kinds", None)
    knows = getattr(grounder, "knows", None)
    if kinds is not None:
        return [word for word in dict.fromkeys(words) if kind_of(word) not in kinds]
    return [word for word in dict.fromkeys(words) if knows is not None and not knows(word)]


def check(asked: Iterable[Pair], known: frozenset[Pair] | None, option: str) -> str:
    """What to say of a recogniser that cannot express all of ``asked``; "" where it can.

    Args:
        asked: verb and object of every annotated interaction, as often as they occur.
        known: see `expressible`. option: the flag that names another recogniser.

    Raises:
        UsageError: it can express none of them.
    """
    counts = Counter(plain(*one) for one in asked)
    missing = [pair for pair, _ in counts.most_common() if known is not None and pair not in known]
    if not missing or known is None:
        return ""
    named = ", ".join(f"'{' '.join(pair)}'" for pair in missing[:SHOWN])
    more = ", ..." if len(missing) > SHOWN else ""
    if len(missing) == len(counts):
        raise UsageError(
            f"the interaction recogniser knows none of the {len(counts)} classes asked for "
            f"({named}{more}); name one that does with {option}"
        )
    pairs = counts.total()
    met = pairs - sum(counts[pair] for pair in missing)
    return (
        f"the interaction recogniser knows {len(counts) - len(missing):,} of the {len(counts):,} "
        f"classes asked for, {met:,} of {pairs:,} interactions; it says nothing of {named}{more} "
        f"({option} names another)"
    )

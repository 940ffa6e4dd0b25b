"""Models that know one kind of picture only, and samples that are of another kind.

A model card beside a checkpoint (``*.card.json``, see `socialcli.miniature.zoo.cards`) says what it
was trained on. A miniature of the rendered world finds nothing sensible in a photograph; a run that
shows it one says so once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialcli import records
from socialcli.errors import SampleFailed

if TYPE_CHECKING:
    from socialcli.backends import ModelSpec
    from socialcli.shards import Sample

PACKAGE = Path(__file__).resolve().parents[1]
# A card's ``data`` begins with the key -> what ``meta.json`` gives as the source of such pictures.
WORLDS = {"socialcli.world": re.compile(r"world-\d+-[a-z-]+-.")}


def limited(specs: list[ModelSpec]) -> dict[str, re.Pattern[str]]:
    """Roles whose model knows one world only -> the sources it knows."""
    worlds = {}
    for spec in specs:
        for world in _worlds(spec.model or _default(spec)):
            worlds[spec.role] = world
    return worlds


def _default(spec: ModelSpec) -> str:
    """Where the model lies that a backend takes when none is named, if it is in the package."""
    from socialcli import backends

    model = backends.info(spec.role, spec.backend).model
    return str(PACKAGE.parent / model) if model.startswith(f"{PACKAGE.name}/") else ""


def _worlds(model: str) -> list[re.Pattern[str]]:
    place = Path(model) if model else None
    if place is None or not place.exists():
        return []
    cards = (place if place.is_dir() else place.parent).glob("*.card.json")
    texts = [_data(card) for card in cards]
    return [w for name, w in WORLDS.items() if any(t.startswith(name) for t in texts)]


def _data(card: Path) -> str:
    try:
        body: Any = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(body.get("data", "")) if isinstance(body, dict) else ""


def stranger(sample: Sample, known: dict[str, re.Pattern[str]]) -> str:
    """What to say when a model is shown a picture of which it knows nothing; "" when it is not."""
    if not known or not sample.key:
        return ""
    source = source_of(sample)
    roles = [role for role, world in known.items() if not world.match(source)]
    if not roles:
        return ""
    return (
        f"the {', '.join(roles)} model was trained on rendered scenes (socialcli import world) and "
        "knows nothing else; for photographs choose another --profile or model"
    )


def strangers(sources: Iterable[str], known: dict[str, re.Pattern[str]], what: str) -> str:
    """What to say of many pictures at once; "" where the models know all of them.

    Args:
        sources: what ``meta.json`` gives as the source of each picture, "" where nobody knows.
        known: see `limited`. what: what comes of it.
    """
    given = list(sources)
    strange = {role: sum(not world.match(s) for s in given) for role, world in known.items()}
    roles = [role for role, count in strange.items() if count]
    if not roles:
        return ""
    verbs = ("model was", "knows") if len(roles) == 1 else ("models were", "know")
    return (
        f"the {', '.join(roles)} {verbs[0]} trained on rendered scenes (socialcli import world) "
        f"and {verbs[1]} nothing else; {max(strange.values()):,} of {len(given):,} pictures are of "
        f"another kind, {what}"
    )


def source_of(sample: Sample) -> str:
    """Where a sample's picture came from, "" where nobody knows."""
    try:
        return sample.record(records.Meta).source
    except SampleFailed:
        return ""

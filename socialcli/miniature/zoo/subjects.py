"""Different scenes that show the same person with the same thing, for learning from references.

Scenes of the world meet people by chance, so plans are recast before they are painted: who acts
becomes the wanted person in clothes of that scene, the thing becomes the wanted one of its kind.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

from socialcli.miniature.world import Scene
from socialcli.miniature.world.identity import draw_identity, draw_look, outfit
from socialcli.miniature.world.planning import Plan, plan
from socialcli.miniature.world.scenes import paint
from socialcli.miniature.zoo import data

POOL = 6000  # plans of a split to recast


def group(split: str, number: int, count: int = 4) -> list[Scene]:
    """``count`` scenes with one person, and one thing or animal where the acts have any.

    A function of its arguments alone. In every scene the person is the subject of the first
    relation; acts, places, clothes and everybody else differ.
    """
    return [paint(one, data.SIZE) for one in cast(split, number, count)[0]]


def cast(split: str, number: int, count: int = 4) -> tuple[list[Plan], Any, Any]:
    """The plans of a group, its person's identity and its thing's look (None: people only)."""
    rng = random.Random(f"subject {split} {number}")
    pools = _pools(split)
    kind, child = rng.choices(list(pools), [len(p) for p in pools.values()])[0]
    plans = [plan(1, i, split) for i in rng.sample(pools[kind, child], count)]
    who = draw_identity(rng, split, set(), child)
    look = None if kind == "person" else draw_look(rng, split, kind)
    for one in plans:
        main = one.placed[one.main]
        main.who[0] = who
        main.wear[0] = outfit(rng, who.female)
        if look is not None:
            main.act.props[0].look = look
    return plans, who, look


def query_words(group: list[Any]) -> tuple[str, str]:
    """The nouns of a group's person and thing; "" where it is about people only."""
    relation = next((s.relations[0] for s in group if s.relations), None)
    if relation is None:
        return "person", ""
    scene = next(s for s in group if s.relations)
    who = next(p.who.noun for p in scene.people if p.id == relation.subject)
    return who, "" if relation.pair.object == "person" else relation.pair.object


def is_clear(scene: Any) -> bool:
    """Whether the first relation's subject shows a face and nobody else is called the same."""
    if not scene.relations:
        return False
    subject = next(p for p in scene.people if p.id == scene.relations[0].subject)
    alike = sum(p.who.noun == subject.who.noun for p in scene.people)
    return subject.face is not None and alike == 1


@cache
def _pools(split: str) -> dict[tuple[str, bool], list[int]]:
    """Plan numbers by the kind of object and whether a child acts; kinds met four times."""
    numbers_by_subject: dict[tuple[str, bool], list[int]] = {}
    for index in range(POOL):
        main = _main(plan(1, index, split))
        numbers_by_subject.setdefault((main.act.object, main.who[0].child), []).append(index)
    return {
        key: numbers for key, numbers in sorted(numbers_by_subject.items()) if len(numbers) >= 8
    }


def _main(plan: Plan) -> Any:
    return plan.placed[plan.main]

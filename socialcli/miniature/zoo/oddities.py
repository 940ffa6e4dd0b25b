"""Training scenes in which things are used as nobody uses them: a book that is eaten.

In the world, as outside, what is done says what it is done with: whoever reads, reads a book. A
model learns that sooner than to look, and then fails on pairs of verb and object that training
never showed. So some scenes get another thing. Never one that the world's pairs have with that
verb: what is held out stays unseen.
"""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING

from socialcli.miniature.world import animals, things
from socialcli.miniature.world.identity import draw_look
from socialcli.miniature.world.planning import Plan, plan
from socialcli.miniature.world.scenes import paint
from socialcli.miniature.world.vocabulary import (
    ANIMALS,
    FREQUENT,
    FREQUENT_WEIGHTS,
    PAIRS,
    THINGS,
)
from socialcli.miniature.zoo import data

if TYPE_CHECKING:
    from socialcli.miniature.world import Scene

KINDS = (*ANIMALS, *THINGS)
PEOPLE = ("man", "woman", "boy", "girl")
NEAR = 3.0  # times as large or as small, at most, is what takes a thing's place


def train_scenes(step: int, batch: int, share: float) -> list[Scene]:
    """The scenes of one training step (`data.train_scenes`), that share of their acts odd."""
    rng = random.Random(f"odd {step}")
    plans = [plan(data.TRAIN_SEED, step * batch + i, "train") for i in range(batch)]
    return [paint(odd(rng, one, share), data.SIZE) for one in plans]


def odd(rng: random.Random, plan: Plan, share: float) -> Plan:
    """The plan, each of its acts with probability ``share`` with another thing or animal."""
    for placed in plan.placed:
        if placed.pair is None or placed.pair.object == "person" or rng.random() >= share:
            continue
        others = instead(placed.pair.verb, placed.pair.object)
        if others:
            prop = placed.act.props[0]
            prop.look = draw_look(rng, "train", rng.choice(others))
            placed.act.object = prop.look.kind
    return plan


@cache
def instead(verb: str, kind: str) -> tuple[str, ...]:
    """What may take the place of a kind of thing or animal in an act."""
    usual = {p.object for p in PAIRS if p.verb == verb}
    size = _area(kind)
    return tuple(k for k in KINDS if k not in usual and size / NEAR < _area(k) < size * NEAR)


def shares(share: float) -> dict[tuple[str, str], float]:
    """How often each verb comes with each noun in training scenes, a ``share`` of them odd.

    Rare and held-out pairs are not among them. Of people the four nouns come alike.
    """
    found: dict[tuple[str, str], float] = {}
    for pair, weight in zip(FREQUENT, FREQUENT_WEIGHTS, strict=True):
        if pair.object == "person":
            parts = {noun: weight / len(PEOPLE) for noun in PEOPLE}
        else:
            others = instead(pair.verb, pair.object)
            parts = {kind: weight * share / len(others) for kind in others}
            parts[pair.object] = weight * (1 - share if others else 1)
        for noun, part in parts.items():
            found[pair.verb, noun] = found.get((pair.verb, noun), 0.0) + part
    return found


def _area(kind: str) -> float:
    """Of a thing's or an animal's extent, in the acts' units."""
    left, top, right, bottom = {**things.BOXES, **animals.BOXES}[kind]
    return (right - left) * (bottom - top)

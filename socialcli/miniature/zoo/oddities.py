"""Training scenes in which things are used as nobody uses them: a book that is eaten.

In the world, as outside, what is done says what it is done with: whoever reads, reads a book. A
model learns that sooner than to look, and then fails on pairs of verb and object that training
never showed. So some scenes get another thing. Never one that the world's pairs have with that
verb: what is held out stays unseen.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from socialcli.miniature.world import animals, things
from socialcli.miniature.world.identity import draw_look
from socialcli.miniature.world.planning import Plan, plan
from socialcli.miniature.world.scenes import paint
from socialcli.miniature.world.vocabulary import ANIMALS, PAIRS, THINGS
from socialcli.miniature.zoo import data

if TYPE_CHECKING:
    from socialcli.miniature.world import Scene

KINDS = (*ANIMALS, *THINGS)
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
        prop = placed.act.props[0]
        usual = {p.object for p in PAIRS if p.verb == placed.pair.verb}
        size = _area(prop.look.kind)
        others = [k for k in KINDS if k not in usual and size / NEAR < _area(k) < size * NEAR]
        if others:
            prop.look = draw_look(rng, "train", rng.choice(others))
            placed.act.object = prop.look.kind
    return plan


def _area(kind: str) -> float:
    """Of a thing's or an animal's extent, in the acts' units."""
    left, top, right, bottom = {**things.BOXES, **animals.BOXES}[kind]
    return (right - left) * (bottom - top)

"""A benchmark of people who are learned from one picture each, in the world.

Source: Identity Embedding (arXiv 2402.00631), section IV-A: one picture of each person, and prompts
for the face alone, for scenes, for actions with things, for facial attributes, and for attributes
and actions together. The people are those of the test split, whom no miniature has seen.

What the world's captions can say of a face is what it wears and its hair; a prompt asks for what
the person in the picture does not have.
"""

from __future__ import annotations

import random

from socialcli import records
from socialcli.miniature.world import ground_truth
from socialcli.miniature.world.captions import Written
from socialcli.miniature.world.identity import (
    CLOTHES,
    HAIRS,
    POPULATION,
    Identity,
    identity,
    outfit,
)
from socialcli.miniature.world.planning import Placed, Plan
from socialcli.miniature.world.poses import Act, stand
from socialcli.miniature.world.scenes import Scene, paint
from socialcli.miniature.world.vocabulary import LIGHTS, OUTDOORS, PLACES, number_in

SPLIT = "test"
# What is asked for: the face alone once, then each kind so often.
KINDS = ("face", *("scene",) * 3, *("action",) * 4, *("attribute",) * 3, *("mixed",) * 2)
PROMPTS = len(KINDS)  # of each person
FACE = "a {} standing"  # the world's words for a picture of nothing but the person
# Frequent acts with things that stay in the hands or beside the person.
ACTIONS = (
    "holding an umbrella", "holding a cup", "holding a balloon", "riding a bicycle",
    "riding a horse", "walking a dog", "petting a cat", "feeding a dog", "carrying a box",
    "pushing a cart", "sitting on a bench", "playing a guitar", "reading a book", "flying a kite",
)  # fmt: skip


def person(seed: int, index: int) -> Identity:
    """Person ``index`` of the benchmark; no one comes twice before all have come."""
    order = list(range(POPULATION[SPLIT]))
    random.Random(f"identities {seed}").shuffle(order)
    return identity(number_in(SPLIT, order[index % len(order)]))


def portrait(seed: int, index: int, size: int) -> Scene:
    """The one picture of a person: alone, from the knees up, out of doors."""
    who = person(seed, index)
    rng = random.Random(f"portrait {seed} {who.name}")
    pose = stand(0.0, who.stature)
    pose.solve()
    act = Act("", "", [pose], [], [("back", 0), ("mid", 0), ("front", 0)], [None])
    scale = 105.0 / who.stature
    placed = Placed(act, None, [who], [outfit(rng, who.female)], x=rng.uniform(40, 60),
                    ground=18.0 + 0.97 * scale * who.stature, scale=scale, sees=[None])  # fmt: skip
    name = f"{who.name}/portrait"
    decided = Plan(
        key=name, split=SPLIT, place=rng.choice(OUTDOORS), light=rng.choice(list(LIGHTS)[:3]),
        horizon=rng.uniform(58, 70), placed=[placed], main=0, foreground=False,
        paint_seed=f"paint {seed} {name}", caption_seed=f"caption {seed} {name}",
    )  # fmt: skip
    return paint(decided, size)


def templates(seed: int, index: int) -> list[str]:
    """The `PROMPTS` prompts of a person, of `KINDS`, with ``{}`` for the person's word."""
    who = person(seed, index)
    rng = random.Random(f"prompts {seed} {who.name}")
    places = rng.sample(list(PLACES.values()), len(PLACES))
    actions = rng.sample(ACTIONS, len(ACTIONS))
    attributes = _attributes(rng, who)
    texts = {
        "face": [FACE],
        "scene": [f"a {{}} standing {place}" for place in places],
        "action": [f"a {{}} is {action}" for action in actions[2:]],
        "attribute": [f"a {{}} {fact} standing {places[-1]}" for fact in attributes],
        "mixed": [
            f"a {{}} {fact} is {action}"
            for fact, action in zip(reversed(attributes), actions[:2], strict=False)
        ],
    }
    return [texts[kind].pop(0) for kind in KINDS]


def _attributes(rng: random.Random, who: Identity) -> list[str]:
    """What the person does not have, in the captions' words: at least three."""
    hair = [c for c in HAIRS if c != who.hair_colour]
    attributes = [] if who.glasses else ["with glasses"]
    attributes += [] if who.hat else ["with a hat"]
    attributes += ["with a beard"] if not (who.female or who.child or who.beard == 3) else []
    attributes += [f"with {colour} hair" for colour in rng.sample(hair, 2)]
    attributes += [f"in a {rng.choice([c for c in CLOTHES if c != 'orange'])} shirt"]
    rng.shuffle(attributes)
    return attributes


def picture(seed: int, index: int, size: int) -> dict[str, bytes]:
    """The members of a person's sample; ``subject`` and ``class`` are in ``meta.json``'s extra."""
    scene, who = portrait(seed, index, size), person(seed, index)
    written = Written()
    written.name(scene.people[0].id, f"a {who.noun}", who.noun, "person")
    written.say("standing")
    written.say(PLACES[scene.place])
    return _with_meta(ground_truth.members(scene, [written]), who, "")


def question(seed: int, index: int, size: int) -> dict[str, bytes]:
    """The members of prompt ``index % PROMPTS`` of person ``index // PROMPTS``.

    ``caption.json`` has two texts: in ordinary words (caption 0), and with the person's learned
    word (caption 1). Its picture is the person's portrait, which the drawn faces are compared with.
    """
    whose, which = divmod(index, PROMPTS)
    who = person(seed, whose)
    template = templates(seed, whose)[which]
    texts = [Written(template.replace("{}", word)) for word in (who.noun, f"<{who.name}>")]
    by_suffix = ground_truth.members(portrait(seed, whose, size), texts)
    kept = ("png", "meta.json", "caption.json")
    return _with_meta({name: by_suffix[name] for name in kept}, who, KINDS[which])


def _with_meta(members: dict[str, bytes], who: Identity, kind: str) -> dict[str, bytes]:
    meta = records.load(records.Meta, members["meta.json"], "meta.json")
    meta.extra |= {"subject": who.name, "class": who.noun, **({"prompt": kind} if kind else {})}
    return {**members, "meta.json": records.dump(meta)}


def key(source: str, seed: int, index: int) -> str:
    """The key of a picture (source ``identities``) or a prompt (``identity-prompts``)."""
    if source == "identities":
        return f"{person(seed, index).name}/portrait"
    whose, which = divmod(index, PROMPTS)
    return f"{person(seed, whose).name}/prompt-{which:02d}"

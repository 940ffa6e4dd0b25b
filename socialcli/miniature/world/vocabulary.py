"""What the world is made of: colours, places, things, animals, verbs, and which pairs occur.

A *pair* is a verb with the class of its object ("ride horse"); its number (1, 2, ...) is the
world's HOI class. `PAIRS` says how often each occurs and in which splits:

    ``c``/``m``  common and less common, in every split
    ``r``        rare: fewer than ten training scenes however many are drawn (the long tail)
    ``v``        never in train: first seen in val (and test)
    ``t``        never in train nor val: first seen in test

Every verb and every object class of a held-out pair occurs in train in other pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

from socialcli.miniature.world.canvas import Colour

SPLITS = ("train", "val", "test")

COLOURS: dict[str, Colour] = {
    "red": (214, 40, 40),
    "orange": (244, 134, 28),
    "yellow": (250, 212, 54),
    "green": (52, 156, 72),
    "blue": (44, 98, 208),
    "purple": (132, 62, 178),
    "pink": (250, 140, 188),
    "white": (246, 246, 246),
    "black": (40, 40, 46),
    "brown": (132, 84, 44),
    "grey": (146, 150, 156),
}
CLOTHES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
BRIGHT = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "brown")

PLACES: dict[str, str] = {
    "park": "in the park",
    "beach": "on the beach",
    "street": "in the street",
    "room": "in a room",
    "snow": "in the snow",
    "meadow": "in a meadow",
    "kitchen": "in the kitchen",
    "playground": "at the playground",
    "desert": "in the desert",
}
OUTDOORS = ("park", "beach", "street", "snow", "meadow", "playground", "desert")

LIGHTS: dict[str, tuple[float, float, float]] = {
    "day": (1.0, 1.0, 1.0),
    "evening": (1.0, 0.9, 0.8),
    "overcast": (0.9, 0.92, 0.95),
    "night": (0.7, 0.74, 0.9),
}


@dataclass(frozen=True)
class Verb:
    """A verb as the captions need it, particles included."""

    lemma: str
    third: str  # "rides"
    ing: str  # "riding"
    past: str  # participle for the passive: "ridden"; "" where a passive would sound odd


def _verb(lemma: str, ing: str, past: str = "") -> Verb:
    first, *rest = lemma.split()
    third = first[:-1] + "ies" if first in ("carry", "fly") else first + "s"
    if first.endswith(("sh", "ch", "ss")):
        third = first + "es"
    return Verb(lemma, " ".join([third, *rest]), ing, past)


VERBS: dict[str, Verb] = {
    v.lemma: v
    for v in (
        _verb("hold", "holding", "held"),
        _verb("carry", "carrying", "carried"),
        _verb("push", "pushing", "pushed"),
        _verb("pull", "pulling", "pulled"),
        _verb("ride", "riding", "ridden"),
        _verb("kick", "kicking", "kicked"),
        _verb("throw", "throwing", "thrown"),
        _verb("feed", "feeding", "fed"),
        _verb("walk", "walking", "walked"),
        _verb("pet", "petting", "petted"),
        _verb("look at", "looking at", "looked at"),
        _verb("read", "reading", "read"),
        _verb("play", "playing", "played"),
        _verb("drink from", "drinking from"),
        _verb("eat", "eating", "eaten"),
        _verb("sit on", "sitting on"),
        _verb("fly", "flying", "flown"),
        _verb("talk on", "talking on"),
        _verb("photograph", "photographing", "photographed"),
        _verb("point at", "pointing at"),
        _verb("chase", "chasing", "chased"),
        _verb("jump over", "jumping over"),
        _verb("hug", "hugging", "hugged"),
        _verb("shake hands with", "shaking hands with"),
        _verb("kneel before", "kneeling before"),
        _verb("kiss the hand of", "kissing the hand of"),
        _verb("ride on the back of", "riding on the back of"),
        _verb("hold in arms", "holding in arms", "held in arms"),
        _verb("dance with", "dancing with"),
        _verb("high-five", "high-fiving"),
        _verb("hold hands with", "holding hands with"),
        _verb("whisper to", "whispering to"),
        _verb("wave to", "waving to"),
        _verb("pat", "patting", "patted"),
    )
}

ANIMALS = ("dog", "cat", "horse", "sheep", "cow", "rabbit", "elephant", "bird")
THINGS = (
    "umbrella", "cup", "book", "balloon", "flower", "ball", "phone", "apple", "camera", "guitar",
    "bag", "box", "suitcase", "chair", "cake", "cart", "stroller", "wheelbarrow", "bicycle",
    "skateboard", "scooter", "frisbee", "bench", "kite",
)  # fmt: skip

_TABLE: dict[str, str] = {
    "hold": "umbrella:c cup:c book:m balloon:c flower:m ball:m phone:m apple:m bag:m "
    "cat:m frisbee:r camera:m cake:v rabbit:t kite:t",
    "carry": "box:c bag:c suitcase:m cake:m chair:r guitar:r ball:v bicycle:t",
    "push": "cart:c stroller:c wheelbarrow:m box:m bicycle:r scooter:v chair:t",
    "pull": "suitcase:c cart:m box:r stroller:t",
    "ride": "bicycle:c horse:c skateboard:c scooter:m elephant:r sheep:v cow:t",
    "kick": "ball:c box:m apple:r suitcase:v bag:t",
    "throw": "ball:c frisbee:m book:r apple:v cup:t",
    "feed": "dog:c cat:m horse:m sheep:m elephant:r cow:v rabbit:t",
    "walk": "dog:c horse:m cat:r rabbit:v sheep:t",
    "pet": "cat:c dog:c horse:m rabbit:m elephant:r cow:v sheep:t",
    "look at": "dog:m kite:m bird:c bicycle:m cake:m elephant:m cow:m rabbit:r flower:v "
    "horse:t guitar:t person:m",
    "read": "book:c",
    "play": "guitar:c",
    "drink from": "cup:c",
    "eat": "apple:c cake:m",
    "sit on": "chair:c bench:c box:m suitcase:r skateboard:v ball:t",
    "fly": "kite:c",
    "talk on": "phone:c",
    "photograph": "dog:m cat:m bird:m elephant:r person:m cake:v horse:t",
    "point at": "kite:m dog:m bird:m cow:m balloon:r bicycle:v cat:t",
    "chase": "dog:m cat:m ball:m rabbit:r sheep:v bird:t",
    "jump over": "box:m bench:m suitcase:r ball:v dog:t",
    "hug": "person:c dog:m cat:r sheep:t",
    "shake hands with": "person:c",
    "kneel before": "person:c",
    "kiss the hand of": "person:c",
    "ride on the back of": "person:c",
    "hold in arms": "person:c",
    "dance with": "person:c",
    "high-five": "person:c",
    "hold hands with": "person:c",
    "whisper to": "person:m",
    "wave to": "person:c",
    "pat": "person:m",
}


@dataclass(frozen=True)
class Pair:
    """One verb-object class."""

    hoi: int
    verb: str
    object: str
    tier: str  # c, m, r, v, t


PAIRS: tuple[Pair, ...] = tuple(
    Pair(number + 1, verb, *entry.split(":"))
    for number, (verb, entry) in enumerate(
        (verb, entry) for verb, row in _TABLE.items() for entry in row.split()
    )
)
_WEIGHT = {"c": 1.0, "m": 0.4}
FREQUENT: tuple[Pair, ...] = tuple(p for p in PAIRS if p.tier in _WEIGHT)
FREQUENT_WEIGHTS: tuple[float, ...] = tuple(_WEIGHT[p.tier] for p in FREQUENT)
RARE: tuple[Pair, ...] = tuple(p for p in PAIRS if p.tier == "r")

# A rare pair's turn comes every RARE_EVERY training scenes, and RARE_TURNS times at most.
RARE_EVERY, RARE_TURNS = 60, 8


def special(split: str) -> tuple[Pair, ...]:
    """The pairs that take turns in this split beside the frequent ones."""
    tiers = {"train": "r", "val": "rv", "test": "rvt"}[split]
    return tuple(p for p in PAIRS if p.tier in tiers)


def special_turn(split: str, index: int) -> Pair | None:
    """The rare or held-out pair scene ``index`` must show, or None: it draws a frequent one.

    In train one scene in `RARE_EVERY`, until every rare pair has had `RARE_TURNS` scenes; in val
    and test every third, round and round, so that rare and unseen pairs can be measured.
    """
    pairs = special(split)
    every = RARE_EVERY if split == "train" else 3
    turn, at = divmod(index, every)
    if at != every - 1 or (split == "train" and turn >= RARE_TURNS * len(pairs)):
        return None
    return pairs[turn % len(pairs)]


# Of ten consecutive identity or subject numbers eight are for training, one each for val, test.
def split_of(number: int) -> str:
    """The split an identity's or subject's number belongs to."""
    return ("test", "val")[number % 10] if number % 10 < 2 else "train"


def number_in(split: str, index: int) -> int:
    """The ``index``-th number of a split: `split_of` of it is that split."""
    if split == "train":
        return index // 8 * 10 + 2 + index % 8
    return index * 10 + (0 if split == "test" else 1)

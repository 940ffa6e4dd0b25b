"""Who people are, what they wear, and what makes a particular thing or animal particular.

An identity is a number; everything about the face follows from it and nothing else, so it
survives pose, clothes and place. Clothing is drawn from the scene, never from the identity.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

from socialcli.miniature.world.canvas import Colour, shade
from socialcli.miniature.world.vocabulary import ANIMALS, BRIGHT, CLOTHES, number_in

# Identities and subjects per split; the numbers of a split come from `vocabulary.number_in`.
POPULATION = {"train": 4000, "val": 500, "test": 500}
SUBJECTS = {"train": 240, "val": 30, "test": 30}  # of each thing and each animal

SKINS: tuple[Colour, ...] = (
    (255, 226, 204), (250, 208, 176), (236, 186, 146), (216, 158, 112), (186, 124, 80),
    (150, 96, 60), (116, 72, 46), (84, 52, 36),
)  # fmt: skip
HAIRS: dict[str, Colour] = {
    "black": (34, 28, 30),
    "brown": (96, 58, 32),
    "chestnut": (146, 78, 36),
    "blond": (236, 200, 104),
    "ginger": (216, 96, 36),
    "grey": (168, 168, 172),
    "white": (240, 240, 236),
    "teal": (38, 148, 148),
}
IRISES: tuple[Colour, ...] = ((52, 34, 26), (96, 58, 28), (36, 84, 168), (38, 122, 70))
HATS: tuple[Colour, ...] = (
    (196, 44, 52), (240, 176, 40), (60, 140, 80), (48, 88, 184), (120, 66, 160), (60, 56, 60),
)  # fmt: skip
MALE_HAIR = ("bald", "crew", "short", "spiky", "curly", "side", "afro", "mohawk")
FEMALE_HAIR = ("bob", "long", "ponytail", "bun", "afro", "pigtails", "wavy")


@dataclass(frozen=True)
class Identity:
    """What a face shows; every field can be read from the pixels of a face of 20 px."""

    number: int
    female: bool
    child: bool
    skin: int
    hair: str
    hair_colour: str
    wide: float  # half width of the head over the standard one
    tall: float
    chin: int  # 0 round, 1 square, 2 pointed
    brows: int  # 0 thin, 1 thick, 2 raised
    iris: int
    nose: int  # 0 button, 1 wide, 2 long
    mouth: int  # 0 small, 1 wide, 2 full
    glasses: int  # 0 none, 1 round, 2 square, 3 half-rim
    frame: Colour
    beard: int  # 0 none, 1 moustache, 2 goatee, 3 full, 4 stubble
    hat: int  # 0 none, 1 cap, 2 beanie, 3 brimmed
    hat_colour: Colour
    marks: int  # 0 none, 1 freckles, 2 rosy cheeks, 3 mole, 4 earrings

    @property
    def name(self) -> str:
        return f"person-{self.number:05d}"

    @property
    def noun(self) -> str:
        if self.child:
            return "girl" if self.female else "boy"
        return "woman" if self.female else "man"

    @property
    def stature(self) -> float:
        return 0.78 if self.child else 1.0

    @property
    def head(self) -> float:
        """Size of the head over its stature's: children have the larger heads."""
        return 1.17 if self.child else 1.0


@cache
def identity(number: int) -> Identity:
    """The person with this number; the same on every machine and run."""
    rng = random.Random(f"identity {number}")
    female = rng.random() < 0.5
    child = rng.random() < 0.22
    hair_colours = ["black", "brown", "chestnut", "blond", "ginger", "teal"]
    if not child:
        hair_colours += ["grey", "white"]
    styles = FEMALE_HAIR if female else MALE_HAIR[1:] if child else MALE_HAIR
    return Identity(
        number=number,
        female=female,
        child=child,
        skin=rng.randrange(len(SKINS)),
        hair=rng.choice(styles),
        hair_colour=rng.choice(hair_colours),
        wide=rng.choice((0.9, 1.0, 1.1)),
        tall=rng.choice((0.93, 1.0, 1.07)),
        chin=rng.randrange(3),
        brows=rng.randrange(3),
        iris=rng.randrange(len(IRISES)),
        nose=rng.randrange(3),
        mouth=rng.randrange(3),
        glasses=rng.choice((0, 0, 0, 1, 2, 3)),
        frame=rng.choice(((30, 30, 34), (170, 40, 44), (40, 74, 160))),
        beard=0 if female or child else rng.choice((0, 0, 1, 2, 3, 4)),
        hat=rng.choice((0, 0, 0, 0, 1, 2, 3)),
        hat_colour=rng.choice(HATS),
        marks=rng.choice((0, 1, 2, 3, 4 if female else 0)),
    )


@dataclass(frozen=True)
class Outfit:
    """Clothes of one scene: named colours, so that captions can speak of them."""

    top: str
    pattern: str  # plain, stripes, dots
    bottom: str  # trousers, shorts, skirt, dress
    bottom_colour: str
    long_sleeves: bool
    shoes: Colour


def outfit(rng: random.Random, female: bool) -> Outfit:
    """Clothes for one person of one scene."""
    top = rng.choice(CLOTHES)
    bottom = rng.choice(("trousers", "shorts", "skirt", "dress") if female else _BELOW)
    below = rng.choice([c for c in CLOTHES if c != top])
    return Outfit(
        top=top,
        pattern=rng.choice(("plain", "plain", "plain", "stripes", "dots")),
        bottom=bottom,
        bottom_colour=top if bottom == "dress" else below,
        long_sleeves=rng.random() < 0.6,
        shoes=rng.choice(((60, 40, 32), (34, 34, 40), (214, 60, 52), (236, 236, 236))),
    )


_BELOW = ("trousers", "trousers", "shorts")

COATS: dict[str, Colour] = {
    "brown": (150, 98, 54),
    "black": (52, 50, 56),
    "white": (242, 240, 234),
    "grey": (152, 154, 162),
    "golden": (228, 176, 92),
    "ginger": (222, 124, 56),
    "cream": (244, 222, 178),
}
BIRDS = ("red", "orange", "yellow", "blue", "green", "pink", "white")


@dataclass(frozen=True)
class Look:
    """How one particular thing or animal looks; ``number`` says which of its kind it is."""

    kind: str
    number: int
    colour: str  # the word for it
    main: Colour
    second: Colour
    pattern: str  # things: plain, stripes, dots, star, band; animals: plain, patches, spots, socks
    accent: Colour  # collar, ribbon, handle

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number:04d}"


@cache
def look(kind: str, number: int) -> Look:
    """The particular ``kind`` ("dog", "cup", ...) with this number."""
    rng = random.Random(f"subject {kind} {number}")
    if kind == "elephant":
        colour, names = "grey", {"grey": shade((152, 154, 166), rng.choice((0.8, 0.95, 1.15)))}
    elif kind == "bird":
        from socialcli.miniature.world.vocabulary import COLOURS

        names = {name: COLOURS[name] for name in BIRDS}
        colour = rng.choice(BIRDS)
    elif kind in ANIMALS:
        names = COATS
        colour = rng.choice(tuple(COATS))
    else:
        from socialcli.miniature.world.vocabulary import COLOURS

        names, colour = COLOURS, rng.choice(BRIGHT)
        if kind in ("apple", "flower"):
            names = {name: COLOURS[name] for name in ("red", "yellow", "green", "pink", "white")}
            colour = rng.choice(("red", "green", "yellow") if kind == "apple" else tuple(names))
    others = [c for n, c in (names | COATS if kind in ANIMALS else names).items() if n != colour]
    patterns = (
        ("plain", "patches", "spots", "socks")
        if kind in ANIMALS
        else ("plain", "stripes", "dots", "star", "band")
    )
    return Look(
        kind=kind,
        number=number,
        colour=colour,
        main=names[colour],
        second=rng.choice(others),
        pattern=rng.choice(patterns),
        accent=rng.choice(HATS),
    )


def draw_identity(rng: random.Random, split: str, taken: set[int], child: bool | None) -> Identity:
    """A person of the split who is not in the picture yet; ``child`` asks for one or none."""
    while True:
        number = number_in(split, rng.randrange(POPULATION[split]))
        person = identity(number)
        if number not in taken and child in (None, person.child):
            taken.add(number)
            return person


def draw_look(rng: random.Random, split: str, kind: str) -> Look:
    """A particular thing or animal of the split."""
    return look(kind, number_in(split, rng.randrange(SUBJECTS[split])))

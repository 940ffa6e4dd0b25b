"""Keypoints by name: what a `Keypoints.layout` other than COCO's body means.

The layouts are those that X-Pose was trained with (Yang et al., "X-Pose: Detecting Any Keypoints",
ECCV 2024), with the names of its predefined skeletons: faces (300W), hands, four-legged animals
(AP-10K) and others (Animal Kingdom), animals' faces, a fly and a locust, cars, clothes
(DeepFashion2) and furniture. X-Pose reads the names as words, so that they must stay as they are.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from socialcli.records import COCO_KEYPOINTS, COCO_LIMBS, Box, Entity

BODY = "coco17"
ANIMAL = "animal"  # what is asked for of an animal that has no layout of its own


@dataclass(frozen=True)
class Layout:
    """``names`` of the keypoints in their order; ``limbs`` are pairs of their numbers."""

    names: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...] = ()

    def mirror(self) -> list[int]:
        """Where each keypoint of a mirrored picture comes from: left and right change places."""
        numbers = {name: number for number, name in enumerate(self.names)}
        swapped = [re.sub("left|right", lambda m: _OTHER[m[0]], name) for name in self.names]
        return [
            number if other == name else numbers.get(other, number)
            for number, (name, other) in enumerate(zip(self.names, swapped, strict=True))
        ]

    def real(self) -> list[bool]:
        """Whether each keypoint is one: two numbers of the car's stand for nothing."""
        return [name != "none" for name in self.names]


_OTHER = {"left": "right", "right": "left"}

# Several keypoints are written as one: "left cheek 5-1" is left cheek 5, left cheek 4 and so on.
_NECKLINE = (
    "upper center neckline, upper right neckline, lower right neckline, lower center neckline, "
    "lower left neckline, upper left neckline, "
)
_COAT = (
    "upper center neckline, lower right center neckline, lower right neckline, upper right "
    "neckline, lower left neckline, upper left neckline, "
)
_COAT_END = "lower left center neckline, left side inside 1-3, right side inside 1-2"
_LONG_RIGHT = "right sleeve outside 1-4, right cuff outside, right cuff inside, "
_LONG_LEFT = "left cuff inside, left cuff outside, left sleeve outside 4-1"
_SHORT_RIGHT = "right sleeve outside 1-2, right cuff outside, right cuff inside, "
_SHORT_LEFT = "left cuff inside, left cuff outside, left sleeve outside 2-1"
_COAT_SIDES = "right side outside 1-3, right side inside 3, left side outside 3-1, "
_VEST = _NECKLINE + "right sleeve, right side 1-3, center hem, left side 3-1, left sleeve"
_VEST_DRESS = _NECKLINE + "right side 1-6, center hem, left side 6-1"
_KNUCKLES = "root; third knuckle; second knuckle; first knuckle"

_NAMES = {
    BODY: ", ".join(name.replace("_", " ") for name in COCO_KEYPOINTS),
    "face": "right cheekbone 1-2, right cheek 1-5, right chin, chin center, left chin, left cheek "
    "5-1, left cheekbone 2-1, right eyebrow 1-5, left eyebrow 1-5, nasal bridge 1-4, right nasal "
    "wing 1-2, nasal wing center, left nasal wing 1-2, right eye eye corner 1, right eye upper "
    "eyelid 1-2, right eye eye corner 2, right eye lower eyelid 2-1, left eye eye corner 1, left "
    "eye upper eyelid 1-2, left eye eye corner 2, left eye lower eyelid 2-1, right mouth corner, "
    "upper lip outer edge 1-5, left mouth corner, lower lip outer edge 5-1, upper lip inter edge "
    "1-5, lower lip inter edge 3-1",
    "hand": "wrist, thumb root, thumb's third knuckle, thumb's second knuckle, thumb's first "
    "knuckle, "
    + ", ".join(
        f"{finger}'s {part}"
        for finger in ("forefinger", "middle finger", "ring finger", "pinky finger")
        for part in _KNUCKLES.split("; ")
    ),
    ANIMAL: "left eye, right eye, nose, neck, root of tail, left shoulder, left elbow, left front "
    "paw, right shoulder, right elbow, right front paw, left hip, left knee, left back paw, right "
    "hip, right knee, right back paw",
    "animal_in_AnimalKindom": "head mid top, eye left, eye right, mouth front top, mouth back "
    "left, mouth back right, mouth front bottom, shoulder left, shoulder right, elbow left, elbow "
    "right, wrist left, wrist right, torso mid back, hip left, hip right, knee left, knee right, "
    "ankle left, ankle right, tail top back, tail mid back, tail end back",
    "animal_face": "right eye right, right eye left, left eye right, left eye left, nose tip, lip "
    "right, lip left, upper lip, lower lip",
    "fly": "head, eye left, eye right, neck, thorax, abdomen, "
    + ", ".join(
        f"{pair} {side} {part}"
        for side in ("right", "left")
        for pair in ("foreleg", "midleg", "hindleg")
        for part in ("base", "first segment", "second segment", "tip")
    )
    + ", wing left, wing right",
    "locust": "head, neck, thorax, abdomen1, abdomen2, "
    + ", ".join(
        ", ".join(
            [f"anttip {side}, antbase {side}, eye {side}"]
            + [
                f"{pair} {side} {part}"
                for pair in ("foreleg", "midleg", "hindleg")
                for part in ("base", "first segment", "second segment", "tip")
            ]
        )
        for side in ("left", "right")
    ),
    "car": "right front wheel center, left front wheel center, right rear wheel center, left rear "
    "wheel center, front right, front left, back right, back left, none, roof front right, roof "
    "front left, roof back right, roof back left, none",
    "short_sleeved_shirt": _NECKLINE + _SHORT_RIGHT + "right sleeve inside 2-1, right side 1-3, "
    "center hem, left side 3-1, left sleeve inside 1-2, " + _SHORT_LEFT,
    "long_sleeved_shirt": _NECKLINE + _LONG_RIGHT + "right sleeve inside 4-1, right side 1-3, "
    "center hem, left side 3-1, left sleeve inside 1-4, " + _LONG_LEFT,
    "short_sleeved_outwear": _COAT + _SHORT_RIGHT + "right sleeve inside 2-1, " + _COAT_SIDES
    + "left sleeve inside 1-2, " + _SHORT_LEFT + ", " + _COAT_END,
    "long_sleeved_outwear": _COAT + _LONG_RIGHT + "right sleeve inside 1-4, " + _COAT_SIDES
    + "left sleeve inside 4-1, " + _LONG_LEFT + ", " + _COAT_END,
    "vest": _VEST,
    "sling": _VEST,
    "shorts": "right side outside 1, upper center, left side outside 1, right side outside 2, "
    "right cuff outside, right cuff inside, crotch, left cuff inside, left cuff outside, left side "
    "outside 2",
    "trousers": "right side outside 1, upper center, left side outside 1, right side outside 2-3, "
    "right cuff outside, right cuff inside, right side inside 1, crotch, left side inside 1, left "
    "cuff inside, left cuff outside, left side outside 3-2",
    "skirt": "right side 1, upper center, left side 1, right side 2-3, center hem, left side 3-2",
    "short_sleeved_dress": _NECKLINE + _SHORT_RIGHT + "right sleeve inside 1-2, left side 1-5, "
    "center hem, right side 5-1, left sleeve inside 2-1, " + _SHORT_LEFT,
    "long_sleeved_dress": _NECKLINE + _LONG_RIGHT + "right sleeve inside 4-1, right side 1-5, "
    "center hem, left side 5-1, left sleeve inside 1-4, " + _LONG_LEFT,
    "vest_dress": _VEST_DRESS,
    "sling_dress": _VEST_DRESS,
    "table": "desktop corner 1-4, table leg 1-4",
    "chair": "legs righttopcorner, legs lefttopcorner, legs leftbottomcorner, legs "
    "rightbottomcorner, base righttop, base lefttop, base leftbottom, base rightbottom, headboard "
    "righttop, headboard lefttop",
    "bed": "legs rightbottomcorner, legs righttopcorner, base rightbottom, base righttop, backrest "
    "righttop, legs leftbottomcorner, legs lefttopcorner, base leftbottom, base lefttop, backrest "
    "lefttop",
    "sofa": "legs rightbottomcorner, legs righttopcorner, base rightbottom, base righttop, "
    "armrests rightbottomcorner, armrests righttopcorner, backrest righttop, legs "
    "leftbottomcorner, legs lefttopcorner, base leftbottom, base lefttop, armrests "
    "leftbottomcorner, armrests lefttopcorner, backrest lefttop",
    "swivelchair": "rotatingbase 1-5, rotatingbase center, base center, base righttop, base "
    "lefttop, base leftbottom, base rightbottom, backrest righttop, backrest lefttop",
}  # fmt: skip

_LIMBS: dict[str, tuple[tuple[int, int], ...]] = {
    BODY: COCO_LIMBS,
    ANIMAL: (
        (0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (5, 6), (6, 7), (3, 8), (8, 9), (9, 10),
        (4, 11), (11, 12), (12, 13), (4, 14), (14, 15), (15, 16),
    ),
    "animal_in_AnimalKindom": (
        (1, 0), (2, 0), (3, 4), (3, 5), (4, 6), (5, 6), (0, 7), (0, 8), (7, 9), (8, 10), (9, 11),
        (10, 12), (0, 13), (13, 20), (20, 14), (20, 15), (14, 16), (15, 17), (16, 18), (17, 19),
        (20, 21), (21, 22),
    ),
    "car": (
        (0, 2), (1, 3), (0, 1), (2, 3), (9, 11), (10, 12), (9, 10), (11, 12), (4, 0), (4, 9),
        (4, 5), (5, 1), (5, 10), (6, 2), (6, 11), (7, 3), (7, 12), (6, 7),
    ),
    "fly": (
        (1, 0), (2, 0), (3, 0), (4, 3), (5, 4),
        *((first + step + 1, first + step) for first in range(6, 30, 4) for step in range(3)),
        (30, 3), (31, 3),
    ),
    "locust": (
        (1, 0), (2, 1), (3, 2), (4, 3),
        *((side + 1, side) for side in (5, 20)), *((side + 2, side + 1) for side in (5, 20)),
        *((first + step + 1, first + step)
          for side in (8, 23) for first in range(side, side + 12, 4) for step in range(3)),
    ),
}  # fmt: skip

# What captions and detectors call the things that have a layout; plurals need no entry.
_WORDS = {
    "bear": ANIMAL, "cat": ANIMAL, "cow": ANIMAL, "deer": ANIMAL, "dog": ANIMAL,
    "elephant": ANIMAL, "giraffe": ANIMAL, "horse": ANIMAL, "monkey": ANIMAL, "pig": ANIMAL,
    "rabbit": ANIMAL, "sheep": ANIMAL, "tiger": ANIMAL, "zebra": ANIMAL,
    "couch": "sofa", "dining table": "table", "desk": "table", "swivel chair": "swivelchair",
    "office chair": "swivelchair", "automobile": "car", "taxi": "car", "pants": "trousers",
    "jeans": "trousers", "t-shirt": "short_sleeved_shirt", "coat": "long_sleeved_outwear",
    "jacket": "long_sleeved_outwear", "grasshopper": "locust",
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Of all layouts."""
    return tuple(_NAMES)


@functools.cache
def layout(name: str) -> Layout | None:
    """The layout of this name; None where it is not known here."""
    if name not in _NAMES:
        return None
    return Layout(tuple(_expanded(_NAMES[name])), _LIMBS.get(name, ()))


def of_thing(label: str, kind: str = "object") -> str | None:
    """The name of the layout that a thing or an animal has; None where it has none.

    Args:
        label: what it is called: "a brown chair", "dining tables".
        kind: of the entity: animal or object.
    """
    words = label.lower().replace("_", " ").split()
    for count in (4, 3, 2, 1):
        phrase = " ".join(words[-count:])
        for one in (phrase, phrase.removesuffix("s"), phrase.removesuffix("es")):
            known = _WORDS.get(one, one.replace(" ", "_").replace("-", "_"))
            if known in _NAMES and known != BODY:
                return known
    return ANIMAL if kind == "animal" else None


def of_box(box: Box, entity: Entity | None) -> tuple[str, str] | None:
    """What the content of a box is called and the name of its layout; None for people, who have
    their own record, and for what has no layout."""
    if entity is not None and entity.kind == "person":
        return None
    label = (entity.lemma or entity.head) if entity is not None else box.label
    name = of_thing(label, entity.kind if entity is not None else "object")
    return None if name is None else (label.lower(), name)


def _expanded(text: str) -> list[str]:
    expanded: list[str] = []
    for part in text.split(", "):
        several = re.fullmatch(r"(.* )(\d)-(\d)", part)
        if several is None:
            expanded.append(part)
            continue
        first, last = int(several[2]), int(several[3])
        step = 1 if last > first else -1
        expanded += [f"{several[1]}{number}" for number in range(first, last + step, step)]
    return expanded

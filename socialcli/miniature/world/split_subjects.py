"""A benchmark of subjects with a split test set, in the world: PDST in miniature.

Source: Towards More Accurate Personalized Image Generation, section 3: twenty subjects, half of
them alive, each with five pictures to train on and ten others to test with, and ten captions of
each test picture in which ``{}`` stands for the subject.

The subjects are of the world's test split, which no training sees. Their pictures are scenes whose
thing or animal was recast as the subject; the people, the clothes and the places are the scene's.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from functools import cache

from socialcli import records
from socialcli.miniature.world import ground_truth
from socialcli.miniature.world.captions import Written, captions
from socialcli.miniature.world.identity import SUBJECTS, Look, look
from socialcli.miniature.world.planning import Plan, plan
from socialcli.miniature.world.scenes import Scene, paint
from socialcli.miniature.world.vocabulary import ANIMALS, FREQUENT, number_in

PARTS = {"train": 5, "test": 10}  # pictures of each subject
CAPTIONS = 10
# The kinds of which acts are many and pictures large enough to recognise one of its kind by.
LIVE = ("dog", "cat", "horse", "bird", "cow", "dog", "cat", "horse", "sheep", "elephant")
RIGID = (
    "umbrella", "box", "bicycle", "bench", "cart", "balloon", "suitcase", "kite", "stroller",
    "guitar",
)  # fmt: skip
POOL = 12000  # plans of the test split to recast
LEAST = 0.02  # of the picture, that the subject covers at least
_TRIES = 40  # times captions are drawn until ten differ


@dataclass(frozen=True)
class Shot:
    """One picture of one subject, decided but not drawn."""

    look: Look
    part: str  # train or test
    number: int  # within the part, from 0
    plan: Plan

    @property
    def key(self) -> str:
        return f"{self.look.name}/{self.part}-{self.number:02d}"

    def scene(self, size: int) -> Scene:
        """The picture, ``size`` pixels a side, with everything that is true about it."""
        return dataclasses.replace(paint(self.plan, size), key=self.key)


def subjects(seed: int) -> list[Look]:
    """The twenty, an animal and a thing in turn; no two of a kind have one colour."""
    rng = random.Random(f"split subjects {seed}")
    chosen: list[Look] = []
    for kind in (kind for pair in zip(LIVE, RIGID, strict=True) for kind in pair):
        others = {one.colour for one in chosen if one.kind == kind}
        while True:
            one = look(kind, number_in("test", rng.randrange(SUBJECTS["test"])))
            if one.colour not in others:
                break
        chosen.append(one)
    return chosen


def shots(seed: int, part: str, count: int = 20) -> list[Shot]:
    """The pictures of one part of the first ``count`` subjects, subject by subject.

    Args:
        part: "train" or "test".
    """
    names = subjects(seed)[:count]
    return [
        Shot(one, part, number, cast)
        for one in names
        for number, cast in enumerate(_cast(seed, one)[part])
    ]


@cache
def _cast(seed: int, subject: Look) -> dict[str, list[Plan]]:
    """The plans of a subject's pictures; those to train on are of as many places as there are."""
    rng = random.Random(f"split subjects {seed} {subject.name}")
    order = list(_pool(seed)[subject.kind])
    rng.shuffle(order)
    chosen: list[Plan] = []
    places: set[str] = set()
    late: list[Plan] = []
    for number in order:
        one = plan(_world(seed), number, "test")
        main = one.placed[one.main]
        main.act.props[0].look = subject
        if len(chosen) < PARTS["train"] and one.place in places:
            late.append(one)
        elif _is_clear(one, subject):
            chosen.append(one)
            places.add(one.place)
        if len(chosen) == sum(PARTS.values()):
            break
    for one in late:  # few places, or few acts of its kind
        if len(chosen) < sum(PARTS.values()) and _is_clear(one, subject):
            chosen.append(one)
    first = PARTS["train"]
    return {"train": chosen[:first], "test": chosen[first : sum(PARTS.values())]}


def _world(seed: int) -> int:
    """The scenes' own seed: no scene of `import world` shows the same people at the same act."""
    return 7_000_000 + seed


@cache
def _pool(seed: int) -> dict[str, list[int]]:
    """Kind -> plans in whose main act, a frequent one, a thing of this kind is the object."""
    numbers: dict[str, list[int]] = {kind: [] for kind in (*LIVE, *RIGID)}
    for number in range(POOL):
        one = plan(_world(seed), number, "test")
        pair = one.placed[one.main].pair
        if pair in FREQUENT and pair is not None and pair.object in numbers:
            kinds = [prop.look.kind for placed in one.placed for prop in placed.act.props]
            if kinds.count(pair.object) == 1:
                numbers[pair.object].append(number)
    return numbers


def _is_clear(one: Plan, subject: Look) -> bool:
    """Whether the subject is to be seen, and the act that its captions are about."""
    drawn = paint(one, 48)
    thing = next((t for t in drawn.things if t.look == subject), None)
    return (
        thing is not None
        and float(thing.mask.mean()) >= LEAST
        and bool(drawn.relations)
        and drawn.relations[0].object == thing.id
    )


def templates(scene: Scene, subject: Look) -> list[str]:
    """Ten captions of a scene with ``{}`` for what they call its subject, articles left: no word
    of them says what it is or looks like.

    >>> "a man is walking a brown dog in the park" -> "a man is walking a {} in the park"
    """
    thing = next(t for t in scene.things if t.look == subject)
    texts: dict[str, None] = {}
    for turn in range(_TRIES):
        drawn = dataclasses.replace(scene, caption_seed=f"{scene.caption_seed} {turn}")
        for written in captions(drawn, CAPTIONS):
            text = _without(written, thing.id)
            if text:
                texts.setdefault(text)
        if len(texts) >= CAPTIONS:
            break
    return list(texts)[:CAPTIONS]


def _without(written: Written, instance: int) -> str:
    """A caption with ``{}`` in place of an instance's noun; "" where it does not name it once."""
    mentions = [m for m in written.mentions if m.instance == instance]
    if len(mentions) != 1:
        return ""
    (mention,) = mentions
    article = mention.phrase.split(" ", 1)[0]
    article = "a" if article == "an" else article
    text = f"{written.text[: mention.start]}{article} {{}}{written.text[mention.end :]}"
    return "" if mention.head in text.replace("-", " ").replace(",", " ").split() else text


def members(shot: Shot, size: int) -> dict[str, bytes]:
    """All members of a picture's sample: those of a scene, and in ``meta.json``'s extra the
    ``subject``, its ``class``, whether it is ``live``, and of a test picture the ``prompts``."""
    scene = shot.scene(size)
    parts = ground_truth.members(scene)
    meta = records.load(records.Meta, parts["meta.json"], "meta.json")
    meta.split = shot.part
    kind = shot.look.kind
    meta.extra |= {"subject": shot.look.name, "class": kind, "live": kind in ANIMALS}
    if shot.part == "test":
        meta.extra["prompts"] = templates(scene, shot.look)
    return {**parts, "meta.json": records.dump(meta)}

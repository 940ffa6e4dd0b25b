"""A benchmark of interactions between two people, in the world.

Source: Customizing Text-to-Image Generation with Inverted Interaction, section 5.1: fifteen
interactions, ten exemplars of each with two persons, and 200 sentences that put other subjects,
animals among them, into the interactions.

Seven of the fifteen are verbs that the miniatures know between people. Of the other eight they know
the verb, but only with things and animals (`acts_interactions`): pictures of these are new to every
model of the package. The people are those of the test split.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass

from socialcli import records
from socialcli.miniature.world import acts_interactions, acts_people, ground_truth
from socialcli.miniature.world.captions import Written
from socialcli.miniature.world.identity import Identity, draw_identity, outfit
from socialcli.miniature.world.planning import Placed, Plan, arrange, direct_eyes, fits_indoors
from socialcli.miniature.world.poses import Act
from socialcli.miniature.world.scenes import Scene, paint
from socialcli.miniature.world.vocabulary import LIGHTS, OUTDOORS, PAIRS, PLACES, VERBS, Pair

SPLIT = "test"  # whose people
EXEMPLARS, SENTENCES = 10, 200
PEOPLE = ("man", "woman", "boy", "girl")
ANIMALS = ("dog", "cat", "horse", "sheep", "cow", "rabbit", "elephant", "bird")
ANIMAL = 0.5  # of the sentences' subjects are animals, if nothing else is said
# Words between which captions put the learned ones: "{p1}", "{r}", "{p2}".
THREE, ONE = "{a} {p1} {r} {b} {p2}", "{a} {r} {b}"


@dataclass(frozen=True)
class Interaction:
    """One of the fifteen.

    Attributes:
        name: of its words, ``kneel-before``. verb: of the world, ``kneel before``.
        seen: whether scenes of the splits show it between people.
    """

    name: str
    verb: str
    seen: bool

    @property
    def pair(self) -> Pair:
        """The world's class of it; number 0 for one that it does not have."""
        pairs = (p for p in PAIRS if (p.verb, p.object) == (self.verb, "person"))
        return next(pairs, Pair(0, self.verb, "person", "t"))

    def rich(self, first: str, second: str, his: str) -> str:
        """What happens, in words that the miniatures know."""
        words = VERBS[self.verb].ing
        if self.verb == "hold in arms":
            return f"{first} is holding {second} in {his} arms"
        return f"{first} is {words} {second}"


SEEN = ("kneel before", "kiss the hand of", "ride on the back of", "hold in arms", "dance with",
        "high-five", "hug")  # fmt: skip
NEW = ("push", "pull", "kick", "chase", "jump over", "sit on", "point at", "carry")
INTERACTIONS: tuple[Interaction, ...] = tuple(
    Interaction(verb.replace(" ", "-"), verb, verb in SEEN) for verb in (*SEEN, *NEW)
)


def plan(seed: int, index: int, kinds: tuple[str, str] | None = None) -> tuple[Interaction, Plan]:
    """Exemplar ``index``, decided but not drawn: of interaction ``index % 15``.

    Args:
        kinds: what the two are ("boy", "woman"); None: anybody.
    """
    which = INTERACTIONS[index % len(INTERACTIONS)]
    rng = random.Random(f"interactions {seed} {which.name} {index}")
    taken: set[int] = set()
    who = [_person(rng, taken, kind) for kind in kinds or (None, None)]
    stages = acts_people.STAGES if which.seen else acts_interactions.STAGES
    p, q, order = stages[which.verb](who[0].stature, who[1].stature)
    act = Act(which.verb, "person", [p, q], [], order, [("person", 1), ("person", 0)])
    for pose in act.people:
        pose.solve()
    placed = Placed(act, which.pair, who, [outfit(rng, w.female) for w in who])
    place = rng.choice(list(PLACES) if fits_indoors(placed) else list(OUTDOORS))
    light = rng.choices(list(LIGHTS), (0.62, 0.14, 0.14, 0.10))[0]
    arrange(rng, [placed])
    direct_eyes(rng, [placed])
    name = key("interactions", index)
    return which, Plan(
        key=name, split=SPLIT, place=place, light=light, horizon=rng.uniform(58, 70),
        placed=[placed], main=0, foreground=False, paint_seed=f"paint {seed} {name}",
        caption_seed=f"caption {seed} {name}",
    )  # fmt: skip


def _person(rng: random.Random, taken: set[int], kind: str | None) -> Identity:
    while True:
        child = None if kind is None else kind in ("boy", "girl")
        who = draw_identity(rng, SPLIT, taken, child)
        if kind in (None, who.noun):
            return who
        taken.discard(who.number)


def exemplar(seed: int, index: int, size: int) -> dict[str, bytes]:
    """The members of an exemplar's sample, ground truth and all."""
    which, decided = plan(seed, index)
    scene = paint(decided, size)
    members = ground_truth.members(scene, [_written(which, scene)])
    return _with_meta(members, which, f"world-{seed}-interactions-{index:07d}")


@dataclass(frozen=True)
class Sentence:
    """One evaluation sentence: two subjects with their articles, an interaction, a place."""

    interaction: Interaction
    first: str
    second: str
    place: str  # "in the park"

    @property
    def rich(self) -> str:
        """In ordinary words."""
        subject = _noun(self.first)
        his = "his" if subject in ("man", "boy") else "her" if subject in PEOPLE else "its"
        a, b = _article(self.first), _article(self.second)
        return f"{self.interaction.rich(a, b, his)} {self.place}"

    def learned(self, form: str) -> str:
        """With pseudo-words: ``form`` is `THREE` or `ONE`."""
        name = self.interaction.name
        words = {"p1": f"<{name}-1>", "r": f"<{name}>", "p2": f"<{name}-2>"}
        clause = form.format(a=_article(self.first), b=_article(self.second), **words)
        return f"{clause} {self.place}"


def sentence(seed: int, index: int, animals: float = ANIMAL) -> Sentence:
    """Sentence ``index``, of interaction ``index % 15``; ``animals`` of the subjects, 0 to 1, are
    animals."""
    which = INTERACTIONS[index % len(INTERACTIONS)]
    rng = random.Random(f"sentences {seed} {index}")
    first, second = (rng.choice(ANIMALS if rng.random() < animals else PEOPLE) for _ in range(2))
    while second == first:
        second = rng.choice(ANIMALS if rng.random() < animals else PEOPLE)
    return Sentence(which, first, second, rng.choice(list(PLACES.values())))


def question(seed: int, index: int, size: int, animals: float = ANIMAL) -> dict[str, bytes]:
    """The members of a sentence's sample.

    ``caption.json`` has three texts: the sentence in ordinary words (caption 0), with three learned
    words (caption 1) and with one (caption 2). Its picture shows two people in the interaction, of
    the kinds that the sentence names where those are people: what a picture of it should look like,
    and no more, since the world has no animals in these poses.
    """
    asked = sentence(seed, index, animals)
    rng = random.Random(f"kinds {seed} {index}")
    first, second = (n if n in PEOPLE else rng.choice(PEOPLE) for n in (asked.first, asked.second))
    which, decided = plan(seed + 1, index, (first, second))  # other scenes than the exemplars
    scene = paint(dataclasses.replace(decided, key=key("interaction-sentences", index)), size)
    written = Written()
    ids = [r for relation in scene.relations for r in (relation.subject, relation.object)]
    for at, (number, name) in enumerate(zip(ids, (asked.first, asked.second), strict=True)):
        kind = "animal" if name in ANIMALS else "person"
        phrase = _article(name)
        start = asked.rich.index(phrase) if at == 0 else asked.rich.rindex(phrase)
        written.name(number, phrase, name, kind)
        written.mentions[-1] = dataclasses.replace(
            written.mentions[-1], start=start, end=start + len(phrase)
        )
    written.text = asked.rich
    others = [asked.learned(form) for form in (THREE, ONE)]
    members = ground_truth.members(scene, [written, *(Written(text) for text in others)])
    names = ("png", "meta.json", "caption.json", "entities.json")
    source = f"world-{seed}-interactions-sentence-{index:07d}"
    return _with_meta({name: members[name] for name in names}, which, source)


def _written(which: Interaction, scene: Scene) -> Written:
    """The caption of an exemplar: its two subjects and what they do."""
    out = Written()
    people = {p.id: p for p in scene.people}
    relation = scene.relations[0]
    first, second = people[relation.subject], people[relation.object]
    verb = VERBS[which.verb]
    out.name(first.id, _article(first.who.noun), first.who.noun, "person")
    holds = which.verb == "hold in arms"
    words = f"is {verb.ing.replace(' in arms', '') if holds else verb.ing}"
    out.say(words)
    out.name(second.id, _article(second.who.noun), second.who.noun, "person")
    if holds:
        out.say(f"in {'her' if first.who.female else 'his'} arms")
    out.say(PLACES[scene.place])
    out.triples.append((first.id, which.verb, second.id, words, False))
    return out


def _with_meta(members: dict[str, bytes], which: Interaction, source: str) -> dict[str, bytes]:
    meta = records.load(records.Meta, members["meta.json"], "meta.json")
    meta.source = source  # by which the miniatures know their own world
    meta.extra |= {"concept": which.name, "class": "interaction", "seen": which.seen}
    return {**members, "meta.json": records.dump(meta)}


def key(source: str, index: int) -> str:
    """The key of an exemplar (source ``interactions``) or a sentence."""
    name = INTERACTIONS[index % len(INTERACTIONS)].name
    turn = index // len(INTERACTIONS)
    return f"{name}/{turn:03d}" if source == "interactions" else f"{name}/sentence-{index:03d}"


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _noun(phrase: str) -> str:
    return phrase.rpartition(" ")[2]

"""Captions of a scene, in varied grammar, with the character span of every entity they name.

A noun phrase stands for one instance and includes what tells it apart ("a woman in red"); its
span covers all of it. Nothing is said that is not in the picture.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from socialcli.miniature.world.scenes import Relation, Scene, ScenePerson, SceneThing
from socialcli.miniature.world.vocabulary import ANIMALS, PLACES, VERBS


@dataclass
class Mention:
    """One noun phrase of a caption; ``text[start:end] == phrase``."""

    instance: int
    phrase: str
    head: str
    kind: str  # person, animal, object
    start: int
    end: int


@dataclass
class Written:
    """A caption with its mentions in order and the relations it states."""

    text: str = ""
    mentions: list[Mention] = field(default_factory=list)
    # (subject instance, verb lemma, object instance, the verb as written, passive)
    triples: list[tuple[int, str, int, str, bool]] = field(default_factory=list)

    def say(self, words: str) -> None:
        """Append words, with a space before them unless they are punctuation."""
        if self.text and not words.startswith(","):
            self.text += " "
        self.text += words

    def name(self, instance: int, phrase: str, head: str, kind: str) -> None:
        """Append a noun phrase and note its span."""
        start = len(self.text) + 1 if self.text else 0
        self.say(phrase)
        self.mentions.append(Mention(instance, phrase, head, kind, start, len(self.text)))


def captions(scene: Scene, count: int = 4) -> list[Written]:
    """``count`` different captions of a scene; the first is the one the records parse."""
    rng = random.Random(scene.caption_seed)
    written: list[Written] = []
    for _ in range(count * 3):
        one = _caption(rng, scene)
        if all(one.text != other.text for other in written):
            written.append(one)
        if len(written) == count:
            break
    return written


def _article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def person_facts(person: ScenePerson) -> list[str]:
    """Everything a caption may add after "a woman" to tell who is meant."""
    who, wear = person.who, person.wear
    garment = "dress" if wear.bottom == "dress" else "shirt"
    coloured = f"{_article(wear.top)} {garment}"
    facts = [f" in {coloured}", f" wearing {coloured}"]
    facts.append(f" in {wear.top}" if wear.bottom == "dress" else f" in {coloured}")
    if who.glasses:
        facts.append(" with glasses")
    if who.beard == 3:
        facts.append(" with a beard")
    if who.hat:
        facts.append(" with a hat")
    elif who.hair != "bald":
        facts.append(f" with {who.hair_colour} hair")
    return facts


def phrases_of(instance: ScenePerson | SceneThing) -> set[str]:
    """Every noun phrase that fits an instance: two men are both "a man"."""
    if isinstance(instance, ScenePerson):
        nouns = (instance.who.noun, "person")
        plain = {f"a {noun}" for noun in nouns}
        return plain | {p + fact for p in plain for fact in person_facts(instance)}
    noun = instance.look.kind
    return {
        _article(noun),
        _article(f"{instance.look.colour} {noun}"),
        f"his {noun}",
        f"her {noun}",
    }


def _person_phrase(rng: random.Random, person: ScenePerson) -> tuple[str, str]:
    """A phrase for a person, and its head noun."""
    fact = rng.choice(person_facts(person)) if rng.random() < 0.62 else ""
    return _article(person.who.noun) + fact, person.who.noun


def _thing_phrase(rng: random.Random, thing: SceneThing) -> tuple[str, str]:
    noun = thing.look.kind
    return _article(f"{thing.look.colour} {noun}" if rng.random() < 0.6 else noun), noun


def _phrase(
    rng: random.Random, scene: Scene, instance: int, phrases: set[str]
) -> tuple[str, str, str]:
    """Phrase, head and kind of an instance; "another" where the phrase has been used."""
    for person in scene.people:
        if person.id == instance:
            phrase, head = _person_phrase(rng, person)
            if phrase in phrases:
                phrase = "another " + phrase.split(" ", 1)[1]
            phrases.add(phrase)
            return phrase, head, "person"
    thing = next(t for t in scene.things if t.id == instance)
    phrase, head = _thing_phrase(rng, thing)
    if phrase in phrases:
        phrase = "another " + phrase.split(" ", 1)[1]
    phrases.add(phrase)
    return phrase, head, "animal" if head in ANIMALS else "object"


def _caption(rng: random.Random, scene: Scene) -> Written:
    out = Written()
    phrases: set[str] = set()
    place = PLACES[scene.place] if rng.random() < 0.75 else ""
    if not scene.relations:
        return _standing(rng, scene, out, phrases, place)
    main = scene.relations[0]
    form = rng.random()
    if place and form < 0.12:
        out.say(place)
        out.say(",")
        place = ""
        form = 0.5
    if form < 0.28 and VERBS[main.pair.verb].past:
        _passive(rng, scene, main, out, phrases)
    elif form < 0.36:
        out.say("there is")
        _active(rng, scene, main, out, phrases, "who is")
    elif form < 0.56:
        _active(rng, scene, main, out, phrases, "")
    elif form < 0.70:
        _active(rng, scene, main, out, phrases, "third")
    else:
        _active(rng, scene, main, out, phrases, "is")
    if place:
        out.say(place)
    if len(scene.relations) > 1 and rng.random() < 0.6:
        out.say("while")
        _active(rng, scene, scene.relations[1], out, phrases, "is")
    elif len(scene.people) > 1 and rng.random() < 0.35:
        named = {m.instance for m in out.mentions} | {
            i for r in scene.relations for i in (r.subject, r.object)
        }
        rest = [p for p in scene.people if p.id not in named]
        if rest:
            out.say("and")
            out.name(rest[0].id, *_phrase(rng, scene, rest[0].id, phrases))
            out.say("is standing nearby")
    return out


def _active(
    rng: random.Random, scene: Scene, relation: Relation, out: Written, phrases: set[str], form: str
) -> None:
    verb = VERBS[relation.pair.verb]
    subject = next(p for p in scene.people if p.id == relation.subject)
    out.name(subject.id, *_phrase(rng, scene, subject.id, phrases))
    words = verb.third if form == "third" else verb.ing
    his = "her" if subject.who.female else "his"
    after = ""
    if verb.lemma == "hold in arms":
        words, after = words.replace(" in arms", ""), f"in {his} arms"
    if form not in ("", "third"):
        out.say(form)
    out.say(words)
    phrase, head, kind = _phrase(rng, scene, relation.object, phrases)
    if kind == "animal" and verb.lemma in ("walk", "pet", "feed", "hug") and rng.random() < 0.25:
        phrase = f"{his} {head}"
    out.name(relation.object, phrase, head, kind)
    if after:
        out.say(after)
    written = f"is {words}" if form in ("is", "who is") else words
    out.triples.append((subject.id, verb.lemma, relation.object, written, False))


def _passive(
    rng: random.Random, scene: Scene, relation: Relation, out: Written, phrases: set[str]
) -> None:
    verb = VERBS[relation.pair.verb]
    out.name(relation.object, *_phrase(rng, scene, relation.object, phrases))
    past = verb.past.replace(" in arms", "")
    out.say(f"is being {past}")
    if verb.lemma == "hold in arms":
        out.say("in the arms of")
    else:
        out.say("by")
    out.name(relation.subject, *_phrase(rng, scene, relation.subject, phrases))
    out.triples.append((relation.subject, verb.lemma, relation.object, f"is being {past}", True))


def _standing(
    rng: random.Random, scene: Scene, out: Written, phrases: set[str], place: str
) -> Written:
    """Where the act cannot be seen (everything of it is hidden), only who is there."""
    for at, person in enumerate(scene.people[:2]):
        if at:
            out.say("and")
        out.name(person.id, *_phrase(rng, scene, person.id, phrases))
    out.say("standing")
    out.say(place or PLACES[scene.place])
    return out

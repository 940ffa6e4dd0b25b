"""Noun phrases of a parsed caption: what is named, of which kind, how many, and which mention is
which entity."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from socialcli.backends.entities import _compounds as compounds
from socialcli.backends.entities import _lexicon as lexicon
from socialcli.records import Entity

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

    from socialcli.backends.entities._mending import Mended

_MODIFIERS = lexicon.words(
    "det amod compound nummod poss nmod predet quantmod advmod neg npadvmod punct case"
)
_NOT_HEADS = lexicon.words("compound nmod amod npadvmod advmod quantmod nummod det")
_LAST_WORD = re.compile(r"[\w'’-]+")
_LATIN = re.compile(r"[a-z]")
_PEOPLE_PRONOUNS = frozenset(["someone", "somebody"])
_EATING = lexicon.words("eat cook grill fry serve slice roast bake prepare carve barbecue")
_FOOD_ANIMALS = lexicon.words(
    "chicken fish turkey lamb shrimp crab duck lobster salmon tuna trout squid oyster octopus"
)
_INVARIANT = lexicon.words("sheep deer fish bison elk moose cattle salmon trout")
_NOT_MEN = frozenset(["snowman", "ottoman", "talisman", "gingerbreadman"])


@dataclass
class Nouns:
    """The entities of a caption, and which entity each token of the parse stands for."""

    entities: list[Entity] = field(default_factory=list)
    of_token: dict[int, int] = field(default_factory=dict)  # token index -> entity id
    # "group" in "a group of men" -> "men": whatever is said of the one is said of the other.
    stands_for: dict[int, Token] = field(default_factory=dict)


def find(doc: Doc, mended: Mended, text: str) -> Nouns:
    """Entities in reading order, ids from 1."""
    nouns = Nouns()
    measures: dict[int, Token] = {}  # inner noun -> the measure it follows
    for token in doc:
        inner = _inner(token)
        if inner is None:
            continue
        if token.lemma_ in lexicon.MEASURES:
            measures[inner.i] = token
            nouns.stands_for[token.i] = inner
        elif _frames_the_caption(token):
            nouns.stands_for[token.i] = inner
    words: dict[int, set[str]] = {}  # entity id -> its words, for later mentions
    for token in doc:
        if token.i in nouns.stands_for or not _names_a_thing(token, mended):
            continue
        measure = measures.get(token.i)
        first = _first(measure if measure is not None else token)
        spans = [mended.place(t.idx, t.idx + len(t.text)) for t in doc[first.i : token.i + 1]]
        placed = [span for span in spans if span is not None]
        start, end = placed[0][0], placed[-1][1]
        compound = mended.compounds.get(token.idx, "")
        lemma = _lemma(token, compound)
        count = _count(token, measure)
        own = {t.lower_ for t in doc[first.i : token.i + 1]}
        earlier = _earlier(token, lemma, own, nouns.entities, words)
        if earlier is not None:
            nouns.of_token[token.i] = earlier
            continue
        head = text[slice(*placed[-1])]
        if compound and compound not in compounds.COMPOUNDS:  # "wedding cake" is headed by "cake"
            head = _LAST_WORD.findall(head)[-1]
        entity = Entity(
            id=len(nouns.entities) + 1,
            text=text[start:end],
            head=head,
            lemma=lemma,
            start=start,
            end=end,
            kind=_kind(token, compound, lemma),
            count=count,
        )
        nouns.entities.append(entity)
        nouns.of_token[token.i] = entity.id
        words[entity.id] = own
    return nouns


def _inner(token: Token) -> Token | None:
    """The noun after "of", in "a group of men", "a photo of a cat"."""
    if token.pos_ not in ("NOUN", "PROPN", "NUM", "PRON"):
        return None
    for child in token.children:
        if child.dep_ == "prep" and child.lower_ == "of":
            for grandchild in child.children:
                if grandchild.dep_ == "pobj" and grandchild.pos_ in ("NOUN", "PROPN"):
                    return grandchild
    return None


def _frames_the_caption(token: Token) -> bool:
    """ "a photo of a cat", "a close-up view of ...": nothing of it is in the picture."""
    return token.lemma_ in lexicon.DEPICTIONS and token.dep_ in ("ROOT", "nsubj", "attr")


def _names_a_thing(token: Token, mended: Mended) -> bool:
    if token.lower_ in _PEOPLE_PRONOUNS:
        return True
    if token.dep_ == "npadvmod" and token == second_object(token.head):
        return not is_abstract(token)
    if token.idx in mended.compounds and token.dep_ in ("ROOT", "nsubj", "dobj", "pobj", "conj"):
        return True  # "a hydrant and a sign" without a verb: it is no adjective
    if token.dep_ == "npadvmod" and _has_article(token) and _is_alive(token):
        return True  # "a skateboarder high above a ramp"
    if token.pos_ not in ("NOUN", "PROPN") or token.dep_ in _NOT_HEADS or not token.is_alpha:
        if not (token.pos_ in ("NOUN", "PROPN") and "-" in token.text):
            return False
        if token.dep_ in _NOT_HEADS:
            return False
    if any(child.lower_ == "no" for child in token.children):
        return False
    if not _LATIN.search(token.text):  # the parser knows English only
        return False
    return not is_abstract(token) or token.idx in mended.compounds


def _is_alive(token: Token) -> bool:
    return token.lemma_ in lexicon.PERSON or token.lemma_ in lexicon.ANIMAL


def second_object(verb: Token) -> Token | None:
    """ "feeds a giraffe some leaves", where the parser takes the leaves for an adverb."""
    first = next((child for child in verb.children if child.dep_ == "dobj"), None)
    if first is None or verb.pos_ != "VERB":
        return None
    for child in verb.children:
        follows = child.dep_ == "npadvmod" and child.left_edge.i == first.right_edge.i + 1
        if follows and child.pos_ == "NOUN" and any(c.dep_ == "det" for c in child.children):
            return None if is_abstract(child) else child
    return None


def is_abstract(token: Token) -> bool:
    """Whether a noun names nothing that a box could be drawn around."""
    lemma = token.lemma_.lower()
    governor = token.head.lemma_
    bare = not any(c.dep_ in ("det", "poss", "nummod", "amod") for c in token.children)
    if token.lower_ in lexicon.COLOURS and bare and token.head.lower_ == "in":
        return True
    if lemma in lexicon.GAMES:
        return bare and governor == "play"
    if lemma in lexicon.DEPICTIONS and token.dep_ == "dobj" and governor in ("take", "snap"):
        return True
    if lemma in lexicon.DEPICTIONS and token.dep_ == "pobj" and token.head.lower_ == "in":
        return True
    if lemma == "top" and (token.head.lemma_ == "wear" or _has_article(token)):
        return _inner(token) is not None  # a blouse
    if lemma in lexicon.ABSTRACT or token.lower_ in lexicon.ABSTRACT:
        return True
    return lemma.endswith("ing") and token.tag_ == "NN" and lemma not in lexicon.ING_THINGS


def _has_article(token: Token) -> bool:
    return any(c.lower_ in ("a", "an") for c in token.children)


def _first(head: Token) -> Token:
    """The first token of the phrase that ends in ``head``."""
    first = head
    for child in reversed(list(head.lefts)):
        if child.dep_ not in _MODIFIERS or child.right_edge.i != first.i - 1:
            break
        if child.dep_ == "punct" and child.i and child.nbor(-1).pos_ in ("NOUN", "PROPN"):
            break  # "frisbee, grass"
        first = child.left_edge
    while (first.dep_ == "punct" or first.is_space or first.pos_ == "ADP") and first.i < head.i:
        first = first.nbor()
    return first


def _lemma(token: Token, compound: str) -> str:
    if compound in compounds.ANIMAL_COMPOUNDS or compound in compounds.PERSON_COMPOUNDS:
        return compound
    if compound in compounds.COMPOUNDS:
        last = compound.rpartition(" ")[2]
        return last if last in compounds.PLAIN_HEADED else compound
    if token.lower_ in lexicon.ONE_IN_PLURAL or token.lower_ in _PEOPLE_PRONOUNS:
        return token.lower_
    lemma = token.lemma_.lower()
    longest = _longest(token, lemma)
    if longest in compounds.ANIMAL_COMPOUNDS or longest in compounds.PERSON_COMPOUNDS:
        return longest
    return lemma


def _longest(token: Token, lemma: str) -> str:
    """The longest known compound that ends in this noun, or its lemma."""
    for length in (2, 1):
        if token.i >= length:
            before = [t.lower_ for t in token.doc[token.i - length : token.i]]
            phrase = " ".join([*before, lemma])
            if (
                phrase in compounds.OBJECT_COMPOUNDS
                or phrase in compounds.ANIMAL_COMPOUNDS
                or phrase in compounds.PERSON_COMPOUNDS
            ):
                return phrase
    return lemma


def _kind(token: Token, compound: str, lemma: str) -> str:
    phrase = compound or _longest(token, token.lemma_.lower())
    if phrase in compounds.OBJECT_COMPOUNDS:
        return "object"
    if phrase in compounds.ANIMAL_COMPOUNDS:
        return "animal"
    if phrase in compounds.PERSON_COMPOUNDS:
        return "person"
    if lemma == "fan":
        return "person" if token.tag_ == "NNS" else "object"
    if lemma in ("pitcher", "model", "figure") and _inner(token) is not None:
        return "object"
    if lemma == "diner" and token.head.lower_ in ("in", "at", "inside", "outside"):
        return "object"
    if lemma == "mouse":
        seen = {t.lower_ for t in token.doc}
        return "object" if seen & {"computer", "laptop", "keyboard", "desk", "pad"} else "animal"
    if lemma in _FOOD_ANIMALS and token.head.lemma_ in _EATING:
        return "object"
    if lemma in lexicon.PERSON:
        return "person"
    if lemma in lexicon.ANIMAL:
        return "animal"
    if lemma.endswith(("man", "woman", "person")) and lemma not in _NOT_MEN and len(lemma) > 5:
        return "person"
    return "object"


def _count(token: Token, measure: Token | None) -> int:
    """How many; 0 means several."""
    own = _number(token)
    if measure is None:
        if own is not None:
            return own
        if token.lemma_.lower() in lexicon.COLLECTIVE and token.tag_ in ("NN", "NNP"):
            return lexicon.COLLECTIVE[token.lemma_.lower()]
        if token.lower_ in _INVARIANT and not _has_singular_determiner(token):
            return 0
        if token.tag_ in ("NNS", "NNPS"):
            return 1 if token.lower_ in lexicon.ONE_IN_PLURAL else 0
        return lexicon.COLLECTIVE.get(token.lower_, 1)
    size = lexicon.MEASURES[measure.lemma_]
    times = _number(measure)
    if times is None and measure.tag_ == "NNS":
        times = 0
    several = token.tag_ in ("NNS", "NNPS") or token.lower_ in _INVARIANT
    if size == 0:
        return 0 if several else 1
    if token.lower_ in lexicon.ONE_IN_PLURAL or size == 1:
        if size == 1 and several and (times is None or times == 1):
            return own if own is not None else 0
        return 1 if times is None else times
    return size if times is None else size * times


def _number(token: Token) -> int | None:
    for child in token.children:
        word = child.lower_
        if child.dep_ in ("nummod", "det", "amod", "predet"):
            if word in lexicon.SEVERAL:
                return 0 if token.tag_ in ("NNS", "NNPS") or token.lower_ in _INVARIANT else 1
            if word in ("a", "an"):
                return None if token.lemma_ in lexicon.COLLECTIVE else 1
            if child.dep_ != "amod" and word in lexicon.NUMBERS:
                return lexicon.NUMBERS[word]
            if word.isdecimal():
                return int(word)
            if child.dep_ == "nummod":
                return 0
    return None


def _has_singular_determiner(token: Token) -> bool:
    return any(
        c.lower_ in ("a", "an", "another", "this", "that", "one", "each") for c in token.children
    )


def _earlier(
    token: Token, lemma: str, own: set[str], entities: list[Entity], words: dict[int, set[str]]
) -> int | None:
    """The entity that "the man" after "a man" repeats: same noun, no new modifier."""
    definite = {"the", "this", "that", "these", "those"} & own
    if not definite or {"other", "another", "second", "third", "next"} & own:
        return None
    own = own - definite
    for entity in reversed(entities):
        if entity.lemma == lemma and own <= words[entity.id] | {token.lower_}:
            return entity.id
    return None

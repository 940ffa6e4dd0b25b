"""What a parsed verb is called, and whether it is a passive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialcli.backends.entities import _lexicon as lexicon

if TYPE_CHECKING:
    from spacy.tokens import Token

_PARTICLES = lexicon.words("up down out off over away back around along in on through by")
_CONTROL = lexicon.words(
    "try attempt want prepare start begin get go continue seem appear help learn need use"
)


def is_passive(verb: Token) -> bool:
    deps = {child.dep_ for child in verb.children}
    if deps & {"auxpass", "nsubjpass", "agent"}:
        return True
    if verb.tag_ != "VBN" or "aux" in deps or "dobj" in deps or "nsubj" in deps:
        return False
    return verb.dep_ in ("acl", "relcl", "advcl") or (
        verb.dep_ == "conj" and verb.head.pos_ == "VERB" and is_passive(verb.head)
    )


def name(verb: Token) -> tuple[str, list[Token]]:
    """The lemma with its particle ("pick up"), and the tokens of the verb group."""
    lemma = verb.lemma_.lower()
    lemma = lexicon.LEMMAS.get(lemma, lemma)
    particles = [
        child
        for child in verb.children
        if child.i > verb.i
        and child.lower_ in _PARTICLES
        and (
            child.dep_ == "prt"
            or (child.dep_ == "advmod" and child.i == verb.i + 1)
            or (child.dep_ == "prep" and not any(True for _ in child.children))
        )
    ]
    helpers = [c for c in verb.children if c.dep_ in ("aux", "auxpass") and c.i < verb.i]
    group = sorted([*helpers, verb, *particles], key=lambda t: t.i)
    return " ".join([lemma, *(p.lower_ for p in particles)]), group


def introduces(verb: Token) -> bool:
    """Whether another verb says what is done: "is trying to catch"."""
    return verb.lemma_ in _CONTROL and any(
        child.dep_ in ("xcomp", "ccomp", "advcl") for child in verb.children
    )


def determined(noun: Token) -> bool:
    return any(child.dep_ in ("det", "poss", "nummod") for child in noun.children)

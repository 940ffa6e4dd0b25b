"""Nouns that are joined: "a hat and a tie", "a bag, an umbrella and a cup of coffee".

The parser often hangs the second noun on another word than the first ("a man wearing a hat and a
tie": the tie on the man). What stands side by side, parted by commas and one "and", is read here
from the word classes alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from socialcli.backends.entities import _lexicon as lexicon

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

_BEFORE_NOUN = lexicon.words("DT PRP$ CD JJ JJR JJS PDT POS")
_NOUN = lexicon.words("NN NNS NNP NNPS")
_FINITE = lexicon.words("VBZ VBP VBD MD")


@dataclass
class Lists:
    """Which nouns are joined to which; token indices."""

    after: dict[int, list[Token]] = field(default_factory=dict)  # first noun -> those joined to it
    first: dict[int, int] = field(default_factory=dict)  # a noun joined to it -> the first one
    apart: set[int] = field(default_factory=set)  # nouns that are joined to no object


def find(doc: Doc) -> Lists:
    """Lists whose first noun is the object of a verb or of a preposition."""
    lists = Lists()
    i = 0
    while i < len(doc):
        heads, end = _list_at(doc, i)
        if len(heads) > 1 and _is_object(heads[0]):
            if _begins_a_clause(doc, heads, end):
                lists.apart.add(heads[-1].i)
            else:
                lists.after[heads[0].i] = heads[1:]
                lists.first.update((head.i, heads[0].i) for head in heads[1:])
        i = max(i + 1, end)
    return lists


def _list_at(doc: Doc, start: int) -> tuple[list[Token], int]:
    """The heads of "X, Y and Z" from ``start`` on, and where it ends; one head is no list."""
    head, end = _phrase_at(doc, start)
    if head is None:
        return [], start + 1
    heads, closed = [head], False
    while not closed:
        at = end
        if at < len(doc) and doc[at].text == ",":
            at += 1
        if at < len(doc) and doc[at].lower_ in ("and", "or"):
            closed, at = True, at + 1
        if at == end:
            break
        following, after = _phrase_at(doc, at)
        if following is None:
            closed = False
            break
        heads.append(following)
        end = after
    if not closed:  # "a man, a dog" is rather an apposition, or the end of a clause
        return heads[:1], end
    return heads, end


def _phrase_at(doc: Doc, start: int) -> tuple[Token | None, int]:
    """The noun phrase that begins here: its head ("pair" of "a pair of skis") and its end."""
    end = start
    while end < len(doc) and doc[end].tag_ in _BEFORE_NOUN:
        end += 1
    if end >= len(doc) or doc[end].tag_ not in _NOUN:
        return None, start
    while end < len(doc) and doc[end].tag_ in _NOUN | {"POS"}:
        end += 1
    head = doc[end - 1]
    if head.tag_ == "POS":
        return None, start
    taken = head.lemma_ in lexicon.DEPICTIONS  # "a picture of a cake and flowers" is of both
    if end + 1 < len(doc) and doc[end].lower_ == "of" and not taken:
        inner, after = _phrase_at(doc, end + 1)
        if inner is not None:
            end = after
    return head, end


def _is_object(head: Token) -> bool:
    if head.dep_ in ("dobj", "dative"):
        return True
    return head.dep_ == "pobj" and head.head.pos_ == "ADP"


def _begins_a_clause(doc: Doc, heads: list[Token], end: int) -> bool:
    """Whether the last noun does something of its own: "... and a woman walking a dog"."""
    if end >= len(doc):
        return False
    after, last = doc[end], heads[-1].lemma_.lower()
    alive = last in lexicon.PERSON or last in lexicon.ANIMAL
    if after.tag_ in ("VBG", "VBN") or after.lower_ in ("who", "that"):
        return alive
    if after.tag_ not in _FINITE:
        return False
    # "a man wearing a hat and a tie rides ..." against "a man holds a cup and a phone rings".
    governor = heads[0].head if heads[0].dep_ != "pobj" else heads[0].head.head
    return alive or governor.tag_ not in ("VBG", "VBN", *_NOUN)

"""Of captions without a full stop a third of the joined objects was lost.

"a man wearing a hat and a tie" gave one triple, "A man wearing a hat and a tie." two: the parser
reads a text without a full stop as a heading, and hangs the tie on the man.
"""

from __future__ import annotations

import pytest

from socialcli import backends

WHO = ["a man", "a girl", "two people"]
WHAT = [
    ("wearing", "a hat", "a tie"), ("wearing", "glasses", "a scarf"),
    ("holding", "a bag", "an umbrella"), ("carrying", "boxes", "bags"),
    ("feeding", "a goat", "a sheep"), ("eating", "a sandwich", "an apple"),
]  # fmt: skip


@pytest.fixture(scope="module")
def extractor():
    return backends.load(backends.ModelSpec("entities", "spacy"))


@pytest.mark.parametrize(
    ("shape", "objects"),
    [
        ("{who} {ing} {x} and {y}", 2),
        ("{who} {ing} {x} and {y} in a park", 2),
        ("{who} {ing} {x}, {y} and a book", 3),
        ("{who} {ing} {x} &amp; {y}", 2),
        ("{who} {ing} {x} and {y} at a table by a door", 2),
    ],
)
@pytest.mark.parametrize("full_stop", ["", "."])
def test_every_joined_object_is_in_a_triple(extractor, shape, objects, full_stop):
    texts = [
        shape.format(who=who, ing=ing, x=x, y=y) + full_stop for who in WHO for ing, x, y in WHAT
    ]
    lost = []
    for text, entities in zip(texts, extractor.extract(texts), strict=True):
        verb = next(t.verb for t in entities.triples)
        direct = {t.object for t in entities.triples if t.verb == verb and t.subject == 1}
        if len(direct) < objects:
            lost.append(text)
    assert len(lost) <= 1, lost


@pytest.mark.parametrize(
    "text",
    [
        "a boy holds a balloon and a girl holds a flower",
        "a man riding a horse and a woman walking a dog",
    ],
)
def test_two_clauses_are_no_list(extractor, text):
    (entities,) = extractor.extract([text])
    assert [(t.subject, t.object) for t in entities.triples] == [(1, 2), (3, 4)]

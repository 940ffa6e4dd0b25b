"""What is joined after "in front of" was joined to "front".

"stands in front of a flag and a model rocket" gave (woman, stand in, rocket).
"""

from __future__ import annotations

import pytest

from socialcli import backends


@pytest.fixture(scope="module")
def extractor():
    return backends.load(backends.ModelSpec("entities", "spacy"))


@pytest.mark.parametrize(
    "preposition",
    ["in front of", "on top of", "next to", "because of", "in between", "at end of", "to left of",
     "on side of", "in middle of", "outside of", "close to", "near", "behind"],
)  # fmt: skip
def test_both_of_two_joined_nouns_follow_it(extractor, preposition):
    (entities,) = extractor.extract([f"a woman stands {preposition} a flag and a model rocket"])
    lemmas = {e.id: e.lemma for e in entities.entities}
    assert [(lemmas[t.subject], t.verb, lemmas[t.object]) for t in entities.triples] == [
        ("woman", f"stand {preposition}", "flag"),
        ("woman", f"stand {preposition}", "rocket"),
    ]
    assert all(t.text == f"stands {preposition}" for t in entities.triples)


def test_articles_in_it_are_left_out(extractor):
    (entities,) = extractor.extract(["a cat sits on the edge of the bathtub"])
    assert [t.verb for t in entities.triples] == ["sit on edge of"]


def test_instead_of_is_no_relation(extractor):
    (entities,) = extractor.extract(["a man holds a cup instead of a phone"])
    assert [(t.subject, t.verb, t.object) for t in entities.triples] == [(1, "hold", 2)]

"""Compounds that no list named were torn apart: a couple "cut wedding", a man rode "dirt"."""

from __future__ import annotations

import pytest

from socialcli import backends


@pytest.fixture(scope="module")
def extractor():
    return backends.load(backends.ModelSpec("entities", "spacy"))


@pytest.mark.parametrize(
    ("text", "triples"),
    [
        ("a couple is cutting a wedding cake", [("a couple", "cut", "a wedding cake", "cake")]),
        ("a man riding a dirt bike", [("a man", "ride", "a dirt bike", "bike")]),
        ("woman opening car door", [("woman", "open", "car door", "door")]),
        ("a boy throwing paper planes at a picnic table",
         [("a boy", "throw", "paper planes", "planes"),
          ("a boy", "throw at", "a picnic table", "picnic table")]),
        ("a man repairing the front wheel of a bike",
         [("a man", "repair", "the front wheel", "wheel")]),
        ("a firefighter standing by a burning house",
         [("a firefighter", "stand by", "a burning house", "house")]),
    ],
)  # fmt: skip
def test_the_last_noun_is_the_thing(extractor, text, triples):
    (entities,) = extractor.extract([text])
    by_id = {e.id: e for e in entities.entities}
    assert [
        (by_id[t.subject].text, t.verb, by_id[t.object].text, by_id[t.object].head)
        for t in entities.triples
    ] == triples


def test_a_verb_before_a_noun_is_no_compound(extractor):
    (entities,) = extractor.extract(["a man cooking hamburgers"])
    assert [e.text for e in entities.entities] == ["a man", "hamburgers"]
    (entities,) = extractor.extract(["a cowboy ropes a calf"])
    assert [e.text for e in entities.entities] == ["a cowboy", "a calf"]


@pytest.mark.parametrize(
    ("text", "lemma"),
    [
        ("a girl roasting a marsh mallow", "marsh mallow"),
        ("people around a bon fire", "bon fire"),
        ("a boy carrying a suit case", "suit case"),
        ("a woman taking a book from a book shelf", "shelf"),
        ("a dog in a bath tub", "tub"),
        ("a woman wearing a rain coat", "coat"),
        ("a man riding a motor bike", "bike"),
    ],
)
def test_a_word_written_apart_is_one_only_where_its_last_part_is_another_thing(
    extractor, text, lemma
):
    (entities,) = extractor.extract([text])
    last = entities.entities[-1]
    assert (last.lemma, last.head) == (lemma, lemma)

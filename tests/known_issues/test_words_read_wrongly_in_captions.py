"""Sixty captions that no list had seen brought this up. A camera on a tripod was said to be looked
on ("look on tripod"). Things and people of captions without a verb were passed over. What is given
"to" somebody was lost behind two joined things. Colours that are worn were things of their own.
"""

from __future__ import annotations

import pytest

from socialcli import backends
from socialcli.backends import ModelSpec


@pytest.fixture(scope="module")
def extractor():
    return backends.load(ModelSpec("entities", "spacy"))


@pytest.mark.parametrize(
    ("text", "lemmas", "triples"),
    [
        ("a man looks through a camera on a tripod", "man camera tripod",
         {"man look through camera"}),
        ("a woman paints a flower on an easel", "woman flower easel", {"woman paint flower"}),
        ("a man puts a vase on a stand", "man vase stand", {"man put vase", "man put on stand"}),
        ("a fire hydrant and a stop sign next to a bus", "fire hydrant,stop sign,bus", set()),
        ("a skateboarder in mid air above a half pipe", "skateboarder,half pipe", set()),
        ("a vendor sells candy and balloons to children", "vendor candy balloon child",
         {"vendor sell candy", "vendor sell balloon", "vendor sell to child"}),
        ("the man is passing the salt and the pepper to the woman in blue",
         "man salt pepper woman", {"man pass salt", "man pass pepper", "man pass to woman"}),
        ("a woman waters a potted plant with a watering can", "woman,potted plant,can",
         {"woman water potted plant", "woman water with can"}),
        ("a man wearing a tie dye shirt and cargo shorts", "man shirt shorts",
         {"man wear shirt", "man wear shorts"}),
    ],
)  # fmt: skip
def test_what_is_read(extractor, text: str, lemmas: str, triples: set[str]) -> None:
    (extracted,) = extractor.extract([text])
    of = {one.id: one.lemma for one in extracted.entities}
    assert list(of.values()) == lemmas.split("," if "," in lemmas else " ")
    read_triples = {
        f"{of[t.subject]} {t.verb} {of[t.object]}" for t in extracted.triples if t.object
    }
    assert read_triples == triples
    assert all(text[one.start : one.end] == one.text for one in extracted.entities)

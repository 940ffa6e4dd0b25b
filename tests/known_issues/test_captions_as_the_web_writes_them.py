"""HTML entities, typographic marks and invisible characters became entities, or tore words apart.

"a man &amp; a woman" had an entity "amp"; "a man's dog" with a typographic apostrophe, "a man" and
"holding" with a zero-width space between them, and words with a soft hyphen were not read at all.
"""

from __future__ import annotations

import pytest

from socialcli import backends
from socialcli.backends.entities._normalising import normal

PLAIN = 'a man\'s dog and a woman hold a "sign" in the cafe'
WRITTEN = {
    "named entities": "a man&apos;s dog &amp; a woman hold a &quot;sign&quot; in the cafe",
    "numbered entities": "a man&#39;s dog &#38; a woman hold a &#x22;sign&#x22; in the cafe",
    "escaped twice": "a man&amp;#39;s dog &amp;amp; a woman hold a &amp;quot;sign&amp;quot; in the cafe",  # noqa: E501
    "typographic": "a man\u2019s dog and a woman hold a \u201csign\u201d in the cafe",
    "angled": "a man\u02bcs dog and a woman hold a \u00absign\u00bb in the cafe",
    "non-breaking": 'a\u00a0man\'s\u00a0dog and a\u202fwoman hold a "sign" in\u2009the cafe',
    "zero-width": 'a man\'s\u200bdog and a wo\u200dman hold\u200b a "sign" in the\ufeff cafe',
    "soft hyphens": 'a man\'s dog and a wo\u00adman hold a "sign" in the ca\u00adfe',
    "full width": 'a \uff4d\uff41\uff4e\'s dog and a woman hold a "sign" in the cafe',
    "emoji": 'a man\'s dog \U0001f436 and a woman \U0001f469\U0001f3fd hold a "sign" in the cafe',
    "tags": 'a man\'s dog and <b>a woman</b> hold a "sign"<br/>in the cafe',
    "control": 'a man\'s dog and a \x1b[31mwoman\x1b[0m hold\x07 a "sign"\tin the\r\ncafe',
    "accents": 'a man\'s dog and a woman hold a "sign" in the cafe\u0301',
}


@pytest.fixture(scope="module")
def extractor():
    return backends.load(backends.ModelSpec("entities", "spacy"))


@pytest.mark.parametrize("how", WRITTEN)
def test_the_same_entities_with_spans_into_the_caption(extractor, how):
    plainly = PLAIN.replace("cafe", "caf\u00e9") if how == "accents" else PLAIN
    plain, written = extractor.extract([plainly, WRITTEN[how]])
    assert [e.lemma for e in written.entities] == [e.lemma for e in plain.entities]
    assert [(t.subject, t.verb, t.object) for t in written.triples] == [
        (t.subject, t.verb, t.object) for t in plain.triples
    ]
    for entity in written.entities:
        assert WRITTEN[how][entity.start : entity.end] == entity.text
        assert entity.head in entity.text and entity.text.strip() == entity.text


def test_every_plain_character_knows_where_it_comes_from():
    for text in WRITTEN.values():
        plain = normal(text)
        assert plain.places is not None and len(plain.places) == len(plain.text)
        assert all(0 <= a < b <= len(text) for a, b in plain.places)
        assert plain.places == sorted(plain.places)


def test_what_is_no_markup_stays():
    assert normal("AT&T & <dog> &nosuch; 5 < 6").text == "at&t & <dog> &nosuch; 5 < 6"
    assert normal("").text == "" and normal("\u200d\ufeff").text == ""


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ("a close up of a man holding a dog", ["a man", "a dog"]),
        ("a close-up view of a cat", ["a cat"]),
        ("the image shows a woman riding a camel", ["a woman", "a camel"]),
        ("arafed woman in a red dress holding a dog", ["woman", "a red dress", "a dog"]),
        ("araffe dog laying on a couch", ["dog", "a couch"]),
        ("a man holding a \u201cfor sale\u201d sign", ["a man", "a \u201cfor sale\u201d sign"]),
        ("\u5341\u4eba", []),
    ],
)
def test_what_only_says_that_this_is_a_picture(extractor, text, entities):
    assert [e.text for e in extractor.extract([text])[0].entities] == entities

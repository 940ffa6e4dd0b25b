"""Whose picture a reference is, what it is called, and which part of it is meant."""

from __future__ import annotations

import dataclasses

import numpy
import pytest
import scenes
from PIL import Image

from socialcli import records, shards
from socialcli.errors import SampleFailed
from socialcli.generation import references
from socialcli.generation.requests import Wanted
from socialcli.shards import Sample
from socialcli.vision import masks


def sample(key="k", **changed) -> Sample:
    """The scene with records exchanged; None takes one away."""
    named = {f"{name}.json": record for name, record in changed.items()}
    return Sample(key, scenes.members(0, named))


def mask(id, xyxy, entity, box) -> records.Mask:
    return records.Mask(id, masks.encode(scenes.mask(xyxy)), box, entity, 0.9, 0.9)


def of(*entities):
    body = scenes.all_records()["entities.json"]
    return records.Entities([dataclasses.replace(body.entities[0], **e) for e in entities])


LINKED = {"layout": None, "interactions": None, "masks": None}


def test_subjects_are_who_has_a_box_or_is_a_person():
    body = scenes.all_records()
    people = dataclasses.replace(body["people.json"], people=[
        dataclasses.replace(body["people.json"].people[0], box=2, entity=None, identity="Rex"),
        dataclasses.replace(body["people.json"].people[1], box=1, entity=3, identity="Bob"),
    ])  # fmt: skip
    boxes = dataclasses.replace(body["boxes.json"], boxes=[
        records.Box(1, scenes.WOMAN, "woman", None), records.Box(2, scenes.DOG, "dog", 2)
    ])  # fmt: skip
    named = references.subjects(sample(boxes=boxes, people=people, **LINKED))
    # The dog by its box and by the person's; the man by the person's entity, which has the word.
    assert [(s.noun, s.phrase, s.identity, s.entity) for s in named] == [
        ("dog", "a small dog", "Rex", 2), ("man", "a man", "Bob", 3),
    ]  # fmt: skip
    alone = references.subjects(sample(boxes=boxes, people=None, **LINKED))
    assert [s.noun for s in alone] == ["dog"] and alone[0].identity is None
    nobody = references.subjects(sample(boxes=None, people=None, **LINKED))
    assert [s.noun for s in nobody] == ["woman", "dog", "man"]


def test_what_nouns_phrases_and_captions_are_of_a_sample():
    everything = sample()
    assert references.words(everything, "nouns") == "woman, dog, man"
    assert references.words(everything, "phrases") == "A woman in red, a small dog, a man"
    assert references.words(everything, "caption") == scenes.TEXT
    assert references.words(everything, "caption", 1) == "Two people."
    assert references.words(everything, "a hat") == "a hat"
    two = of({"id": 1, "head": "dog "}, {"id": 2, "head": "cat"}, {"id": 3, "head": "dog"},
             {"id": 4, "head": ""})  # fmt: skip
    bare = {"boxes": None, "people": None, **LINKED}
    assert references.words(sample(entities=two, **bare), "nouns") == "dog, cat"


def test_a_class_stands_for_words_that_are_not_there():
    bare = {"boxes": None, "people": None, **LINKED}
    classed = dataclasses.replace(scenes.all_records()["meta.json"], extra={"class": "teapot"})
    assert references.words(sample(entities=None, meta=classed, **bare), "nouns") == "teapot"
    empty = records.Entities()
    assert references.words(sample(entities=empty, meta=classed, **bare), "nouns") == "teapot"
    assert references.words(sample(meta=classed, **bare), "nouns") == "woman, dog, man"
    with pytest.raises(SampleFailed, match=r"entities.json: the entity list is empty"):
        references.words(sample(entities=empty, **bare), "nouns")
    for meta in (None, dataclasses.replace(classed, extra={"class": 3})):
        with pytest.raises(SampleFailed, match="run `socialcli extract-entities` first"):
            references.words(sample(entities=None, meta=meta, **bare), "nouns")


def pictures(place, extras: dict[str, dict]) -> tuple[str, ...]:
    meta = scenes.all_records()["meta.json"]
    rows = [
        (key, scenes.members(n, {"meta.json": dataclasses.replace(meta, extra=extra)}))
        for n, (key, extra) in enumerate(extras.items())
    ]
    shards.write(place, rows)
    return (str(place),)


def test_pictures_are_found_by_key_and_then_by_what_they_show(tmp_path):
    there = pictures(tmp_path / "a.tar", {
        "1": {"subject": "rex", "concept": "dog"}, "2": {"concept": "dog"}, "cats/3": {},
        "cats/4": {}, "5": {"subject": 7}, "6": {"subject": "5"},
    })  # fmt: skip
    opened = references.library(there)
    assert opened.topics == {
        "rex": ["1"], "dog": ["2"], "cats": ["cats/3", "cats/4"], "5": ["5", "6"],
    }  # fmt: skip

    def key(name, content="x", query="thing"):
        return references.find(Wanted(name, query), there, content, "").key

    assert [key(name) for name in ("2", "rex", "dog", "5")] == ["2", "1", "2", "5"]
    assert {key("cats", f"{n}") for n in range(9)} == {"cats/3", "cats/4"}
    with pytest.raises(SampleFailed, match="'wolf' is not there, no file and no key or subject"):
        key("wolf")
    with pytest.raises(SampleFailed, match="'wolf' is not there: no such file"):
        references.find(Wanted("wolf", "x"), (), "x", "")


def test_which_of_several_pictures_follows_from_the_key_alone(tmp_path):
    """Shards in another order give the same picture of the same person or subject."""
    there = pictures(tmp_path / "a.tar", {f"{n}": {"subject": "rex"} for n in "abcd"})
    turned = pictures(tmp_path / "b.tar", {f"{n}": {"subject": "rex"} for n in "dcba"})
    taken = []
    for wanted in (Wanted("rex", "dog"), Wanted("b", "woman", identity="Ada")):
        for key in "0123456789":
            first, second = (references.find(wanted, t, key, "").key for t in (there, turned))
            assert first == second
            taken.append(first)
    assert set(taken[:10]) == set("abcd") and set(taken[10:]) == set("acd")
    # crc32, as `zlib` and every zip file have it: the same on every machine.
    assert references._pick(["b", "a", "c"], "123456789") == "abc"[0xCBF43926 % 3]


def test_a_file_beside_the_row_comes_before_one_here(tmp_path, monkeypatch):
    for place, colour in (("here", "red"), ("beside", "blue")):
        (tmp_path / place).mkdir()
        Image.new("RGB", (6, 4), colour).save(tmp_path / place / "r.png")
        Image.new("L", (6, 4), 255 if place == "here" else 0).save(tmp_path / place / "m.png")
    Image.new("RGB", (6, 4), "green").save(tmp_path / "here/only.png")
    monkeypatch.chdir(tmp_path / "here")
    beside = str(tmp_path / "beside")

    def colour(name, **wanted):
        return references.find(Wanted(name, "hat", **wanted), (), "k", "").image.getpixel((0, 0))

    assert colour("r.png", beside=beside) == (0, 0, 255) and colour("r.png") == (255, 0, 0)
    assert colour("only.png", beside=beside) == (0, 128, 0)
    for folder, filled in ((beside, False), ("", True)):
        wanted = Wanted("r.png", "hat", beside=folder, by_mask=True, mask="m.png")
        assert (references.find(wanted, (), "k", "").mask == filled).all()


def test_the_words_of_a_file_are_said_or_the_prompt(tmp_path):
    Image.new("RGB", (6, 4), "red").save(tmp_path / "r.png")
    name = str(tmp_path / "r.png")
    for query, words in (("hat", "hat"), ("caption", "a man in a hat"), (None, "")):
        reference = references.find(Wanted(name, query, 0.5), (), "k", "a man in a hat")
        assert (reference.key, reference.query, reference.scale) == ("r.png", words, 0.5)
        assert reference.mask is None
    for query in ("nouns", "phrases"):
        with pytest.raises(SampleFailed, match=r"r.png is a file: give the words"):
            references.find(Wanted(name, query), (), "k", "a man")


def test_a_mask_file_is_white_from_the_middle_grey_on(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "r.png")
    Image.fromarray(numpy.array([[0, 127, 128, 255]] * 4, numpy.uint8)).save(tmp_path / "m.png")
    wanted = Wanted("r.png", "hat", None, str(tmp_path), by_mask=True, mask="m.png")
    assert references.find(wanted, (), "k", "").mask.tolist() == ([[False, False, True, True]] * 4)


def masked(own: Sample, **wanted) -> numpy.ndarray:
    """The mask of a request that is the sample's own, and its words."""
    return references.find(Wanted("k", None, own=own, by_mask=True, **wanted), (), "k", "").mask


def union(*boxes) -> numpy.ndarray:
    return numpy.any([scenes.mask(box) for box in boxes], axis=0)


def test_masks_of_one_person_one_thing_or_all():
    body = scenes.all_records()
    every = records.Masks(scenes.WIDTH, scenes.HEIGHT, [
        mask(1, scenes.WOMAN, None, 1), mask(2, scenes.DOG, 2, 2), mask(3, scenes.MAN, 3, None),
        mask(4, (0.0, 0.0, 0.1, 0.1), None, None),
    ])  # fmt: skip
    one, other = body["people.json"].people
    people = dataclasses.replace(body["people.json"], people=[
        dataclasses.replace(one, entity=None, identity="Ada"),
        dataclasses.replace(other, box=None, identity="Bob"),
    ])  # fmt: skip
    who_is_there = sample(masks=every, people=people, layout=None, interactions=None)
    # Ada by her box, Bob by his entity; what is linked to nothing belongs to neither.
    assert (masked(who_is_there, identity="Ada") == union(scenes.WOMAN)).all()
    assert (masked(who_is_there, identity="Bob") == union(scenes.MAN)).all()
    assert (masked(who_is_there, entity=2) == union(scenes.DOG)).all()
    assert (masked(who_is_there) == union(scenes.DOG, scenes.MAN)).all()
    loose = dataclasses.replace(every, masks=[every.masks[0], every.masks[3]])
    who_is_there = sample(masks=loose, people=people, layout=None, interactions=None)
    assert (masked(who_is_there) == union(scenes.WOMAN, (0.0, 0.0, 0.1, 0.1))).all()
    for who in ({"identity": "Cy"}, {"identity": "Bob"}, {"entity": 2}):
        with pytest.raises(SampleFailed, match=r"masks.json: no mask of the subject"):
            masked(who_is_there, **who)


def test_a_mask_file_comes_before_the_samples_own(tmp_path):
    Image.new("L", (scenes.WIDTH, scenes.HEIGHT), 255).save(tmp_path / "m.png")
    assert masked(sample(), mask=str(tmp_path / "m.png")).all()
    reference = references.find(Wanted("k", "dog", own=sample()), (), "k", "")
    assert reference.mask is None and reference.query == "dog"


def test_a_picture_by_a_mask_is_called_by_its_caption(tmp_path):
    there = pictures(tmp_path / "a.tar", {"a": {}})
    assert references.find(Wanted("a", by_mask=True), there, "k", "").query == scenes.TEXT
    assert references.find(Wanted("a", "nouns", by_mask=True), there, "k", "").query.startswith("w")
    assert references.find(Wanted("a"), there, "k", "").query == ""

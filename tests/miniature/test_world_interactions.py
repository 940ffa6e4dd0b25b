"""The benchmark of interactions: what its exemplars show and what its sentences ask for."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from parts import part

from socialcli import records, shards
from socialcli.miniature.world import interactions
from socialcli.miniature.world.vocabulary import PAIRS
from socialcli.validation.members import refuse_malformed

importer = part("importers", "world")
COUNT = len(interactions.INTERACTIONS)


def config(source: str, **more):
    return importer.Config(source=source, **more)


@pytest.fixture(scope="module")
def exemplars() -> list[shards.Sample]:
    """One of each interaction, as the importer makes them."""
    asked = config("interactions", scenes=COUNT)
    return [shards.Sample(e.key, importer.build(asked, e)) for e in importer.entries(asked)]


def test_fifteen_interactions_of_which_the_splits_show_seven():
    assert COUNT == 15
    shown = {pair.verb for pair in PAIRS if pair.object == "person"}
    for one in interactions.INTERACTIONS:
        assert (one.verb in shown) == one.seen, one
        assert (one.pair.hoi > 0) == one.seen
    assert Counter(one.seen for one in interactions.INTERACTIONS) == {True: 7, False: 8}


def test_keys_count_the_exemplars_of_each_interaction():
    keys = [e.key for e in importer.entries(config("interactions", scenes=150))]
    assert Counter(key.partition("/")[0] for key in keys) == {
        one.name: 10 for one in interactions.INTERACTIONS
    }
    assert len(set(keys)) == 150 and "kneel-before/009" in keys


def test_an_exemplar_shows_two_people_with_skeletons_and_masks(exemplars):
    for sample in exemplars:
        refuse_malformed(sample)
        people = sample.record(records.People).people
        assert len(people) == 2 and all(p.keypoints is not None for p in people)
        masks = {m.entity for m in sample.record(records.Masks).masks}
        assert masks == {p.entity for p in people} == {1, 2}
        (act,) = sample.record(records.Interactions).interactions
        assert sorted((act.subject, act.object_person)) == sorted(p.id for p in people)
        meta = sample.record(records.Meta)
        assert meta.extra["concept"] == sample.key.partition("/")[0]
        caption = sample.record(records.Caption).text
        for entity in sample.record(records.Entities).entities:
            assert caption[entity.start : entity.end] == entity.text
        subject = next(p for p in people if p.id == act.subject)
        assert subject.entity == 1  # who acts is named first


def test_the_same_bytes_every_time_and_others_for_another_number(exemplars):
    again = importer.build(
        config("interactions"), next(iter(importer.entries(config("interactions"))))
    )
    assert again == exemplars[0].members
    assert interactions.exemplar(0, 15, 96)["png"] != exemplars[0].members["png"]
    assert interactions.exemplar(1, 0, 96)["png"] != exemplars[0].members["png"]


def test_two_hundred_sentences_put_people_and_animals_into_the_interactions():
    asked = [interactions.sentence(0, n) for n in range(interactions.SENTENCES)]
    counted = Counter(one.interaction.name for one in asked)
    assert set(counted.values()) == {13, 14} and len(counted) == 15
    kinds = {kind for one in asked for kind in (one.first, one.second)}
    assert kinds == {*interactions.PEOPLE, *interactions.ANIMALS}
    animals = [one for one in asked if {one.first, one.second} & set(interactions.ANIMALS)]
    assert 0.6 < len(animals) / len(asked) < 0.9  # each subject is one half of the time
    assert all(one.first != one.second for one in asked)


@pytest.mark.parametrize(("share", "kinds"), [(0, "PEOPLE"), (1, "ANIMALS")])
def test_a_share_of_animals_can_be_asked_for(share, kinds, tmp_path, run_cli):
    run_cli("import", "world", "interaction-sentences", "--scenes", 15, "--animals", share,
            "--size", 48, "-o", tmp_path / "out")  # fmt: skip
    read = [s for f in shards.expand([str(tmp_path / "out")]) for s in shards.read(f)]
    named = {e.head for s in read for e in s.record(records.Entities).entities}
    assert len(read) == 15 and named <= {*getattr(interactions, kinds)}


def test_a_sentences_sample_has_its_three_texts_and_its_subjects():
    for number in (0, 3, 9, 11):
        asked = interactions.sentence(0, number)
        sample = shards.Sample("x", interactions.question(0, number, 64))
        refuse_malformed(sample)
        caption = sample.record(records.Caption)
        name = asked.interaction.name
        assert caption.text == asked.rich and "<" not in caption.text
        three, one = caption.others
        assert [w for w in three.split() if "<" in w] == [f"<{name}-1>", f"<{name}>", f"<{name}-2>"]
        assert [w for w in one.split() if "<" in w] == [f"<{name}>"]
        entities = sample.record(records.Entities).entities
        assert [e.head for e in entities] == [asked.first, asked.second]
        assert all(caption.text[e.start : e.end] == e.text for e in entities)
        assert sample.record(records.Meta).extra["concept"] == name
        assert not sample.has("people.json")  # its picture is no picture of the animals


def test_rich_texts_are_sentences():
    texts = {}
    for number in range(60):
        one = interactions.sentence(0, number)
        texts[one.interaction.name, one.first, one.second] = one.rich
    every_text = " ".join(texts.values())
    for words in ("is kneeling before", "is riding on the back of", "is jumping over", "arms"):
        assert words in every_text
    assert "in arms" not in every_text  # "is holding a boy in her arms"


def test_the_miniatures_know_it_for_their_own_world(exemplars):
    from socialcli.pipeline import domain

    known = {"clip": domain.WORLDS["socialcli.world"]}
    asked = shards.Sample("x/y", interactions.question(0, 1, 64))
    assert not domain.stranger(exemplars[0], known) and not domain.stranger(asked, known)


def test_the_command_writes_both(tmp_path, run_cli):
    for source, count in (("interactions", 15), ("interaction-sentences", 6)):
        run_cli("import", "world", source, "--scenes", count, "--size", 48, "-o", tmp_path / source)
    read = [s for f in shards.expand([str(tmp_path / "interactions")]) for s in shards.read(f)]
    assert len(read) == 15
    run_cli("validate", tmp_path / "interactions", tmp_path / "interaction-sentences")
    body = run_cli("import", "world", "nowhere", "-o", tmp_path / "x", code=2)
    assert b"interaction-sentences" in body.stderr


def test_members_are_json_that_other_programs_read(exemplars):
    body = json.loads(exemplars[7].members["interactions.json"])
    assert body["interactions"][0]["verb"] == "push" and "hoi" not in body["interactions"][0]
    assert json.loads(exemplars[0].members["interactions.json"])["interactions"][0]["hoi"] > 0

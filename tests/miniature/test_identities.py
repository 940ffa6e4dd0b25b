"""The benchmark of people who are learned from one picture each."""

from __future__ import annotations

import json

from parts import part

from socialcli import records
from socialcli.miniature.world import identities
from socialcli.miniature.world.vocabulary import split_of
from socialcli.shards import Sample

importer = part("importers", "world")


def built(source: str, **options) -> list[Sample]:
    config = importer.Config(source=source, **options)
    return [Sample(e.key, importer.build(config, e)) for e in importer.entries(config)]


def test_each_person_is_alone_unseen_and_has_a_face():
    samples = built("identities", scenes=6)
    names = [s.record(records.Meta).extra["subject"] for s in samples]
    assert len(set(names)) == 6 and [s.key for s in samples] == [f"{n}/portrait" for n in names]
    for sample, name in zip(samples, names, strict=True):
        (person,) = sample.record(records.People).people
        assert person.identity == name and split_of(int(name.rpartition("-")[2])) == "test"
        left, top, right, bottom = person.face.xyxy
        assert right - left > 0.25 and bottom - top > 0.2  # as large as the world draws it
        assert left > 0 and right < 1 and top > 0 and bottom < 1
        boxes = sample.record(records.Boxes).boxes
        kind = sample.record(records.Meta).extra["class"]
        assert [b.label for b in boxes] == [kind] and kind in ("man", "woman", "boy", "girl")
    # The same again, and others under another seed.
    assert [s.members for s in built("identities", scenes=6)] == [s.members for s in samples]
    assert built("identities", scenes=1, seed=1)[0].key != samples[0].key
    assert [s.key for s in built("identities", scenes=2, first=4)] == [s.key for s in samples[4:]]


def test_prompts_ask_for_what_the_person_does_not_have():
    for index in range(30):
        who, texts = identities.person(0, index), identities.templates(0, index)
        assert len(texts) == len(set(texts)) == identities.PROMPTS
        assert texts[0] == identities.FACE and all(t.count("{}") == 1 for t in texts)
        for kind, text in zip(identities.KINDS, texts, strict=True):
            if kind in ("attribute", "mixed"):
                assert not (who.glasses and "glasses" in text) and not (who.hat and "hat" in text)
                assert f"{who.hair_colour} hair" not in text
                assert "beard" not in text or not (who.female or who.child)
            assert ("is " in text) == (kind in ("action", "mixed"))


def test_a_prompt_has_both_texts_and_the_persons_picture():
    people = {s.key: s for s in built("identities", scenes=2)}
    samples = built("identity-prompts", scenes=2 * identities.PROMPTS)
    assert len({s.key for s in samples}) == 26
    for number, sample in enumerate(samples):
        meta, caption = sample.record(records.Meta), sample.record(records.Caption)
        name, kind = meta.extra["subject"], meta.extra["class"]
        assert sample.members["png"] == people[f"{name}/portrait"].members["png"]
        assert meta.extra["prompt"] == identities.KINDS[number % identities.PROMPTS]
        (learned,) = caption.others
        assert learned.replace(f"<{name}>", kind) == caption.text != learned
        assert set(sample.members) == {"png", "meta.json", "caption.json"}
    assert json.loads(samples[0].members["caption.json"])["text"].endswith("standing")

"""`caption` and `extract-entities` wrote over captions and entities that came with the data: COCO's
five sentences and the phrases of a rendered scene were gone after the first two stages.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from conftest import picture

from socialcli import records
from socialcli.errors import SampleFailed
from socialcli.pipeline.stage import Item
from socialcli.records import Caption, Entities, Entity, Model, Triple
from socialcli.shards import Sample
from socialcli.stages import caption, extract_entities

TEXT = "A woman with a red hat walks a hot dog."
BLIP = Model("blip2", "some/checkpoint")


class Writer:
    model = BLIP

    def caption(self, images: list[Any], how: Any, seeds: list[int]) -> list[str]:
        return ["a written one"] * len(images)


def entity(number: int, phrase: str, head: str, kind: str = "object", source: str = "") -> Entity:
    at = TEXT.index(phrase)
    return Entity(number, phrase, head, head, at, at + len(phrase), kind, source=source or None)


class Parser:
    """Finds three phrases and two triples."""

    def extract(self, texts: list[str]) -> list[Entities]:
        entities = [entity(1, "A woman", "woman", "person"), entity(2, "a red hat", "hat"),
                 entity(3, "dog", "dog", "animal")]  # fmt: skip
        return [
            Entities(entities, [Triple(1, "walk", 3), Triple(1, "with", 2)], Model("spacy"))
            for _ in texts
        ]


def run(stage: Any, config: Any, sample: Sample, loaded: Any) -> dict[str, bytes]:
    [result] = stage.process(config, loaded, [Item("k", 1, stage.prepare(config, sample))])
    if isinstance(result, Exception):
        raise result
    return result


ANNOTATED = records.dump(Caption("said by people", ["twice"], records.GROUND_TRUTH))
NAMELESS = b'{"schema":1,"text":"of a program that names no model"}'
EARLIER = records.dump(Caption("an earlier run's", [], BLIP))


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("old", [ANNOTATED, NAMELESS, EARLIER], ids=["annotated", "plain", "made"])
def test_a_caption_that_came_with_the_data_stays(old: bytes, replaced: bool) -> None:
    config = caption.Config(replace_annotations=replaced)
    sample = Sample("k", {"jpg": picture(), "caption.json": old})
    result = run(caption.CaptionStage(), config, sample, Writer())
    if old is EARLIER or replaced:
        written = json.loads(result["caption.json"])
        assert written["text"] == "a written one" and written["source"] == "blip2"
    else:
        assert result["caption.json"] == old
        assert "--replace-annotations" in result.notes["annotations_kept"]  # type: ignore[attr-defined]


def test_a_file_of_captions_is_no_leave_to_write_over_them(tmp_path: Any) -> None:
    file = tmp_path / "captions.csv"
    file.write_text("key,caption\nk,of the file\n")
    for replaced, text in ((False, "said by people"), (True, "of the file")):
        config = caption.Config(captions=str(file), replace_annotations=replaced)
        stage = caption.CaptionStage()
        result = run(stage, config, Sample("k", {"caption.json": ANNOTATED}), stage.load(config))
        assert json.loads(result["caption.json"])["text"] == text


def test_what_is_damaged_may_have_been_an_annotation() -> None:
    sample = Sample("k", {"jpg": picture(), "caption.json": b"{"})
    stage = caption.CaptionStage()
    with pytest.raises(SampleFailed):
        run(stage, caption.Config(), sample, Writer())
    assert run(stage, caption.Config(replace_annotations=True), sample, Writer())


def parsed(known: Entities, **options: Any) -> Entities:
    members = {
        "caption.json": records.dump(Caption(TEXT)), "entities.json": records.dump(known),
    }  # fmt: skip
    config = extract_entities.Config(**options)
    result = run(extract_entities.ExtractEntitiesStage(), config, Sample("k", members), Parser())
    return records.load(Entities, result["entities.json"])


def test_annotated_entities_stay_and_others_are_appended() -> None:
    known = Entities(
        [entity(4, "A woman with a red hat", "woman", "person"), entity(9, "a hot dog", "hot dog")],
        [Triple(4, "walk", 9)],
        records.GROUND_TRUTH,
    )
    both = parsed(known)
    assert [(e.id, e.text, e.source) for e in both.entities] == [
        (4, "A woman with a red hat", "annotation"), (9, "a hot dog", "annotation"),
        (10, "a red hat", "spacy"),
    ]  # fmt: skip
    assert [(t.subject, t.verb, t.object, t.source) for t in both.triples] == [
        (4, "walk", 9, "annotation"), (4, "with", 10, "spacy"),
    ]  # fmt: skip
    assert both.model == Model("spacy")
    again = parsed(both)  # estimates of the earlier run are made anew
    assert again == both
    assert [e.id for e in parsed(known, replace_annotations=True).entities] == [1, 2, 3]
    # What --keep-kinds leaves out of the parser's is no reason to lose annotations.
    assert [e.id for e in parsed(known, keep_kinds="person").entities] == [4, 9]


def test_entities_of_another_caption_are_said_to_be() -> None:
    wrong = replace(entity(1, "A woman", "woman", "person"), text="A man's")
    known = Entities([wrong], [], records.GROUND_TRUTH)
    with pytest.raises(SampleFailed, match=r"annotated entity 1 .* --replace-annotations"):
        parsed(known)
    assert [e.id for e in parsed(known, replace_annotations=True).entities] == [1, 2, 3]

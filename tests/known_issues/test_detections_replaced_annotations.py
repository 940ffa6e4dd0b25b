"""`ground` replaced boxes.json, so that imported annotations pointed at boxes that were gone, or
silently at others: of 458 references in 120 rendered scenes 155 at another thing and 59 nowhere.

`annotate-pose --replace` dropped annotated gazes and skeletons, a recogniser's interactions took
the place of annotated ones, and `segment` drew annotated masks again.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy
import pytest
from conftest import members
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from socialcli import records, shards
from socialcli.backends.roles import Detection, Segment
from socialcli.miniature.world import ground_truth, scene
from socialcli.pipeline.stage import Item
from socialcli.records import Box, Interaction, Interactions, Mask, Model, sources
from socialcli.shards import Sample
from socialcli.stages import _annotated
from socialcli.vision import masks as rle

KINDS = {1: "person", 2: "animal", 3: "person"}
MAN, HORSE = (0.1, 0.1, 0.4, 0.9), (0.2, 0.4, 0.9, 1.0)


def truth(*boxes: Box) -> list[Box]:
    return [Box(b.id, b.xyxy, b.label, b.entity, source="annotation") for b in boxes]


def joined(annotated: list[Box], detected: list[Box], most: int | None = 1) -> list[Box]:
    return _annotated.joined(annotated, detected, [49], KINDS, lambda entity: most)


def shifted(box: tuple[float, ...], by: float) -> tuple[float, ...]:
    return box[0] + by, box[1], box[2] + by, box[3]


# ------------------------------------------------------------------ the rule


def test_a_detection_of_an_annotated_thing_is_its_link() -> None:
    annotated = truth(Box(4, MAN, "person"), Box(7, HORSE, "horse"))
    boxes = joined(
        annotated,
        [
            Box(1, shifted(MAN, 0.05), "man", 1, 0.9, "model"),  # IoU 5/7
            Box(2, shifted(HORSE, 0.02), "horse", 2, 0.8, "model"),
            Box(3, (0.6, 0.0, 0.7, 0.2), "man", 3, 0.7, "model"),
        ],
    )
    assert [(b.id, b.entity, b.source) for b in boxes] == [
        (4, 1, "annotation"), (7, 2, "annotation"), (50, 3, "model"),
    ]  # fmt: skip
    assert [b.xyxy for b in boxes[:2]] == [MAN, HORSE]
    assert [b.score for b in boxes[:2]] == [None, None]


def test_a_person_is_never_a_thing_and_other_words_must_overlap_more() -> None:
    on_the_horse = truth(Box(1, HORSE, "horse"))
    rider = Box(1, HORSE, "rider", 1, 0.9, "model")
    assert [b.entity for b in joined(on_the_horse, [rider])] == [None, 1]
    for by, links in ((0.07, [2]), (0.14, [None, 2])):  # IoU 0.82 and 0.67
        pony = Box(1, shifted(HORSE, by), "pony", 2, 0.9, "model")
        assert [b.entity for b in joined(on_the_horse, [pony])] == links
    plural = Box(1, shifted(HORSE, 0.14), "horses", 2, 0.9, "model")
    assert [b.entity for b in joined(on_the_horse, [plural])] == [2]


def test_what_was_drawn_twice_is_linked_twice_and_found_twice_is_linked_once() -> None:
    twice = truth(Box(1, MAN, "person"), Box(2, shifted(MAN, 0.01), "person"))
    one = [Box(1, MAN, "man", 1, 0.9, "model"), Box(2, shifted(MAN, 0.08), "guy", 3, 0.8, "model")]
    assert [(b.id, b.entity) for b in joined(twice, one)] == [(1, 1), (2, 1)]


def test_an_entity_with_annotated_boxes_needs_no_others() -> None:
    named = truth(Box(1, MAN, "man", 1))
    wrong = Box(1, (0.6, 0.0, 0.7, 0.2), "man", 1, 0.9, "model")
    assert [b.id for b in joined(named, [wrong])] == [1]
    assert [b.id for b in joined(named, [wrong], None)] == [1, 50]


side = st.integers(1, 4)
corner = st.tuples(side, side, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
some = st.lists(
    st.tuples(corner, st.sampled_from(["man", "dog", ""]), st.sampled_from([None, 1, 2, 3])),
    max_size=6,
)


@given(some, some)
@settings(max_examples=300, deadline=None)
def test_annotated_boxes_survive_whatever_is_detected(known: list, estimated: list) -> None:
    annotated = truth(*(Box(n + 1, b, label, e) for n, (b, label, e) in enumerate(known)))
    detected = [Box(n + 1, b, label, e, 0.5, "m") for n, (b, label, e) in enumerate(estimated)]
    boxes = joined(annotated, detected, None)
    for before, after in zip(annotated, boxes, strict=False):
        assert (before.id, before.xyxy, before.label) == (after.id, after.xyxy, after.label)
        assert before.entity in (None, after.entity)
    added = boxes[len(annotated) :]
    assert [b.id for b in added] == list(range(50, 50 + len(added)))
    for box in added:
        assert not any(
            _annotated.are_one(one, box, overlap(one.xyxy, box.xyxy), KINDS) for one in annotated
        )
        assert box.source == "m"


# ------------------------------------------------------------------ the stages


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (80, 64)).save(out, "PNG")
    return out.getvalue()


class Grounder:
    model = Model("fixed", role="ground")

    def ground(self, images: list, asked: list, *thresholds: float) -> list:
        places = {"a man": MAN, "a horse": HORSE, "a hat": (0.15, 0.1, 0.3, 0.2)}
        return [
            [Detection(n, places[p], 0.9) for n, p in enumerate(one) if p in places]
            for one in asked
        ]


class Segmenter:
    model = Model("fixed", role="segment")

    def segment(self, images: list, boxes: list) -> list:
        full = numpy.ones((64, 80), bool)
        return [[Segment(full, 0.9, 0.9) for _ in of_image] for of_image in boxes]


def apply(stage_name: str, loaded: object, sample: Sample) -> Sample:
    from parts import part

    stage = part("stages", stage_name)
    config = stage.Config()
    [out] = stage.process(config, loaded, [Item("s", 0, stage.prepare(config, sample))])
    assert isinstance(out, dict), out
    return Sample("s", {**sample.members, **out})


def entities(*words: str) -> bytes:
    kinds = {"horse": "animal", "hat": "object"}
    listed = [
        records.Entity(n, f"a {w}", w, w, 0, len(w) + 2, kinds.get(w, "person"))
        for n, w in enumerate(words, 1)
    ]
    return records.dump(records.Entities(listed, model=Model("spacy")))


def test_links_of_other_entities_are_not_believed_and_masks_are_kept() -> None:
    """The truth's entities were horse, man; a parser found man, hat, horse in another caption."""
    full = rle.encode(numpy.ones((64, 80), bool))
    annotated = records.Boxes(
        80, 64, [Box(1, HORSE, "horse", 1), Box(5, MAN, "man", 2)], records.GROUND_TRUTH
    )
    drawn = records.Masks(80, 64, [Mask(6, full, 5, 2)], records.GROUND_TRUTH)
    given = Sample("s", {
        "png": png(), "entities.json": entities("man", "hat", "horse"),
        "boxes.json": records.dump(annotated), "masks.json": records.dump(drawn),
    })  # fmt: skip
    grounded = apply("ground", Grounder(), given)
    assert [(b.id, b.entity, b.source) for b in grounded.record(records.Boxes).boxes] == [
        (1, 3, "annotation"), (5, 1, "annotation"), (6, 2, "fixed"),
    ]  # fmt: skip
    masks = apply("segment", Segmenter(), grounded).record(records.Masks).masks
    assert [(m.id, m.box, m.entity, m.source) for m in masks] == [
        (6, 5, 1, "annotation"), (1, 1, 3, "fixed"), (7, 6, 2, "fixed"),
    ]  # fmt: skip


def test_annotated_interactions_stay_beside_what_a_recogniser_finds() -> None:
    known = Interactions([Interaction(7, "ride", 1, 1, 2)], records.GROUND_TRUTH)
    known = records.load(Interactions, records.dump(known))
    recognised = Interactions(
        [Interaction(1, "ride", 1, None, 2, score=0.9), Interaction(2, "hold", 1, 1, 2, score=0.8)],
        Model("pairwise"),
    )
    both = _annotated.interactions(known, recognised, "pairwise")
    assert both is not None
    assert [(i.id, i.verb, i.source) for i in both.interactions] == [
        (7, "ride", "annotation"), (8, "hold", "pairwise"),
    ]  # fmt: skip
    again = _annotated.interactions(
        records.load(Interactions, records.dump(both)), recognised, "pairwise"
    )
    assert again is not None and [i.id for i in again.interactions] == [7, 9]


# ------------------------------------------------------------------ members of older versions


@pytest.mark.parametrize(
    ("model", "source"),
    [(None, "annotation"), ({"backend": "ground-truth"}, "annotation"), ({"backend": "x"}, "x")],
)
def test_a_part_without_source_has_its_members(model: dict | None, source: str) -> None:
    for kind, name, item in (
        (records.Boxes, "boxes", {"id": 1, "xyxy": [0, 0, 1, 1]}),
        (records.Interactions, "interactions", {"id": 1, "verb": "hold"}),
    ):
        body = {"schema": 1, "width": 8, "height": 8, name: [item], "model": model}
        [read] = getattr(records.load(kind, json.dumps(body).encode()), name)
        assert read.source == source
    person = {"id": 1, "gaze": {"vector": [1, 0]}}
    body = {"schema": 1, "width": 8, "height": 8, "people": [person]}
    body["models"] = {"gaze": model} if model else {}
    [read] = records.load(records.People, json.dumps(body).encode()).people
    assert read.gaze.source == source


def test_parts_that_an_older_version_kept_are_annotations() -> None:
    kept = {"backend": "ground-truth", "people": [1]}
    body = {"schema": 1, "width": 8, "height": 8,
            "people": [{"id": n, "gaze": {"vector": [1, 0]}} for n in (1, 2)],
            "models": {"face": {"backend": "insightface"},
                       "gaze": {"backend": "sharingan", "options": {"kept": kept}}}}  # fmt: skip
    first, second = records.load(records.People, json.dumps(body).encode()).people
    assert (first.gaze.source, first.source) == ("annotation", "annotation")
    assert (second.gaze.source, second.source) == ("sharingan", "insightface")


# ------------------------------------------------------------------ the whole chain


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return wide * high / (both - wide * high)


def test_every_reference_points_where_it_did(run_cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The world's truth, captioned and parsed anew, through the three stages that see."""
    known = {s.key: ground_truth.members(s) for s in (scene(0, i, 96, "test") for i in range(12))}
    shards.write(tmp_path / "truth.tar", list(known.items()))
    at = tmp_path / "truth.tar"
    for stage in ("extract-entities", "ground", "segment", "annotate-pose"):
        more = ["--with", "identity,pose,gaze,interaction"] if stage == "annotate-pose" else []
        run_cli(stage, at, "-o", tmp_path / f"{stage}.tar", "--profile", "mini", *more)
        at = tmp_path / f"{stage}.tar"
    run_cli("validate", at)
    references = 0
    for key, result in members(at).items():
        before, after = Sample(key, known[key]), Sample(key, result)
        old = {b.id: b for b in before.record(records.Boxes).boxes}
        new = {b.id: b for b in after.record(records.Boxes).boxes}
        people = [p.box for p in after.record(records.People).people if p.source == "annotation"]
        acts = [i for i in after.record(Interactions).interactions if sources.is_annotation(i)]
        assert len(acts) == len(before.record(Interactions).interactions)
        linked = [*people, *(i.subject_box for i in acts), *(i.object for i in acts)]
        for box in (b for b in linked if b is not None):
            references += 1
            assert overlap(old[box].xyxy, new[box].xyxy) > 0.999, (key, box)
        crowd = {p.id: p for p in after.record(records.People).people}
        for one in before.record(records.People).people:
            for part in ("face", "keypoints", "gaze", "head", "identity"):
                link = getattr(one, part)
                assert link is None or getattr(crowd[one.id], part) == link, (key, one.id, part)
        words = {e.id: e.head for e in after.record(records.Entities).entities}
        for box in new.values():
            if box.entity is not None and box.source == "annotation":
                assert words[box.entity] in (box.label, box.label + "s"), (key, box)
    assert references > 30


def test_a_source_survives_the_square_that_is_trained_on() -> None:
    """Cropping and mirroring made faces, skeletons and gazes anew, without their sources."""
    from scenes import all_records

    from socialcli.training.geometry import Frame

    record = records.load(records.People, records.dump(all_records()["people.json"]))
    [woman, man] = [Frame(120, 120, 0, 0, 120, True).person(p) for p in record.people]
    assert woman.face and woman.keypoints and woman.gaze and man.gaze
    assert woman.face.source == "insightface" and woman.keypoints.source == "annotation"
    assert woman.gaze.source == man.gaze.source == "sharingan"
    assert (woman.source, man.source) == ("annotation", "insightface")

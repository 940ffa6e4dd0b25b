"""The rendered world: its ground truth is checked against its pixels and its words."""

from __future__ import annotations

import collections
import hashlib
import io
import json
import math
import os
import subprocess
import sys

import numpy
import pytest
from parts import part
from PIL import Image

from socialcli import records
from socialcli.errors import UsageError
from socialcli.miniature.world import plan, scene
from socialcli.miniature.world import vocabulary as words
from socialcli.miniature.world.captions import captions
from socialcli.miniature.world.ground_truth import members
from socialcli.miniature.world.identity import POPULATION, identity, look
from socialcli.vision import masks as rle

importer = part("importers", "world")

SCENES = 60


@pytest.fixture(scope="module")
def scenes():
    return [scene(3, i, 96, words.SPLITS[i % 3]) for i in range(SCENES)]


def test_same_arguments_same_bytes_in_another_process(scenes):
    here = hashlib.sha256(
        b"".join(b"".join(members(scene(3, i, 64)).values()) for i in range(8))
    ).hexdigest()
    code = (
        "import hashlib; from socialcli.miniature.world import scene;"
        "from socialcli.miniature.world.ground_truth import members;"
        "made = [b''.join(members(scene(3, i, 64)).values()) for i in reversed(range(8))];"
        "print(hashlib.sha256(b''.join(reversed(made))).hexdigest())"
    )
    env = {**os.environ, "PYTHONHASHSEED": "77"}
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    assert there.stdout.strip() == here


def test_importer_draws_what_the_library_draws():
    config = importer.Config(scenes=3, first=5, seed=3, size=64, source="test")
    entries = list(importer.entries(config))
    assert [e.key for e in entries] == [f"world-3-test-{i:07d}" for i in (5, 6, 7)]
    assert importer.build(config, entries[1]) == members(scene(3, 6, 64, "test"))
    with pytest.raises(UsageError, match="no split"):
        list(importer.entries(importer.Config(source="all")))
    with pytest.raises(UsageError, match="--size"):
        list(importer.entries(importer.Config(size=16)))


def test_boxes_are_tight_around_masks_and_masks_are_apart(scenes):
    for s in scenes:
        body = members(s)
        boxes = records.load(records.Boxes, body["boxes.json"])
        masks = records.load(records.Masks, body["masks.json"])
        assert [m.box for m in masks.masks] == [b.id for b in boxes.boxes]
        total = numpy.zeros((96, 96), int)
        for box, mask in zip(boxes.boxes, masks.masks, strict=True):
            pixels = rle.decode(mask.rle)
            total += pixels
            ys, xs = numpy.nonzero(pixels)
            tight = numpy.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / 96
            assert numpy.allclose(box.xyxy, tight, atol=1e-5)
        assert total.max() <= 1
        assert len(boxes.boxes) == len(s.people) + len(s.things)


def test_masks_lie_on_the_colours_of_their_things():
    """A thing's main colour is in its mask, and (nearly) nowhere where another thing is."""
    checked = 0
    shirts = []
    for i in range(120):
        s = scene(9, i, 128)
        if s.light != "day":
            continue
        picture = numpy.asarray(s.image).astype(int)
        for thing in s.things:
            if thing.look.kind not in ("ball", "box", "cart", "suitcase", "dog", "cow"):
                continue
            inside = picture[thing.mask]
            near = numpy.abs(inside - numpy.array(thing.look.main)).max(axis=1) <= 12
            assert near.mean() > 0.12, (i, thing.look)
            checked += 1
        for person in s.people:
            top = numpy.array(words.COLOURS[person.wear.top])
            shirts.append((numpy.abs(picture[person.mask] - top).max(axis=1) <= 12).any())
    assert checked > 15
    assert numpy.mean(shirts) > 0.97  # a thing held before the chest may hide the shirt


def test_drawn_extents_match_the_tables_that_aim_eyes_and_lay_out_scenes():
    """Each thing drawn alone fills the box its table promises (to a twentieth of an adult)."""
    from socialcli.miniature.world import animals, things
    from socialcli.miniature.world.canvas import Canvas, Pen

    for table, draw in ((things.BOXES, things.draw_thing), (animals.BOXES, animals.draw_animal)):
        for kind, promised in table.items():
            drawn = numpy.array([9.0, 9.0, -9.0, -9.0])
            for number in range(6):
                canvas = Canvas(200, 2)
                pen = Pen(canvas, 200.0, 300.0, 200.0, mirror=False)
                pen.id = 5
                draw(pen, look(kind, number), 0.0, 0.0, 1.0)
                ys, xs = numpy.nonzero(canvas.owners())
                one = (
                    numpy.array([xs.min(), ys.min(), xs.max(), ys.max()]) * 2 - [200, 300] * 2
                ) / 200
                drawn = numpy.concatenate(
                    [numpy.minimum(drawn, one)[:2], numpy.maximum(drawn, one)[2:]]
                )
            assert numpy.abs(drawn - promised).max() < 0.06, (kind, drawn.round(3), promised)


def test_visible_keypoints_are_on_the_person_and_sides_are_anatomical(scenes):
    sides = collections.Counter()
    for s in scenes:
        for p in s.people:
            for x, y, v in p.keypoints:
                assert 0 <= x <= 96 and 0 <= y <= 96
                if v == 2:
                    assert p.mask[int(y), int(x)]
            visible = [v for *_, v in p.keypoints]
            assert len(visible) == 17
            # Everybody's torso faces the viewer: the left shoulder is at the viewer's right.
            sides[p.keypoints[5][0] > p.keypoints[6][0]] += 1
            assert p.landmarks[0][0] < p.landmarks[1][0] and p.landmarks[3][0] < p.landmarks[4][0]
    assert sides[True] > 0.93 * sum(sides.values())  # all but those lying in arms


def test_faces_are_in_heads_in_pictures(scenes):
    faces = 0
    for s in scenes:
        for p in s.people:
            assert p.head[0] < p.head[2] and p.head[1] < p.head[3]
            if p.face is None:
                continue
            faces += 1
            for x, y in p.landmarks:
                assert p.face[0] - 1 <= x <= p.face[2] + 1 and p.face[1] - 2 <= y <= p.face[3] + 1
            assert (p.face[2] - p.face[0]) > 7
    assert faces > 60


def test_pupils_point_where_the_person_looks():
    """The dark pupil's centroid inside the white of the eye leans towards the gaze vector."""
    errors = []
    for i in range(60):
        s = scene(4, i, 192)
        picture = numpy.asarray(s.image).astype(int)
        for p in s.people:
            if p.face is None or p.who.glasses or s.light == "night":
                continue
            size = (p.face[3] - p.face[1]) * 0.19
            leans = []
            for ex, ey in p.landmarks[:2]:
                ys, xs = numpy.mgrid[0:192, 0:192]
                eye = (numpy.hypot(xs + 0.5 - ex, ys + 0.5 - ey) < size) & p.mask
                dark = eye & (picture.max(axis=2) < 60)
                if dark.sum() >= 3:
                    leans.append((xs[dark].mean() + 0.5 - ex, ys[dark].mean() + 0.5 - ey))
            if len(leans) == 2 and p.who.skin < 4:
                dx, dy = numpy.mean(leans, axis=0)
                gx, gy = p.gaze_vector
                cosine = (dx * gx + dy * gy) / (math.hypot(dx, dy) or 1)
                errors.append(math.degrees(math.acos(max(-1, min(1, cosine)))))
    assert len(errors) > 12
    assert numpy.median(errors) < 12


def test_gaze_is_a_unit_vector_and_lands_on_what_is_looked_at(scenes):
    inside = on = 0
    for s in scenes:
        boxes = {o.id: o.box for o in (*s.people, *s.things)}
        for p in s.people:
            assert math.hypot(*p.gaze_vector) == pytest.approx(1)
            if p.gaze is None:
                continue
            hx, hy = (p.head[0] + p.head[2]) / 2, (p.head[1] + p.head[3]) / 2
            dx, dy = p.gaze[0] - hx, p.gaze[1] - hy
            assert dx * p.gaze_vector[1] == pytest.approx(dy * p.gaze_vector[0], abs=1e-6)
            inside += 1
            if p.gaze_at is not None:
                x0, y0, x1, y1 = boxes[p.gaze_at]
                on += x0 - 1 <= p.gaze[0] <= x1 + 1 and y0 - 1 <= p.gaze[1] <= y1 + 1
    assert inside > 40 and on >= 0.97 * inside


def test_captions_spans_and_triples_are_exact(scenes):
    for s in scenes:
        body = members(s)
        caption = records.load(records.Caption, body["caption.json"])
        entities = records.load(records.Entities, body["entities.json"])
        boxes = {b.entity: b for b in records.load(records.Boxes, body["boxes.json"]).boxes}
        assert len({caption.text, *caption.others}) == 1 + len(caption.others) >= 2
        for e in entities.entities:
            assert caption.text[e.start : e.end] == e.text
            assert e.head in e.text.split()
            assert boxes[e.id].label == e.head  # every entity has a box, of its class
            assert "a a" not in e.text and not e.text.startswith(("a o", "a e", "a a"))
        pairs = {(r.pair.verb, r.subject, r.object) for r in s.relations}
        for written in captions(s):
            assert {(v, a, b) for a, v, b, *_ in written.triples} <= pairs
        ids = {e.id for e in entities.entities}
        assert all(t.subject in ids and t.object in ids for t in entities.triples)


def test_captions_vary():
    shapes = collections.Counter()
    for i in range(80):
        for w in captions(scene(5, i, 48)):
            passive = any(t[4] for t in w.triples)
            shapes[w.text.split()[0], passive, "while" in w.text, "nearby" in w.text] += 1
    assert len(shapes) >= 8


def test_interactions_carry_hoi_numbers_and_object_persons(scenes):
    for s in scenes:
        body = members(s)
        people = {p.id for p in records.load(records.People, body["people.json"]).people}
        for r in records.load(records.Interactions, body["interactions.json"]).interactions:
            pair = words.PAIRS[r.hoi - 1]
            assert (pair.verb, pair.object) == (r.verb, r.object_label)
            assert r.subject in people
            assert (r.object_person in people) == (r.object_label == "person")


def test_splits_share_no_person_no_subject_and_hold_out_pairs():
    seen = {split: (set(), set(), set()) for split in words.SPLITS}
    for split in words.SPLITS:
        people, subjects, pairs = seen[split]
        for i in range(900):
            for placed in plan(0, i, split).placed:
                people |= {w.number for w in placed.who}
                subjects |= {p.look.name for p in placed.act.props}
                if placed.pair:
                    pairs.add(placed.pair)
    for what in (0, 1):
        assert not seen["train"][what] & seen["val"][what]
        assert not seen["train"][what] & seen["test"][what]
        assert not seen["val"][what] & seen["test"][what]
    train, val, test = (seen[s][2] for s in words.SPLITS)
    assert not [p for p in train if p.tier in "vt"] and not [p for p in val if p.tier == "t"]
    assert {p for p in words.PAIRS if p.tier in "vt"} <= test
    # What is held out is the pair: its verb and its object are both known from other pairs.
    for p in words.PAIRS:
        if p.tier in "vt":
            known = [q for q in words.PAIRS if q.tier in "cmr"]
            assert any(q.verb == p.verb for q in known), p
            assert any(q.object == p.object for q in known), p


def test_rare_pairs_stay_rare_however_many_scenes_are_drawn():
    last = words.RARE_EVERY * (words.RARE_TURNS + 3) * len(words.RARE)
    turns = collections.Counter(words.special_turn("train", i) for i in range(last))
    assert all(0 < turns[p] < 10 for p in words.RARE) and len(words.RARE) >= 12
    shown = collections.Counter(
        placed.pair for i in range(2500) for placed in plan(0, i).placed if placed.pair
    )
    assert all(shown[p] < 10 for p in words.RARE)
    assert all(shown[p] >= 10 for p in words.FREQUENT)


def test_thousands_of_people_can_be_told_apart():
    faces = collections.Counter()
    for number in range(POPULATION["train"]):
        who = identity(number)
        faces[tuple(v for k, v in vars(who).items() if k != "number")] += 1
    assert len(faces) > 0.999 * POPULATION["train"]


def test_clothes_are_independent_of_identity():
    tops = collections.defaultdict(set)
    for i in range(4000):
        for placed in plan(1, i, "test").placed:
            for who, wear in zip(placed.who, placed.wear, strict=True):
                tops[who.number].add(wear.top)
    assert numpy.mean([len(t) for t in tops.values()]) > 4


def test_one_to_four_people_and_every_place_light_and_verb():
    plans = [plan(2, i) for i in range(1500)]
    crowd = collections.Counter(sum(len(p.who) for p in plan.placed) for plan in plans)
    assert set(crowd) == {1, 2, 3, 4} and min(crowd.values()) > 15
    assert {p.place for p in plans} == set(words.PLACES)
    assert {p.light for p in plans} == set(words.LIGHTS)
    verbs = {q.pair.verb for p in plans for q in p.placed if q.pair}
    assert verbs == set(words.VERBS)
    assert {q.mirror for p in plans for q in p.placed} == {True, False}


def test_the_same_scene_at_another_size_is_the_same_scene():
    for i in range(10):
        small, large = scene(6, i, 96), scene(6, i, 288)
        assert [p.who for p in small.people] == [p.who for p in large.people]
        for a, b in zip(small.people, large.people, strict=True):
            assert numpy.abs(numpy.array(a.box) * 3 - b.box).max() <= 6
        low = numpy.asarray(large.image.reduce(3)).astype(int)
        assert numpy.abs(low - numpy.asarray(small.image)).mean() < 4


def test_members_are_valid_records_and_the_picture_is_lossless():
    s = scene(0, 11, 64, "val")
    body = members(s)
    assert set(body) == {"png", *records.MEMBERS} - {"generated.json", "layout.json"}
    assert numpy.array_equal(numpy.asarray(Image.open(io.BytesIO(body["png"]))), s.image)
    for suffix in set(body) - {"png"}:
        kind = records.MEMBERS[suffix]
        loaded = records.load(kind, body[suffix])
        assert json.loads(records.dump(loaded)) == json.loads(body[suffix])
    meta = records.load(records.Meta, body["meta.json"])
    assert (meta.width, meta.height, meta.split) == (64, 64, "val")

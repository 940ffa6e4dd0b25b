"""The interaction recogniser: pairs in, differentiable class logits and records out."""

from __future__ import annotations

import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy
import pytest
import torch
from PIL import Image

from socialcli import backends, records
from socialcli.backends import ModelSpec
from socialcli.backends.interaction import pairwise
from socialcli.errors import ModelMissing, UsageError
from socialcli.miniature.world import scene
from socialcli.miniature.world.ground_truth import members
from socialcli.miniature.world.vocabulary import PAIRS
from socialcli.miniature.zoo import interaction as zoo
from socialcli.miniature.zoo import labels
from socialcli.networks import interactions


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("interaction")
    network = zoo.network(window=24, widths=(8, 16))
    with torch.no_grad():  # as if it had seen pictures: no channel is switched off
        network.train()(torch.randn(8, 3, 96, 96), [torch.tensor(PAIR)] * 8)
    zoo.export(network, place)
    return place


@pytest.fixture(scope="module")
def finder(folder):
    return backends.load(ModelSpec("interaction", "pairwise", str(folder)))


PAIR = [[0.1, 0.1, 0.4, 0.9, 0.5, 0.4, 0.8, 0.9]]


def by_hand(picture, box, side):
    """Bilinear samples in the middle of each cell of a box, 0 outside the picture."""
    depth, high, wide = picture.shape
    padded = numpy.zeros((depth, high + 40, wide + 40))
    padded[:, 20:-20, 20:-20] = picture
    out = numpy.zeros((depth, side, side))
    for row in range(side):
        for column in range(side):
            x = (box[0] + (column + 0.5) / side * (box[2] - box[0])) * wide - 0.5 + 20
            y = (box[1] + (row + 0.5) / side * (box[3] - box[1])) * high - 0.5 + 20
            x0, y0 = int(x), int(y)
            fx, fy = x - x0, y - y0
            top = padded[:, y0, x0] * (1 - fx) + padded[:, y0, x0 + 1] * fx
            bottom = padded[:, y0 + 1, x0] * (1 - fx) + padded[:, y0 + 1, x0 + 1] * fx
            out[:, row, column] = top * (1 - fy) + bottom * fy
    return out


def test_the_window_around_a_pair_is_cut_out_with_both_places():
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(2, 3, 9, 12, generator=generator, dtype=torch.float64)
    pairs = torch.tensor([
        [0.1, 0.2, 0.5, 0.9, 0.4, 0.3, 0.6, 0.5], [0.0, 0.0, 1.0, 1.0, 0.7, 0.8, 0.9, 1.0],
    ]).double()  # fmt: skip
    owners = torch.tensor([1, 0])
    parts = interactions.cut(maps, owners, pairs, 6)
    assert parts.shape == (2, 5, 6, 6)
    for number, (owner, pair) in enumerate(zip(owners.tolist(), pairs.tolist(), strict=True)):
        low = [min(pair[0], pair[4]), min(pair[1], pair[5])]
        high = [max(pair[2], pair[6]), max(pair[3], pair[7])]
        side = max(high[0] - low[0], high[1] - low[1]) * 1.2
        x, y = (low[0] + high[0]) / 2, (low[1] + high[1]) / 2
        box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
        assert numpy.allclose(parts[number, :3].numpy(), by_hand(maps[owner].numpy(), box, 6))
        for channel, own in ((3, pair[:4]), (4, pair[4:])):
            for row in range(6):
                for column in range(6):
                    px = box[0] + (column + 0.5) / 6 * side
                    py = box[1] + (row + 0.5) / 6 * side
                    inside = own[0] <= px <= own[2] and own[1] <= py <= own[3]
                    assert parts[number, channel, row, column] == inside


def test_how_two_boxes_lie():
    pair = torch.tensor([[0.1, 0.2, 0.3, 0.8, 0.2, 0.5, 0.6, 0.8]])
    facts = interactions.spatial(pair)[0].tolist()
    assert len(facts) == interactions.FACTS
    assert facts[:4] == pytest.approx([0.2, 0.5, 0.4, 0.65])
    assert facts[8:10] == pytest.approx([1.0, 0.25])  # apart, in sizes of the human
    assert facts[14:17] == pytest.approx([0.03 / 0.12, 0.03 / 0.12, 0.03 / 0.21])
    assert torch.isfinite(interactions.spatial(torch.zeros(1, 8))).all()


def pictures(count=2, size=(80, 120)):
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(3))


def test_only_the_classes_of_the_object_are_possible(finder):
    logits = finder.logits(pictures(1), [torch.tensor(PAIR * 3)], [["horse", "woman", "submarine"]])
    assert len(logits) == 1 and logits[0].shape == (3, len(PAIRS))
    for row, name in zip(logits[0], ("horse", "person", None), strict=True):
        for one, value in zip(finder.classes, row.tolist(), strict=True):
            assert (value == interactions.IMPOSSIBLE) == (one.object != name)
    assert [(c.hoi, c.verb, c.object) for c in finder.classes] == [
        (p.hoi, p.verb, p.object) for p in PAIRS
    ]


def test_a_phrase_names_the_object_it_begins_with(finder):
    names = ["a red ball", "a woman in a red dress", "Dog", "a thing", ""]
    rows = finder.network.object_rows(names).tolist()
    wanted = [finder.network.objects.index(n) for n in ("ball", "person", "dog")]
    assert rows == [*wanted, len(finder.network.objects), len(finder.network.objects)]


def test_pairs_do_not_depend_on_their_neighbours(finder):
    both = pictures(2)
    boxes = [torch.tensor(PAIR), torch.tensor([PAIR[0], [0.2, 0.1, 0.6, 0.7, 0.0, 0.0, 0.3, 0.3]])]
    names = [["dog"], ["person", "cup"]]
    together = finder.logits(both, boxes, names)
    assert [len(f) for f in together] == [1, 2]
    alone = finder.logits(both[1:], [boxes[1][1:]], [["cup"]])[0]
    assert torch.allclose(together[1][1:], alone, atol=1e-4)
    as_two_boxes = finder.logits(both, [b.reshape(-1, 2, 4) for b in boxes], names)
    assert torch.equal(as_two_boxes[1], together[1])
    nothing = finder.logits(both, [torch.zeros(0, 8)] * 2, [[], []])
    assert [f.shape for f in nothing] == [(0, len(PAIRS))] * 2
    some = finder.logits(both, [torch.zeros(0, 8), boxes[1]], [[], names[1]])
    assert torch.allclose(some[1], together[1], atol=1e-4) and len(some[0]) == 0


def test_gradients_reach_the_picture(finder):
    image = pictures(1, (100, 70)).requires_grad_()
    logits = finder.logits(image, [torch.tensor(PAIR)], [["ball"]])[0]
    logits.max().backward()
    assert torch.isfinite(image.grad).all()
    inside = image.grad[..., 10:90, 7:56].abs().sum(1) > 0  # where both boxes are
    assert inside.float().mean() > 0.6  # a small window steps over some pixels
    assert all(not p.requires_grad for p in finder.network.parameters())


def test_targets_of_annotated_pairs(finder):
    labels, prior = finder.labels(
        ["ball", "man", "submarine"], [["kick", "hold"], ["hug"], ["ride"]]
    )
    names = [(c.verb, c.object) for c in finder.classes]
    assert labels.shape == prior.shape == (3, len(names))
    stated = [[names[i] for i in row.nonzero().flatten()] for row in labels]
    assert sorted(stated[0]) == [("hold", "ball"), ("kick", "ball")]
    assert stated[1:] == [[("hug", "person")], []]
    for row, name in zip(prior, ("ball", "person", ""), strict=True):
        assert [bool(v) for v in row] == [n[1] == name for n in names]


def test_interactions_are_found_between_people_and_everything_else(finder, folder):
    drawn = scene(0, 3, 96, "test")
    parts = members(drawn)
    people = records.load(records.People, parts["people.json"])
    boxes = records.load(records.Boxes, parts["boxes.json"])
    sure = backends.load(
        ModelSpec("interaction", "pairwise", str(folder), options={"threshold": 0})
    )
    asked = ([drawn.image.resize((150, 90))], [people], [boxes], [None])
    [record] = sure.interact(*asked)
    scores = [i.score for i in record.interactions]
    assert scores == sorted(scores, reverse=True) and scores[0] <= 1
    assert [i.id for i in record.interactions] == list(range(1, len(scores) + 1))
    persons = {p.id for p in people.people}
    label = {b.id: b.label for b in boxes.boxes}
    pairs = {(i.subject, i.object) for i in record.interactions}
    assert pairs == {(p, b) for p in persons for b in label if p != b}
    for one in record.interactions:
        assert one.subject_box == one.subject and (one.object_person == one.object) == (
            one.object in persons
        )
        real = "person" if one.object in persons else label[one.object]
        possible = [c for c in finder.classes if c.hoi == one.hoi]
        assert (one.verb, one.object_label) == (possible[0].verb, possible[0].object)
        if one.score > 1e-6:
            assert one.object_label == real
    records.load(records.Interactions, records.dump(record))
    limit = scores[2]
    some = backends.load(
        ModelSpec("interaction", "pairwise", str(folder), options={"threshold": limit})
    )
    assert len(some.interact(*asked)[0].interactions) >= 3
    assert all(i.score >= limit for i in some.interact(*asked)[0].interactions)


def test_pictures_without_pairs_have_no_interactions(finder):
    image = Image.new("RGB", (40, 30))
    nobody = records.People(40, 30, [])
    alone = records.People(40, 30, [records.Person(1, xyxy=(0.1, 0.1, 0.5, 0.9))])
    cup = records.Boxes(40, 30, [records.Box(4, (0.5, 0.5, 0.7, 0.7), "cup", None, 0.5)])
    acts = finder.interact([image] * 3, [nobody, alone, alone], [cup, None, cup], [None] * 3)
    assert [f.interactions for f in acts[:2]] == [[], []]
    [one] = pairwise.candidates(alone, cup)
    assert one["sure"] == 0.5 and one["links"] == {
        "subject": 1, "subject_box": None, "object": 4, "object_person": None,
    }  # fmt: skip
    two = records.People(40, 30, [*alone.people, records.Person(2, xyxy=(0.5, 0.1, 0.9, 0.9))])
    assert [c["links"]["object_person"] for c in pairwise.candidates(two, None)] == [2, 1]


def test_wrong_folders_are_named(tmp_path, folder):
    with pytest.raises(ModelMissing, match=r"python -m socialcli\.miniature\.zoo interaction"):
        backends.load(ModelSpec("interaction", "pairwise", str(tmp_path)))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(UsageError, match="not an interaction recogniser"):
        backends.load(ModelSpec("interaction", "pairwise", str(tmp_path)))
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ModelMissing):
        backends.load(ModelSpec("interaction", "pairwise", str(tmp_path)))


def test_held_out_pairs_are_not_learnt_as_wrong(finder):
    learnt = zoo._pairs(finder.network, zoo.LEARNT)
    hidden = zoo._pairs(finder.network, zoo.HELD_OUT)
    for pair in PAIRS:
        row, column = (
            finder.network.objects.index(pair.object),
            finder.network.verbs.index(pair.verb),
        )
        assert bool(learnt[row, column]) == (pair.tier in "cmr") != bool(hidden[row, column])
    _, owners, boxes, things, verbs = zoo._batch(0, finder.network)
    assert len(owners) == len(boxes) == len(things) == len(verbs)
    assert not verbs[hidden[things]].any() and verbs.any(1).float().mean() > 0.3


def test_average_precision_at_eleven_recalls_by_hand():
    rows = [(0.9, True), (0.8, False), (0.7, True), (0.1, False)]
    # Recall 0 to 0.5 at precision 1, 0.6 to 1 at 2/3.
    assert zoo.eleven_points(rows) == pytest.approx((6 + 5 * 2 / 3) / 11)
    assert zoo.eleven_points([(0.1, True), (0.9, False)]) == pytest.approx(0.5)
    assert zoo.eleven_points([(0.5, False)]) == 0


def test_mutual_acts_are_true_both_ways():
    seen = set()
    for i in range(120):
        drawn = scene(0, i, 48)
        true = labels.relations(drawn)
        for one in drawn.relations:
            assert (one.subject, one.pair.verb, one.object) in true
            back = (one.object, one.pair.verb, one.subject) in true
            both = one.pair.verb in labels.MUTUAL and one.pair.object == "person"
            assert back == both
            seen.add(both)
    assert seen == {True, False}


def test_a_block_says_what_its_formula_says():
    """Made in place, without spoiling what came in or its gradient."""
    torch.manual_seed(0)
    for block in (interactions.Block(4, 4, 1), interactions.Block(4, 6, 2)):
        conv1, norm1, _, conv2, norm2 = block.eval().body
        given = torch.randn(2, 4, 6, 6)
        kept = given.clone()
        x, y = given.requires_grad_(), kept.clone().requires_grad_()
        plain = torch.relu(norm2(conv2(torch.relu(norm1(conv1(y))))) + block.skip(y))
        got = block(x * 1)
        assert torch.equal(got, plain)
        got.square().sum().backward()
        plain.square().sum().backward()
        with torch.no_grad():
            block(x)
        assert torch.equal(x, kept)
        assert torch.equal(x.grad, y.grad)

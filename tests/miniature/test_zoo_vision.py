"""The zoo's grounding, masks and picture likeness: targets that say what the scenes say."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import math
import random

import numpy
import pytest
import torch

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.miniature.world import scene
from socialcli.miniature.world.planning import plan
from socialcli.miniature.world.scenes import paint
from socialcli.miniature.world.vocabulary import split_of
from socialcli.miniature.zoo import cards, data, dino, ground, segment


def test_giou_by_hand():
    truth = torch.tensor([[0.0, 0.0, 0.5, 0.5]])
    low, high = torch.tensor([[0.0, 0.0], [0.25, 0.0], [0.5, 0.5]]), torch.tensor([[0.5, 0.5]] * 3)
    high[1], high[2] = torch.tensor([0.75, 0.5]), torch.tensor([1.0, 1.0])
    expected = [1.0, 1 / 3, 0 - 0.5]  # the third: hull 1, union one half
    assert ground._giou(low, high, truth).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_grounding_loss_matches_whatever_the_order_of_the_queries():
    boxes = torch.tensor([[0.1, 0.1, 0.3, 0.5], [0.5, 0.2, 0.9, 0.8]])
    tokens = torch.zeros(2, 256)
    tokens[0, 1:3] = tokens[1, 4] = 1
    middle = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    guesses = torch.cat([middle, torch.rand(3, 4, generator=torch.Generator().manual_seed(0))])
    logits = torch.full((5, 6), -8.0)
    logits[0, 1:3] = logits[1, 4] = 8.0
    mask = torch.ones(1, 6)

    def loss(order, says=logits):
        return float(
            ground._matched(says[order][None], guesses[order][None], mask, [(boxes, tokens)])
        )

    right = loss([0, 1, 2, 3, 4])
    assert right == pytest.approx(loss([4, 1, 3, 0, 2]), abs=1e-5) and 0 <= right < 0.02
    swapped = logits.clone()
    swapped[[0, 1]] = logits[[1, 0]]
    assert loss([0, 1, 2, 3, 4], swapped) > right + 1


def test_the_segmenter_starts_able_to_see():
    """transformers starts SAM's encoder at 1e-10 and a box's two corners all but alike."""
    model = segment.network()
    with torch.no_grad():
        features = model.get_image_embeddings(data.pixels([scene(0, i, 96) for i in range(2)]))
        assert (features[0] - features[1]).abs().mean() > 0.3
        corners, _ = model.prompt_encoder(None, None, torch.tensor([[[20.0, 20, 20, 20]]]), None)
    assert (corners[0, 0, 0] - corners[0, 0, 1]).abs().mean() > 0.3


def test_all_of_the_segmenter_learns():
    """`get_image_embeddings` keeps no gradients: an encoder behind it never learns."""
    model = segment.network().train()
    segment._loss(model, segment._batch(0), 0).backward()
    idle = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    unused = ("mask_embed", "point_embed.0", "point_embed.1", "not_a_point", "k_proj.bias")
    first = "output_hypernetworks_mlps.0."  # learns in other steps: one mask instead of three
    assert not {n for n in idle if not any(part in n for part in (*unused, first))}


def test_a_segmenting_batch_says_what_the_scenes_say():
    pixels, corners, truth, facts = segment._batch(2)
    again = segment._batch(2)
    assert all(
        torch.equal(a, b) for a, b in zip((pixels, corners, truth, facts), again, strict=True)
    )
    scenes = data.train_scenes(2, segment.BATCH)
    for i, s in enumerate(scenes):
        assert torch.equal(facts[i, ..., 0] > 0, torch.from_numpy(s.instances > 0))
        people = numpy.isin(s.instances, [p.id for p in s.people])
        assert torch.equal(facts[i, ..., 1] > 0, torch.from_numpy(people))
        for one in s.everything:
            boxes = facts[i][torch.from_numpy(one.mask)][:, 2:] * data.SIZE
            assert torch.allclose(boxes, torch.tensor(one.box, dtype=torch.float32))
        for box, mask in zip(corners[i].tolist(), truth[i, :, 0].numpy() > 0, strict=True):
            one = next(o for o in s.everything if (o.mask == mask).all())
            side = max(one.box[2] - one.box[0], one.box[3] - one.box[1])
            assert max(abs(a - b) for a, b in zip(box, one.box, strict=True)) <= 0.061 * side


def test_what_pixels_are_asked_is_laid_out_as_pixels():
    _, _, _, facts = segment._batch(0)
    facts = facts[:2]
    count, side, _, dense = facts.shape
    cells = facts.reshape(count, side // 4, 4, side // 4, 4, dense).permute(0, 1, 3, 2, 4, 5)
    blocks = cells.reshape(count, side // 4, side // 4, -1).clone()
    values = blocks.view(count, side // 4, side // 4, 16, dense)
    values[..., :2] = values[..., :2] * 40 - 20  # sure of itself
    assert float(segment._dense(blocks, facts)) < 1e-4
    assert float(segment._dense(blocks.transpose(1, 2).contiguous(), facts)) > 0.1


def test_an_exported_segmenter_is_the_trained_one(tmp_path):
    model = segment.network().eval()
    s = scene(3, 1, 96)
    boxes = torch.tensor([o.box for o in s.everything])
    with torch.no_grad():
        out = model(pixel_values=data.pixels([s]), input_boxes=boxes[None], multimask_output=True)
    best = out.iou_scores[0].argmax(1)
    masks = (out.pred_masks[0] > 0)[torch.arange(len(boxes)), best].numpy()
    segment.export(model, tmp_path)
    sam = backends.load(ModelSpec("segment", "sam", str(tmp_path)))
    [segments] = sam.segment([s.image], [[tuple(v / 96 for v in o.box) for o in s.everything]])
    agree = [
        (trained == loaded.mask).mean() for trained, loaded in zip(masks, segments, strict=True)
    ]
    assert numpy.median(agree) > 0.98  # half the digits: a pixel or a mask may change its mind
    assert not any("auxiliary" in name for name in sam.network.state_dict())


def test_pairs_are_one_subject_in_two_scenes():
    plans = [plan(0, i, "train") for i in range(30)]
    sorts = [[sort for sort, _ in dino.slots(p)] for p in plans]
    twice = dino.pair_up(plans, random.Random(4))
    assert len(twice) > 15
    assert [[sort for sort, _ in dino.slots(p)] for p in plans] == sorts  # a dog for a dog
    scenes = [paint(p, 96) for p in plans]
    where: dict[str, set[int]] = {}
    for i, s in enumerate(scenes):
        for name, _ in dino._named(s):
            where.setdefault(name, set()).add(i)
    assert sum(len(where[name]) == 2 for name in twice if name in where) > 0.85 * len(twice)
    assert all(split_of(int(name[-5:].strip("-"))) == "train" for name in where)


def test_contrast_by_hand():
    """Three pictures: the first and second share a subject, the third is alone."""
    vectors = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    shows = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    t = dino.HEAT
    first = -math.log(math.exp(0.8 / t) / (math.exp(0.8 / t) + math.exp(0.0)))
    second = -math.log(math.exp(0.8 / t) / (math.exp(0.8 / t) + math.exp(0.6 / t)))
    loss = float(dino.contrast(vectors, shows))
    assert loss == pytest.approx((first + second) / 2, rel=1e-4)


def test_average_precisions_by_hand():
    vectors = numpy.array([[1, 0], [0.9, 0.1], [0.8, 0.3], [0.0, 1.0]])
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
    names = ["a", "b", "a", "b"]
    # First: b a b; second: a or a first, its own last; third: b a b; fourth: a first, then b.
    assert dino.average_precisions(vectors, names).tolist() == pytest.approx(
        [1 / 2, 1 / 3, 1 / 2, 1 / 2]
    )


def test_the_gallery_shows_test_subjects_each_in_its_scenes():
    shown = dino.gallery("test", 12)
    assert len(shown) == 12 * dino.SCENES and len({s.key for _, s, _ in shown}) == len(shown)
    names = [name for name, _, _ in shown]
    assert {names.count(name) for name in names} == {dino.SCENES}
    assert sum(name.startswith("person-") for name in set(names)) == 3
    assert all(split_of(int(name.rsplit("-", 1)[1])) == "test" for name in names)
    for name, s, one in shown:
        assert one.mask.any() and name in [n for n, _ in dino._named(s)]


def test_the_published_dino_knows_subjects_again(monkeypatch):
    monkeypatch.setattr(dino, "TEST", 32)
    measured = dino.measure(cards.folder("dino"))
    assert measured["map"] >= min(
        0.7, 0.9 * json.loads(cards.card("dino").read_text())["test"]["map"]
    )

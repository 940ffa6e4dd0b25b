"""CMMP at work: as annotator, as feedback, as judge; and what it is refused for."""

from __future__ import annotations

import io
import json

import numpy
import pytest
import torch
from PIL import Image
from tiny import interaction as tiny

from socialcli import backends, records, registry, shards
from socialcli.backends import ModelSpec
from socialcli.backends.interaction import cmmp as backend
from socialcli.evaluation import settings
from socialcli.evaluation.features import Look
from socialcli.losses import interaction as loss
from socialcli.networks import cmmp
from socialcli.records import hico
from socialcli.vision.boxes import clip

SIZE = (96, 72)


@pytest.fixture(scope="module")
def image():
    noise = numpy.random.default_rng(3).integers(0, 255, (9, 12, 3))
    return Image.fromarray(noise.astype(numpy.uint8)).resize(SIZE, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def file(tmp_path_factory, image):
    height, width = cmmp.detector_size(image.height, image.width)
    large = image.resize((width, height), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(numpy.array(large)).permute(2, 0, 1)[None].float() / 255
    return tiny.checkpoint(tmp_path_factory.mktemp("cmmp"), seen=cmmp.normalised(pixels))


@pytest.fixture(scope="module")
def finder(file):
    return backends.load(ModelSpec("interaction", "cmmp", str(file)))


@pytest.fixture(scope="module")
def acts(finder, image):
    return finder.detect_interactions([image])[0]


def as_tensor(image):
    return torch.from_numpy(numpy.array(image)).permute(2, 0, 1)[None].float() / 255


def test_every_pair_with_every_verb_that_its_object_allows(acts):
    things = {one.object_label for one in acts}
    assert {"person", "dog"} <= things
    for thing in things:
        wanted = {c.verb for c in hico.classes() if c.object == thing}
        pairs = {(one.human, one.object) for one in acts if one.object_label == thing}
        of_object = [one for one in acts if one.object_label == thing]
        assert {one.verb for one in of_object} == wanted and len(of_object) == len(wanted) * len(
            pairs
        )
    for one in acts:
        known = hico.classes()[one.hoi - 1]
        assert (known.verb, known.object) == (one.verb, one.object_label)
        assert 0 < one.score < 1
    assert all(one.human != one.object for one in acts)


def test_pictures_are_resized_in_training_as_in_annotation(finder, image):
    """The one way by torch, the other by Pillow in whole numbers, as the authors' code does."""
    files = finder._prepared(image)
    large = finder.network.for_detector(as_tensor(image))
    for one, other in zip(
        files, (cmmp.normalised(large), finder.network.for_tower(large)), strict=True
    ):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) < 1.6 / 255 / min(cmmp.STD)


def sample(acts, dogs: bool = True):
    """People and boxes of a sample: the detector's own, a little moved; the first person's body has
    no box."""
    people = list(dict.fromkeys(clip(one.human) for one in acts))[:2]
    things = [clip(one.object) for one in acts if one.object_label == "dog"][:1]
    boxes = [records.Box(1, (0.0, 0.0, 1e-3, 1e-3), "cup"), records.Box(2, people[1], "woman")]
    if dogs:
        boxes.append(records.Box(3, things[0], "a brown puppy"))
    who = [records.Person(5, xyxy=people[0]), records.Person(6, box=2)]
    width, height = SIZE
    return records.People(width, height, who), records.Boxes(width, height, boxes)


def test_links_are_those_of_the_sample(finder, image, acts):
    people, boxes = sample(acts)
    finder.threshold = 0.0
    try:
        [interactions] = finder.interact([image], [people], [boxes], [None])
        [bare] = finder.interact([image], [people], [None], [None])
    finally:
        finder.threshold = backend.THRESHOLD
    listed = interactions.interactions
    assert [one.id for one in listed] == list(range(1, len(listed) + 1))
    assert [one.score for one in listed] == sorted((one.score for one in listed), reverse=True)
    assert {one.subject for one in listed} == {5, 6}
    assert {one.subject_box for one in listed if one.subject == 6} == {2}
    assert {one.subject_box for one in listed if one.subject == 5} == {None}
    assert 3 in {one.object for one in listed if one.object_label == "dog"}
    assert {one.object for one in listed if one.object_label != "dog"} <= {None, 2}
    assert all(one.object_person != one.subject for one in listed)
    keys = [(i.verb, i.subject, i.object, i.object_person, i.object_label) for i in listed]
    assert len(set(keys)) == len(keys)
    assert {one.object for one in bare.interactions} == {None}
    best = max(a.score for a in acts if clip(a.human) == people.people[0].xyxy)
    assert max(one.score for one in listed if one.subject == 5) == pytest.approx(best)
    assert interactions.model.backend == "cmmp" and interactions.model.revision.startswith(
        "sha256:"
    )


def test_annotated_pairs_are_judged_differentiably(finder, image):
    pictures = as_tensor(image).repeat(2, 1, 1, 1).requires_grad_(True)
    pairs = [torch.tensor([[0.1, 0.1, 0.4, 0.9, 0.5, 0.4, 0.8, 0.9]]), torch.zeros(0, 8)]
    names = [["a brown dog"], []]
    logits, nothing = finder.logits(pictures, pairs, names)
    assert logits.shape == (1, 600) and nothing.shape == (0, 600)
    dogs = torch.tensor([c.object == "dog" for c in hico.classes()])
    assert (logits[0, ~dogs] == backend.IMPOSSIBLE).all() and (logits[0, dogs] > -20).all()
    logits[:, dogs].sum().backward()
    assert pictures.grad[0].abs().sum() > 0 and torch.isfinite(pictures.grad).all()
    assert not pictures.grad[1].any()
    labels, prior = finder.labels(["dog", "zeppelin"], [["Walk", "juggle"], ["ride"]])
    walk = next(c.number - 1 for c in hico.classes() if (c.verb, c.object) == ("walk", "dog"))
    assert labels[0].nonzero().flatten().tolist() == [walk] and torch.equal(prior[0] > 0, dogs)
    assert not labels[1].any() and not prior[1].any()


def test_the_loss_of_detected_pairs(finder, image):
    """Eq. 6 as CMMP trains: a pair has the verbs of the annotated pair that it overlaps."""
    pixels = as_tensor(image)
    [(boxes, _, prior)] = finder.detected(pixels)
    row = int(prior.sum(1).argmax())
    verb = int(prior[row].nonzero()[0])
    annotated = boxes[row][None].clone()
    verbs = torch.nn.functional.one_hot(torch.tensor([verb]), 117).float()
    pictures = (pixels * 2 - 1).requires_grad_(True)
    value = loss.of_detections(finder, pictures, [annotated], [verbs])
    value.sum().backward()
    assert value.shape == (1,) and value > 0 and pictures.grad.abs().sum() > 0
    # A verb that the detected object does not allow, a pair elsewhere, no pair: silence.
    other = torch.nn.functional.one_hot((prior.sum(0) == 0).nonzero()[0], 117).float()
    far = torch.full((1, 2, 4), 5.0)
    for given in ([annotated], [other]), ([far], [verbs]), ([far[:0]], [verbs[:0]]):
        assert loss.of_detections(finder, pictures, *given).tolist() == [0]
    named = finder.verb_labels([["Sit_on", "sit on"], []])
    assert named.shape == (2, 117) and named.sum() == 1


def test_labels_of_detected_pairs():
    box = torch.tensor([0.0, 0.0, 0.4, 0.4])
    right = box + 0.5
    aside = torch.tensor([1.0, 0, 1, 0])
    pairs = torch.stack([torch.stack([box, right]), torch.stack([box + 0.14 * aside, right])])
    moved = torch.stack([box + 0.13 * aside, right])
    verbs = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    labels = loss.labels_of(pairs, torch.stack([torch.stack([box, right]), moved]), verbs)
    assert labels.tolist() == [[1, 1, 0], [0, 1, 0]]
    assert loss.labels_of(pairs[:0], moved[None], verbs[:1]).shape == (0, 3)


def test_no_grounder_is_asked_beside_it():
    feature, options = registry.load("features", "hoi-objects"), settings.config_type()
    config = options(interaction_backend="cmmp")
    assert feature.models(config) == ()
    nothing = {"boxes": [], "scores": []}
    assert feature.run(config, [], [Look(), Look()]) == [nothing, nothing]
    assert [spec.role for spec in feature.models(options())] == ["ground"]


def test_annotate_pose_and_score(run_cli, file, image, acts, tmp_path):
    """The real command line: the annotator writes, and the judge scores the same acts."""
    people, boxes = sample(acts)
    best = max(acts, key=lambda one: one.score)
    boxes.boxes += [
        records.Box(7, clip(best.human), "person"),
        records.Box(8, clip(best.object), best.object_label),
    ]
    truth = records.Interaction(
        1, best.verb, subject_box=7, object=8, object_label=best.object_label, hoi=best.hoi
    )
    out = io.BytesIO()
    image.save(out, "PNG")
    members = {"png": out.getvalue(), "boxes.json": records.dump(boxes),
               "people.json": records.dump(people),
               "interactions.json": records.dump(records.Interactions([truth]))}  # fmt: skip
    shards.write(tmp_path / "in" / "000.tar", [("a", members)])
    model = ("--interaction-backend", "cmmp", "--interaction-model", file)
    run_cli(
        "annotate-pose", tmp_path / "in", "-o", tmp_path / "out", "--with", "interaction", *model
    )
    [done] = shards.read(str(tmp_path / "out" / "000.tar"))
    first, *others = done.record(records.Interactions).interactions
    assert first.verb == best.verb and first.source != "cmmp"  # the annotated one stays
    assert others and all(one.source == "cmmp" for one in others)
    assert all(one.score >= backend.THRESHOLD for one in others)
    run_cli(
        "score", tmp_path / "in", "--real", "--metrics", "hoi,hoi-det", "--profile", "mini", *model,
        "--hoi-classes", "hico-det", "--resamples", "0", "-o", tmp_path / "score",
    )  # fmt: skip
    columns = json.loads((tmp_path / "score" / "score.json").read_text())["columns"]
    assert columns["hoi"]["value"] == pytest.approx(100)  # the picture shows the class
    assert 0 <= columns["hoi_det"]["value"] <= 100  # its random boxes leave the picture

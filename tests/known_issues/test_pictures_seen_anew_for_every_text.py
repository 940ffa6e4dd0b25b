"""GroundingDINO sent a picture through its image backbone once for each text where the phrases of
the picture fill more than one, though the backbone sees no text."""

import pytest
import torch

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.backends.ground import phrases
from socialcli.backends.ground._remembered import Remembered
from socialcli.benchmarks.train import WEIGHTS
from socialcli.miniature.world import scene
from socialcli.miniature.world.ground_truth import members
from socialcli.vision import images

MANY = ["person", "ball", "kite", "dog", "a cup", "a man", "a woman", "a bench"]


@pytest.fixture(scope="module")
def grounder():
    """The miniature, whose texts hold two or three of the phrases."""
    loaded = backends.load(ModelSpec("ground", "grounding-dino", str(WEIGHTS / "ground")))
    loaded.words = phrases.Vocabulary(**{**vars(loaded.words), "longest": 10})
    return loaded


def pictures():
    drawn = [members(scene(7, number, 96)) for number in (0, 1, 2)]
    return [images.decode_to_look(one.get("png") or one["jpg"]) for one in drawn]


@pytest.fixture
def rows(grounder):
    """How many rows passed the backbone, batch after batch."""
    seen: list[int] = []
    backbone = grounder.network.model.backbone.conv_encoder.model
    first = next(part for part in backbone.modules() if isinstance(part, torch.nn.Conv2d))
    watch = first.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    yield seen
    watch.remove()


@pytest.mark.parametrize("number", [1, 3])
def test_each_picture_passes_the_backbone_once(grounder, rows, monkeypatch, number):
    """The same is detected: of one picture to the last bit; of several their sums are added up
    for other numbers of rows at once."""
    asked = [MANY, MANY[:1], MANY[::-1]][:number]
    assert len(phrases.texts(MANY, grounder.words)) > 2
    once = grounder.ground(pictures()[:number], asked, 0.1, 0.1)
    assert sum(rows) == number and all(once)
    assert not grounder.remembered._kept  # and is forgotten

    monkeypatch.setattr(Remembered, "maps", lambda self, pixels, compute: list(compute(pixels)))
    rows.clear()
    anew = grounder.ground(pictures()[:number], asked, 0.1, 0.1)
    assert sum(rows) > number
    if number == 1:
        assert once == anew
    for own, other in zip(once, anew, strict=True):
        assert [d.phrase for d in own] == [d.phrase for d in other]
        for a, b in zip(own, other, strict=True):
            assert (*a.xyxy, a.score) == pytest.approx((*b.xyxy, b.score), abs=2e-6)


def test_a_batch_of_which_nothing_was_told_is_computed(grounder):
    """Whoever calls the network itself gets its own pixels' features, whatever was seen before."""
    grounder.ground(pictures(), [MANY] * 3, 0.1, 0.1)
    backbone = grounder.network.model.backbone.conv_encoder.model
    pixels = torch.rand(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps = backbone(pixels).feature_maps
        own = [backbone(one[None]).feature_maps for one in pixels]
    for level, alone in zip(maps, zip(*own, strict=True), strict=True):
        torch.testing.assert_close(level, torch.cat(alone), atol=1e-5, rtol=1e-4)

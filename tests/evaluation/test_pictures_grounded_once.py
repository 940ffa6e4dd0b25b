"""A picture that several features look for things in passes the image backbone once."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from socialcli import backends  # noqa: E402
from socialcli.backends import ModelSpec  # noqa: E402
from socialcli.benchmarks.train import WEIGHTS  # noqa: E402
from socialcli.miniature.world import scene  # noqa: E402
from socialcli.miniature.world.ground_truth import members  # noqa: E402
from socialcli.vision import images  # noqa: E402

GAZE, HOI = ["a ball", "a cup"], ["person", "ball", "kite", "dog"]


def grounder():
    model = str(WEIGHTS / "ground")
    return backends.load(ModelSpec("ground", "grounding-dino", model, None, "cpu", "float32", {}))


@pytest.fixture(scope="module")
def pictures():
    made = [members(scene(7, number, 96)) for number in range(4)]
    return [images.decode_to_look(one.get("png") or one["jpg"]) for one in made]


def test_a_second_search_finds_the_same_without_the_backbone(pictures):
    plain, remembering = grounder(), grounder()
    remembering.remember()
    backbone, rows = remembering.network.model.backbone.conv_encoder.model, []
    patches = next(part for part in backbone.modules() if isinstance(part, torch.nn.Conv2d))
    patches.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    # Gaze has nothing to look for in one of them; the interactions look at all, with other labels.
    for wanted, labels in ((pictures[1:], GAZE), (pictures, HOI), (pictures[:2], GAZE)):
        asked = (wanted, [labels] * len(wanted), 0.2, 0.2)
        first, second = plain.ground(*asked), remembering.ground(*asked)
        for own, other in zip(first, second, strict=True):
            assert [d.phrase for d in own] == [d.phrase for d in other]
            for a, b in zip(own, other, strict=True):
                assert a.score == pytest.approx(b.score, abs=1e-6)
                assert tuple(a.xyxy) == pytest.approx(tuple(b.xyxy), abs=1e-6)
    assert any(first), "nothing was detected: the test says nothing"
    assert rows == [3, 1], "each picture passes once"


def test_other_pictures_are_not_taken_for_those_of_before(pictures):
    plain, remembering = grounder(), grounder()
    remembering.remember()
    remembering.ground(pictures[:2], [HOI] * 2, 0.2, 0.2)
    for picture in pictures[2:]:  # of the same shape
        asked = ([picture.copy()], [HOI], 0.2, 0.2)
        found = [[(d.phrase, d.score) for d in one] for one in remembering.ground(*asked)]
        wanted = [[(d.phrase, d.score) for d in one] for one in plain.ground(*asked)]
        assert found == [[(p, pytest.approx(s, abs=1e-6)) for p, s in one] for one in wanted]

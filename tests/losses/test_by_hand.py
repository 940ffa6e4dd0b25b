"""Small losses in a few numbers that a reader can follow, and what only their edges tell."""

from __future__ import annotations

import math

import pytest
import torch

from socialcli.errors import UsageError
from socialcli.losses import (
    attention_region,
    contrast,
    cross_attention,
    denoise,
    interaction,
    localisation,
    mask_cross_entropy,
    masked,
    pose,
    reconstruction,
    regularisation,
    response,
    steering,
    subject_aware,
)


def test_the_weighted_denoising_loss_is_a_weighted_mean():
    predicted = torch.zeros(3, 2, 1, 2)
    predicted[:, 0, 0] = torch.tensor([1.0, 3.0])
    predicted[:, 1, 0] = torch.tensor([1.0, 5.0])
    target = torch.zeros_like(predicted)
    weight = torch.tensor([[1.0, 0.0], [0.1, 0.3], [0.0, 0.0]])[:, None, None]
    # The squares' means over the channels are 1 and 17.
    expected = [1.0, (0.1 * 1 + 0.3 * 17) / 0.4, 0.0]
    values = denoise.loss(predicted, target, weight)
    assert values.tolist() == pytest.approx(expected)
    assert denoise.loss(predicted, target, weight * 1e-4).tolist() == pytest.approx(expected)
    assert denoise.loss(predicted.half(), target.half(), weight).dtype == torch.float32


def test_half_precision_is_widened():
    low = torch.linspace(-1, 1, 48).reshape(1, 3, 4, 4).half()
    assert reconstruction.loss(low, low + 1).dtype == torch.float32
    assert response.loss(low, low + 1).dtype == torch.float32
    assert pose.HeatMaps(lambda x: x, (4, 4)).poses(low, low, None).points.dtype == torch.float32
    # 2,049 in float16 is 2,048: the mean of many squares must not be taken in it.
    wide = torch.full((1, 1, 8, 8), 1.5).half()
    assert denoise.loss(wide, torch.zeros_like(wide)).item() == 2.25
    assert response.loss(wide, torch.zeros_like(wide)).tolist() == [0]


def test_a_response_is_a_share_of_the_teachers_however_small_that_is():
    change, truth = torch.tensor([[1.0, -3.0]]), torch.tensor([[1.0, 1.0]])
    for size in (1.0, 1e-4):
        assert response.loss(size * change, size * truth).tolist() == pytest.approx([2.0])


def test_targets_get_no_gradient():
    predicted = torch.rand(2, 3, 4, 4, requires_grad=True)
    truth = torch.rand(2, 3, 4, 4, requires_grad=True)
    for function in (reconstruction.loss, response.loss):
        function(predicted, truth).sum().backward()
        assert truth.grad is None and predicted.grad is not None, function.__module__
    word = torch.rand(1, 4, requires_grad=True)
    others = torch.rand(2, 1, 3, 4, requires_grad=True)
    steering.loss(word, others[0], others[1], torch.ones(1, 3, dtype=torch.bool)).sum().backward()
    assert others.grad is None and word.grad is not None
    teacher = torch.ones((), requires_grad=True)
    compared = response.compare(lambda z: 2 * z, lambda z: teacher * z, truth, predicted)
    sum(v.sum() for v in compared.values()).backward()
    assert teacher.grad is None


def test_defaults_are_those_of_the_papers():
    """Where a caller says nothing: the temperature 0.07, vectors of length 1, the sum of squares,
    a mean over the mask."""
    v, a = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 1.0]])
    # Both pairs of different subjects have cosine 0, both of a subject and A cosine 1 / sqrt 2.
    expected = math.log1p(2 * math.exp(math.sqrt(0.5) / 0.07) / 2)
    assert contrast.loss(v, a).item() == pytest.approx(expected, rel=1e-5)
    word, near = torch.tensor([[2.0, 0.0]]), torch.tensor([[[0.0, 3.0], [2.0, 2.0]]])
    there, far = torch.tensor([[True, False]]), torch.tensor([[[5.0, 1.0], [1.0, 0.0]]])
    positive = 1 + math.exp(math.sqrt(0.5) / 0.07)
    expected = math.log1p(math.exp(5 / math.sqrt(26) / 0.07) / positive)
    assert steering.loss(word, near, far, there).item() == pytest.approx(expected, rel=1e-4)
    maps = torch.ones(1, 1, 1, 2, 2)
    assert attention_region.loss(maps, 0 * maps).item() == 4
    pictures = torch.ones(1, 1, 2, 2)
    corner = torch.zeros(1, 2, 2)
    corner[0, 0, 0] = 1
    assert masked.loss(pictures, 0 * pictures, corner).item() == 1
    assert masked.to_latents(corner, (1, 1))[0].item() == 0.25
    shares = torch.tensor([[[0.0, 0.2], [0.4, 0.8]]])
    looked = cross_attention.loss(shares, torch.stack([shares, shares], 1), torch.ones(1, 2, 2))
    assert looked.item() == pytest.approx(0, abs=1e-12)


def test_masked_latents_of_a_faint_mask_and_of_more_latents_than_pixels():
    """However little a mask covers, the mean over it is the plain one."""
    predicted = torch.full((1, 1, 2, 2), 3.0)
    faint = torch.full((1, 2, 2), 1e-3)
    assert masked.loss(predicted, 0 * predicted, faint).item() == pytest.approx(9, rel=1e-4)
    inside, outside = masked.to_latents(torch.tensor([[[1.0, 0.0]]]), (1, 4), "nearest")
    assert inside.tolist() == [[[1, 1, 0, 0]]] and outside.tolist() == [[[0, 0, 1, 1]]]


def test_shapes_that_do_not_fit_are_told():
    with pytest.raises(UsageError, match="masked loss needs"):
        masked.loss(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 1), torch.ones(1, 2, 2))
    with pytest.raises(UsageError, match="tokens"):
        regularisation.loss(torch.ones(2, 5, 8), torch.ones(2, 8))
    with pytest.raises(UsageError, match="attractors"):
        contrast.loss(torch.ones(2, 4), torch.ones(0, 4))
    masks, shown = torch.ones(2, 2, 4, 4), torch.ones(2, 2, dtype=torch.bool)
    for maps in ([], [torch.ones(2, 1, 3, 4, 4)], [torch.ones(1, 1, 2, 4, 4)]):
        with pytest.raises(UsageError, match="must be as many"):
            localisation.loss(maps, masks, shown)


def test_schedules_have_the_printed_shapes():
    assert contrast.schedule("exponential", 0.2) == pytest.approx(
        (1 - math.exp(-1)) / (1 - math.exp(-5))
    )
    ends = [1 / (1 + math.exp(-10 * (x - 0.5))) for x in (0.0, 0.25, 1.0)]
    assert contrast.schedule("sigmoid", 0.25) == pytest.approx(
        (ends[1] - ends[0]) / (ends[2] - ends[0])
    )
    assert contrast.schedule("linear", -1.0) == 0


def test_cross_entropy_by_hand():
    logits = torch.tensor([[[[0.0, 2.0]]], [[[1.0, -1.0]]]])
    masks = torch.tensor([[[[1.0, 1.0]]], [[[0.0, 1.0]]]])
    expected = [(math.log(2) + math.log1p(math.exp(-2))) / 2, math.log1p(math.exp(1))]
    assert mask_cross_entropy.loss(logits, masks).tolist() == pytest.approx(expected)


def test_reconstruction_sees_edges_down_and_signs_of_averages():
    """A step down the rows, and a pattern whose squares average to nothing."""
    rows = torch.zeros(1, 1, 4, 4)
    rows[0, 0, 2:] = -1.0
    pixels, edges = 0.5 + 0.5, 0.25 * (4 / 12)
    coarse = 0.5 + 0.5  # squares of 2 are half of them wrong, that of 4 is wrong by a half
    loss = reconstruction.loss(rows, 0 * rows)
    assert loss.item() == pytest.approx(pixels + edges + coarse)
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 2)[None, None]
    assert reconstruction.loss(board, 0 * board).item() == pytest.approx(1 + 1 + 0.25 * (2 + 2))


def test_an_empty_segment_has_no_part_whatever_its_form():
    for form in subject_aware.FORMS:
        values = subject_aware.loss(torch.ones(2, 2, 2), torch.zeros(2, 2, 2), form)
        assert values.tolist() == [0, 0], form
    one = torch.zeros(1, 2, 2)
    one[0, 0, 0] = 1
    # A mean over the segment's one pixel, and not over the picture.
    assert subject_aware.loss(0 * one, one, "segment").item() == pytest.approx(math.log(2))


# --- pose: estimators that are asked in words -----------------------------------------------------


def looker(asked: list):
    """Knows two layouts: two keypoints of people, three of animals; a point is the box's corner."""

    def look(windows, boxes, labels, layout):
        asked.append((labels, layout))
        count = 2 if layout == "people" else 3
        points = boxes[:, None, :2].expand(-1, count, -1) + windows.mean((1, 2, 3))[:, None, None]
        return points, torch.full((len(windows), count), 0.5)

    return look


KINDS = [("man", "people"), ("dog", "animals"), ("woman", "people")]


def test_subjects_of_several_kinds_come_back_in_their_order():
    asked: list = []
    estimator = pose.Queries(looker(asked), (4, 4), KINDS)
    windows = torch.arange(4.0)[:, None, None, None].expand(-1, 3, 4, 4)
    boxes = torch.arange(4.0)[:, None] / 10 + torch.zeros(4, 4)
    points, scores = estimator.poses(windows, boxes, torch.tensor([1, 0, 1, 2]))
    assert asked == [(["dog", "dog"], "animals"), (["man", "woman"], "people")]
    assert points.shape == (4, 3, 2) and scores.shape == (4, 3)
    assert points[:, 0, 0].tolist() == pytest.approx([0, 1.1, 2.2, 3.3])
    assert points[[1, 3], 2].tolist() == [[0, 0], [0, 0]]  # people have no third keypoint
    assert scores[:, 2].tolist() == [0.5, 0, 0.5, 0]
    asked.clear()
    estimator.poses(windows[:1], boxes[:1], None)
    assert asked == [(["man"], "people")]


def test_the_pose_loss_of_subjects_of_several_kinds():
    """Only people are counted here, who have fewer keypoints than targets are kept for; what is
    not there to be seen may be no number, and the weights make a mean."""
    asked: list = []
    estimator = pose.Queries(looker(asked), (4, 4), KINDS)
    pictures, owners = torch.zeros(2, 3, 8, 8), torch.tensor([0, 1])
    boxes = torch.tensor([[0.25, 0.25, 0.75, 0.75]]).expand(2, -1)
    corner = 0.5 - 0.5 / pose.MARGIN  # of the box, in its window; brightness is added to it
    targets = torch.full((2, 3, 2), math.nan)
    targets[1, 0] = corner  # off by nothing
    targets[1, 1] = corner - 0.5
    targets.requires_grad_()
    weights = torch.tensor([[0.0, 0.0, 0.0], [3.0, 1.0, 0.0]])

    def loss(shift: float) -> list[float]:
        shown = pictures + 2 * shift - 1  # `shift` is the brightness in [0, 1]
        values = pose.loss(estimator, shown, owners, boxes, targets, weights, torch.tensor([1, 2]))
        assert not values.requires_grad
        return values.tolist()

    assert loss(0.0) == pytest.approx([0, (3 * 0 + 1 * 2 * 0.5**2) / 4], abs=1e-5)
    assert loss(0.2) == pytest.approx([0, (3 * 2 * 0.2**2 + 1 * 2 * 0.7**2) / 4], abs=1e-5)
    assert asked == [(["woman"], "people")] * 2
    weights[1, 1] = 0
    assert loss(0.0) == pytest.approx([0, 0], abs=1e-6)
    weights[1, 0] = 0
    assert loss(0.0) == [0, 0]


def test_windows_keep_proportions_and_boxes_without_area_have_one_pixel():
    """Windows are (height, width) = (20, 10), pictures 100 x 50 pixels."""
    boxes = torch.tensor([[0.2, 0.2, 0.6, 0.4], [0.5, 0.0, 0.55, 1.0], [0.5, 0.5, 0.5, 0.5]])
    windows = pose.windows(boxes, 100, 50, (20, 10))
    wide, tall, dot = [40, 15, 40, 80], [52.5, 25, 25, 50], [50, 25, 1, 2]
    expected = torch.tensor([wide, tall, dot], dtype=torch.float32)
    expected[:, 2:] *= 1.25
    assert torch.allclose(windows, expected)


def test_detected_pairs_have_the_verbs_of_those_whose_both_boxes_they_overlap():
    """An intersection of 2/8 of the picture in a union of 4/8, for the person, and its double."""
    half, shifted = [0.0, 0.0, 0.375, 1.0], [0.125, 0.0, 0.5, 1.0]
    dot, apart = [0.6, 0.6, 0.6, 0.6], [0.5, 0.0, 1.0, 1.0]
    pairs = torch.tensor([[half, apart], [half, half], [dot, apart]])
    annotated = torch.tensor([[shifted, apart], [half, apart]])
    verbs = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    both, first = [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]
    for least, labels in ((0.5, both), (0.51, first)):
        assert interaction.labels_of(pairs, annotated, verbs, least).tolist() == [
            labels, [0.0] * 3, [0.0] * 3,
        ]  # fmt: skip


def test_peaks_are_as_sure_as_they_are_high():
    maps = torch.zeros(1, 2, 3, 3)
    maps[0, 0, 1, 1], maps[0, 1, 0, 2] = 0.75, 0.5
    scores = pose.HeatMaps(lambda x: maps, (3, 3)).poses(maps, maps, None).scores
    assert scores.tolist() == [[0.75, 0.5]]

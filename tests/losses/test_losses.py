"""Every loss: its value against another computation, its gradient against finite differences,
growth with what it watches, and silence where there is nothing to watch."""

from __future__ import annotations

import importlib
import inspect
import math
import re
import typing
from functools import partial
from pathlib import Path

import numpy
import pytest
import scipy.ndimage
import scipy.special
import torch
from tiny import people as tiny
from torch.autograd import gradcheck

from socialcli import losses
from socialcli.backends.gaze.sharingan import look as see
from socialcli.diffusion import schedule
from socialcli.errors import UsageError
from socialcli.losses import (
    attention_region,
    boundary,
    contrast,
    cross_attention,
    denoise,
    dice,
    gaze,
    identity,
    interaction,
    localisation,
    mask_cross_entropy,
    masked,
    per_sample,
    pose,
    reconstruction,
    regularisation,
    response,
    steering,
    subject_aware,
)
from socialcli.networks import sharingan
from socialcli.vision import faces

NAN = float("nan")


def noise(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale


def pictures(count: int = 3, side: int = 24, seed: int = 0) -> torch.Tensor:
    return noise(count, 3, side, side, seed=seed, scale=0.4).clamp(-0.95, 0.95)


def boxes(*rows: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)


# --- stand-ins: small enough to know what they must answer --------------------------------------


def recogniser(crops: torch.Tensor) -> torch.Tensor:
    """An embedding of 8 numbers, not normalised."""
    pooled = torch.nn.functional.avg_pool2d(crops, crops.shape[-1] // 4).flatten(1)
    return pooled.tanh() @ noise(pooled.shape[1], 8, seed=5).to(pooled) + 1


def gazer(image, heads, squares):
    """Everybody looks at the brightest place; the vector points to the head's brighter side."""
    light = torch.nn.functional.interpolate(image.mean(1, keepdim=True), (64, 64))[:, 0]
    light = light - light.amin((-1, -2), keepdim=True)
    light = light / light.amax((-1, -2), keepdim=True)
    crop = heads.mean(2)
    half = crop.shape[-1] // 2
    across = crop[..., half:].mean((-1, -2)) - crop[..., :half].mean((-1, -2))
    down = crop[..., half:, :].mean((-1, -2)) - crop[..., :half, :].mean((-1, -2))
    vector = torch.nn.functional.normalize(torch.stack([across, down], -1) + 1e-3, dim=-1)
    return vector, light[:, None].expand(-1, heads.shape[1], -1, -1), None


def estimator(size: tuple[int, int] = (16, 12)) -> pose.HeatMaps:
    """Three keypoints: the reddest, the greenest and the bluest place of the window."""
    return pose.HeatMaps(lambda light: light, size)


class Recogniser:
    """Two classes: how red the human is, how blue the object is."""

    asked: list[int]

    def __init__(self):
        self.asked = []

    def logits(self, pixels, pairs, objects):
        self.asked.append(len(pixels))
        named = []
        for picture, boxes, names in zip(pixels, pairs, objects, strict=True):
            assert len(names) == len(boxes)
            repeated = picture[None].expand(len(boxes), -1, -1, -1)
            human = faces.crop_boxes_torch(repeated, boxes[:, 0], (4, 4)).mean((-1, -2))
            thing = faces.crop_boxes_torch(repeated, boxes[:, 1], (4, 4)).mean((-1, -2))
            named.append(torch.stack([human[:, 0] * 8 - 4, thing[:, 2] * 8 - 4], -1))
        return named


# Each of the losses that watch a picture, as (estimate, truth) -> (B,); three pictures, of which
# the last has nothing to watch.

FACES = boxes((0.1, 0.1, 0.6, 0.6), (0.5, 0.3, 0.9, 0.8), (0.2, 0.2, 0.8, 0.9))
OWNERS = torch.tensor([0, 0, 1])
LANDMARKS = torch.tensor(
    [[(0.25, 0.25), (0.45, 0.25), (0.35, 0.35), (0.28, 0.5), (0.42, 0.5)]] * 2 + [[(NAN, NAN)] * 5],
    dtype=torch.float64,
)


def mask(side: int = 24) -> torch.Tensor:
    inside = torch.zeros(3, 1, side, side, dtype=torch.float64)
    inside[0, :, 5:15, 3:17] = 1
    inside[1, :, 8:, 8:20] = 1  # reaches the lower edge
    return inside


def boundary_of(estimate, truth):
    return boundary.loss(estimate, truth, mask(truth.shape[-1]))


def identity_of(estimate, truth, normalised=True):
    targets = identity.embed(recogniser, truth, OWNERS, FACES, LANDMARKS, 16)
    return identity.loss(
        recogniser, estimate, OWNERS, targets, FACES, LANDMARKS, normalised, size=16
    )


def seer(network, size=224):
    """How Sharingan, or what answers like it, sees pictures."""
    return lambda shown, heads: see(network, shown, heads, size)


def gaze_of(estimate, truth, form="point"):
    heads = FACES
    seen = gaze.watch(seer(gazer, 32), truth, OWNERS, heads)
    points = gaze.gaze_geometry.soft_argmax_point(seen.heatmap)
    targets = gaze.Targets(points, seen.vector, seen.heatmap)
    return gaze.loss(seer(gazer, 32), estimate, OWNERS, heads, targets, form)


def pose_of(estimate, truth):
    pose_seen = pose.keypoints(estimator(), truth, OWNERS, FACES)
    weights = torch.tensor([[1.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return pose.loss(estimator(), estimate, OWNERS, FACES, pose_seen.points, weights)


PAIRS = [
    torch.stack([FACES[:2], FACES[1:]], 1),  # two pairs
    torch.stack([FACES[2:], FACES[:1]], 1),
    torch.zeros(0, 2, 4, dtype=torch.float64),
]
LABELS = [torch.tensor([[1.0, 0], [1, 1]]), torch.tensor([[0.0, 1]]), torch.zeros(0, 2)]
PRIORS = [torch.ones(2, 2), torch.tensor([[1.0, 0.7]]), torch.zeros(0, 2)]


def interaction_of(estimate, truth):
    names = [["ball", "dog"], ["ball"], []]
    return interaction.of_pictures(Recogniser(), estimate, PAIRS, names, LABELS, PRIORS)


WATCHING = {
    "boundary": boundary_of,
    "identity": identity_of,
    "identity raw": lambda e, t: identity_of(e, t, normalised=False),
    "gaze": gaze_of,
    "gaze heatmap": lambda e, t: gaze_of(e, t, "heatmap"),
    "pose": pose_of,
    "interaction": interaction_of,
}
MATCHING = [name for name in WATCHING if name != "interaction"]


@pytest.mark.parametrize("name", MATCHING)
def test_nothing_to_say_of_the_picture_itself(name):
    truth = pictures()
    assert WATCHING[name](truth.clone(), truth).abs().max() < 1e-12


@pytest.mark.parametrize("name", list(WATCHING))
def test_one_value_a_sample_and_silence_where_nothing_is(name):
    truth = pictures()
    estimate = pictures(seed=1).requires_grad_()
    values = WATCHING[name](estimate, truth)
    assert values.shape == (3,) and values[2] == 0 and (values[:2] > 0).all()
    values.sum().backward()
    assert estimate.grad[2].abs().max() == 0
    assert (estimate.grad[:2].flatten(1).abs().amax(1) > 0).all()
    assert torch.isfinite(estimate.grad).all()


@pytest.mark.parametrize("name", list(WATCHING))
def test_samples_do_not_mix(name):
    """The value of a picture is the same whatever stands beside it in the batch."""
    truth, estimate = pictures(), pictures(seed=1)
    values = WATCHING[name](estimate, truth)
    estimate[1] = 0.3
    estimate[2] = -0.3
    assert torch.allclose(WATCHING[name](estimate, truth)[0], values[0], atol=1e-12)


@pytest.mark.parametrize("name", list(WATCHING))
def test_gradient_agrees_with_finite_differences(name):
    """From the loss through detector, picture, decoder and Eq. 1 to what the UNet predicted."""
    clean, predicted = noise(3, 4, 6, 6), noise(3, 4, 6, 6, seed=2).requires_grad_()
    decoder = torch.nn.ConvTranspose2d(4, 3, 4, stride=4).double()
    with torch.no_grad():
        decoder.weight.copy_(noise(*decoder.weight.shape, seed=3, scale=0.3))
        truth = decoder(clean).tanh()
    alphas = torch.linspace(0.999, 0.005, 1000, dtype=torch.float64)
    steps = torch.tensor([30, 200, 390])
    latents = schedule.noisy(clean, noise(3, 4, 6, 6, seed=4), steps, alphas)

    def whole(model_pred):
        estimate = schedule.estimate(latents, model_pred, steps, alphas, "epsilon")
        return WATCHING[name](decoder(estimate).tanh(), truth)

    assert gradcheck(whole, (predicted,), fast_mode=True, rtol=1e-4)
    whole(predicted).sum().backward()
    reached = predicted.grad.flatten(1).abs().amax(1)
    assert (reached[:2] > 0).all() and reached[2] == 0


@pytest.mark.parametrize("name", MATCHING)
def test_grows_as_the_picture_gets_worse(name):
    truth = pictures(side=48)
    truth[:] = truth * 0.05  # noise, on it one bright spot a channel, which every detector sees
    for channel, (row, column) in enumerate(((12, 14), (20, 30), (30, 22))):
        truth[:, channel, row : row + 4, column : column + 4] += 0.9
    wrong = truth.roll((5, 7), (-2, -1))
    worse = [WATCHING[name](truth + part * (wrong - truth), truth)[0] for part in (0.2, 0.4, 0.6)]
    assert 0 < worse[0] < worse[1] < worse[2]


def test_interaction_grows_as_the_action_fades():
    truth = pictures() * 0.1
    values = []
    for fading in (0.0, 0.3, 0.6):  # the object loses its blue, by which it is recognised
        estimate = truth.clone()
        estimate[:, 2] += 0.6 - fading
        values.append(interaction_of(estimate, truth)[1])
    assert values[0] < values[1] < values[2]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_gives_float32(kind):
    low = pictures().to(kind)
    tokens = noise(2, 3, 4, 8).to(kind)
    assert denoise.loss(low, low + 1).dtype == torch.float32
    assert regularisation.loss(tokens, tokens[:, 0]).dtype == torch.float32
    assert boundary.loss(low, low + 1, mask()).dtype == torch.float32
    logits = torch.zeros(1, 2, dtype=kind)
    ones = torch.ones(1, 2)
    assert interaction.loss(logits, ones, ones, torch.tensor([0]), 1).dtype == torch.float32


# --- per sample -----------------------------------------------------------------------------------


def test_means_by_owner():
    values = torch.tensor([1.0, 3.0, 10.0])
    assert per_sample.mean(values, torch.tensor([2, 2, 0]), 4).tolist() == [10, 0, 2, 0]


def test_silence_survives_pictures_that_are_not_finite():
    broken = torch.full((2, 3, 4, 4), NAN, requires_grad=True)
    zero = per_sample.silent(broken)
    zero.sum().backward()
    assert zero.tolist() == [0, 0] and broken.grad.abs().max() == 0


def test_detectors_are_not_asked_when_all_is_silent():
    def forbidden(*anything):
        raise AssertionError("asked")

    seen = pictures(2)
    none = torch.zeros(0, dtype=torch.long)
    empty = boxes()
    nowhere = torch.full((1, 2), NAN, dtype=torch.float64)
    one = torch.tensor([0])
    assert identity.loss(forbidden, seen, none, empty, empty).tolist() == [0, 0]
    targets = gaze.Targets(nowhere, nowhere)
    assert gaze.loss(forbidden, seen, one, FACES[:1], targets).tolist() == [0, 0]
    unseen = torch.zeros(1, 3)
    quiet = pose.HeatMaps(forbidden, (16, 12))
    points = torch.full((1, 3, 2), NAN)
    assert pose.loss(quiet, seen, one, FACES[:1], points, unseen).tolist() == [0, 0]
    recogniser = Recogniser()
    nobody = [PAIRS[2]] * 2, [[], []], [LABELS[2]] * 2, [PRIORS[2]] * 2
    assert interaction.of_pictures(recogniser, seen, *nobody).tolist() == [0, 0]
    assert recogniser.asked == []


# --- denoise, regularisation ----------------------------------------------------------------------


def test_denoise_is_the_mean_squared_error_of_each_sample():
    model_pred, true = noise(4, 4, 5, 5), noise(4, 4, 5, 5, seed=1)
    expected = ((model_pred.numpy() - true.numpy()) ** 2).reshape(4, -1).mean(1)
    assert numpy.allclose(denoise.loss(model_pred, true), expected)
    assert denoise.loss(model_pred, model_pred).tolist() == [0] * 4
    assert gradcheck(lambda x: denoise.loss(x, true), (model_pred.requires_grad_(),))
    assert (
        denoise.loss(true + 2 * (model_pred - true), true) > denoise.loss(model_pred, true)
    ).all()


def cosines(a: numpy.ndarray, b: numpy.ndarray) -> numpy.ndarray:
    return (a * b).sum(-1) / numpy.linalg.norm(a, axis=-1) / numpy.linalg.norm(b, axis=-1)


def test_regularisation_in_both_readings():
    subject, query = noise(2, 6, 5, 8), noise(2, 5, 8, seed=1)
    s, q = subject.numpy(), query.numpy()
    paper = (1 - cosines(s.mean(1), q)).mean(-1)
    official = sum((1 - cosines(s[:, n], q)).mean(-1) for n in range(6))
    assert numpy.allclose(regularisation.loss(subject, query), paper)
    assert numpy.allclose(regularisation.loss(subject, query, "official"), official)


@pytest.mark.parametrize("reading", regularisation.READINGS)
def test_regularisation_watches_the_direction_and_only_moves_the_subject(reading):
    query = noise(2, 5, 8, seed=1).requires_grad_()
    along = query.detach()[:, None] * torch.tensor([1.0, 2, 3]).view(1, 3, 1, 1)
    assert regularisation.loss(along, query, reading).abs().max() < 1e-12
    away = noise(2, 3, 5, 8, seed=2)
    values = [regularisation.loss(along + n * away, query, reading) for n in (0.3, 1.0, 3.0)]
    assert (values[0] < values[1]).all() and (values[1] < values[2]).all()
    subject = (along + away).requires_grad_()
    assert gradcheck(lambda x: regularisation.loss(x, query.detach(), reading), (subject,))
    regularisation.loss(subject, query, reading).sum().backward()
    assert query.grad is None and subject.grad.abs().min() > 0


def test_regularisation_refuses_what_does_not_fit():
    with pytest.raises(UsageError, match="tokens"):
        regularisation.loss(noise(2, 6, 5, 8), noise(2, 4, 8))
    with pytest.raises(UsageError, match="no reading 'mean'"):
        regularisation.loss(noise(2, 6, 5, 8), noise(2, 5, 8), "mean")


# --- boundary -------------------------------------------------------------------------------------


def test_boundary_against_scipy():
    estimate, truth, inside = pictures(seed=1), pictures(), mask()
    for number in range(2):
        shape = inside[number, 0].numpy()
        edge = scipy.ndimage.grey_dilation(shape, (3, 3)) - scipy.ndimage.grey_erosion(
            shape, (3, 3)
        )
        difference = numpy.stack(
            [
                scipy.ndimage.laplace(t, mode="nearest") * edge
                - scipy.ndimage.laplace(e, mode="nearest") * edge
                for e, t in zip(estimate[number].numpy(), truth[number].numpy(), strict=True)
            ]
        )
        total = (difference**2).sum()
        value = boundary.loss(estimate, truth, inside)[number]
        assert math.isclose(value, total / (3 * edge.sum()), rel_tol=1e-9)
        whole = boundary.loss(estimate, truth, inside, over="picture")[number]
        assert math.isclose(whole, total / difference.size, rel_tol=1e-9)
    alone = boundary.loss(estimate[1:2], truth[1:2], inside[1:2], over="picture")
    assert math.isclose(alone, whole, rel_tol=1e-9)
    kernel = numpy.array(boundary.KERNELS["8"])
    other = scipy.ndimage.convolve(truth[0, 0].numpy(), kernel, mode="nearest")
    assert numpy.allclose(boundary.laplacian(truth, "8")[0, 0], other)


def test_boundary_map_by_hand():
    inside = torch.zeros(1, 1, 7, 7)
    inside[0, 0, 2:5, 2:5] = 1
    band = boundary.boundary_map(inside)[0, 0]
    expected = torch.zeros(7, 7)
    expected[1:6, 1:6] = 1
    expected[3, 3] = 0
    assert torch.equal(band, expected)
    assert boundary.boundary_map(torch.ones(1, 1, 7, 7)).sum() == 0  # the frame is no boundary
    for wrong in (1, 2, 4):
        with pytest.raises(UsageError, match="thickness"):
            boundary.boundary_map(inside, wrong)


def test_boundary_does_not_see_what_is_far_from_it():
    truth, inside = pictures(), mask()
    estimate = truth.clone()
    estimate[0, :, 9:11, 9:11] += 0.5  # in the middle of the subject
    estimate[0, :, 20:, 20:] -= 0.5  # in the background
    assert boundary.loss(estimate, truth, inside)[0] == 0
    full = torch.ones_like(inside)
    assert boundary.loss(pictures(seed=1), truth, full).tolist() == [0, 0, 0]
    with pytest.raises(UsageError, match="mean"):
        boundary.loss(estimate, truth, inside, over="mask")


# --- identity -------------------------------------------------------------------------------------


def test_identity_by_hand():
    truth, estimate = pictures(), pictures(seed=1)
    a, b = (
        identity.embed(recogniser, p, OWNERS, FACES, LANDMARKS, 16).numpy()
        for p in (truth, estimate)
    )
    raw = ((a - b) ** 2).mean(1)
    unit = 2 - 2 * cosines(a, b)
    expected = [[unit[:2].mean(), unit[2], 0], [raw[:2].mean(), raw[2], 0]]
    assert numpy.allclose(identity_of(estimate, truth), expected[0])
    assert numpy.allclose(identity_of(estimate, truth, normalised=False), expected[1])


def test_faces_are_cut_out_aligned_where_landmarks_are_known():
    light = pictures()
    cut = identity.crops(light, OWNERS, FACES, LANDMARKS, 32)
    for face in (0, 1):
        pixels = (light[0].permute(1, 2, 0).numpy() + 1) / 2
        expected = faces.crop(pixels, LANDMARKS[face].numpy(), 32) * 2 - 1
        assert numpy.allclose(cut[face].permute(1, 2, 0), expected, atol=1e-5)
    plain = identity.crops(light, OWNERS, FACES, None, 32)
    assert torch.equal(plain[2], cut[2]) and not torch.allclose(plain[0], cut[0], atol=0.1)
    some = LANDMARKS.clone()
    some[0, 3] = NAN  # a face without one of the five is cut out by its box
    assert torch.equal(identity.crops(light, OWNERS, FACES, some, 32)[0], plain[0])
    # The third box is 0.6 wide and 0.7 high: its middle is the picture's pixel at (0.5, 0.55).
    exact = identity.crops(light, OWNERS[2:], boxes((0.0, 0.0, 1.0, 1.0)), None, 24)
    assert torch.allclose(exact[0], light[1], atol=1e-12)


def test_outside_the_picture_a_face_crop_is_black():
    white = torch.ones(1, 3, 20, 20)
    cut = identity.crops(white, torch.tensor([0]), boxes((0.5, 0.0, 1.5, 1.0)).float(), None, 20)
    assert cut[0, :, :, :9].min() == 1 and cut[0, :, :, 11:].max() == -1


def test_identity_with_the_real_architecture(tmp_path):
    from socialcli.networks import iresnet

    network = iresnet.load(tiny.backbone(tmp_path / "backbone.pth")).double().requires_grad_(False)
    truth = pictures(2, 40)
    truth.requires_grad_()
    owners = OWNERS
    with torch.no_grad():
        targets = identity.embed(network, truth.flip(0), owners, FACES, LANDMARKS)
    arguments = owners, targets, FACES, LANDMARKS
    assert gradcheck(
        lambda x: identity.loss(network, x, *arguments), (truth,), fast_mode=True, rtol=1e-3
    )


# --- gaze -----------------------------------------------------------------------------------------


def spot(x: float, y: float, side: int = 64) -> torch.Tensor:
    """A dark picture with one bright spot at a normalised place."""
    image = torch.full((3, side, side), -0.9, dtype=torch.float64)
    row, column = round(y * side), round(x * side)
    image[:, row - 1 : row + 2, column - 1 : column + 2] = 0.9
    return image


def test_gaze_by_hand():
    """One person looks at a spot; the target is 0.25 to its right and the vector known."""
    picture = spot(0.25, 0.5)[None]
    one, heads = torch.tensor([0]), boxes((0.6, 0.6, 0.9, 0.9))
    seen = gaze.watch(seer(gazer, 64), picture, one, heads)
    vector = seen.vector[0]
    unknown = torch.tensor([[NAN, NAN]], dtype=torch.float64)
    point = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    value = gaze.loss(seer(gazer, 64), picture, one, heads, gaze.Targets(point, unknown))
    assert math.isclose(float(value), 0.25**2, rel_tol=0.03)
    for angle in (0, 60, 180):
        turn = math.radians(angle)
        rotation = torch.tensor(
            [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
        ).double()
        targets = gaze.Targets(unknown, (rotation @ vector)[None])
        value = gaze.loss(seer(gazer, 64), picture, one, heads, targets)
        assert math.isclose(float(value), 1 - math.cos(turn), abs_tol=1e-6)
    half = torch.tensor([[0.5, NAN]], dtype=torch.float64)  # of no use: neither here nor there
    value = gaze.loss(seer(gazer, 64), picture, one, heads, gaze.Targets(half, vector[None]))
    assert math.isclose(float(value), 0, abs_tol=1e-9)
    both = gaze.Targets(point, vector[None])
    assert math.isclose(
        float(gaze.loss(seer(gazer, 64), picture, one, heads, both)), 0.25**2, rel_tol=0.03
    )


def test_gaze_heat_map_term_by_hand():
    """0 for the target's own map, 1 for an empty one, 2 for a blob elsewhere."""
    points = torch.tensor([[0.25, 0.25], [0.75, 0.6]], dtype=torch.float64)
    maps = gaze.blobs(points, 64)
    one, heads = torch.tensor([0]), FACES[:1]
    unknown = torch.tensor([[NAN, NAN]], dtype=torch.float64)

    def value(shown):
        def network(image, crops, squares):
            return torch.ones(1, 1, 2).double(), shown[None, None], None

        targets = gaze.Targets(points[:1], unknown)
        return float(gaze.loss(seer(network, 32), pictures(1), one, heads, targets, "heatmap"))

    assert value(maps[0]) == 0
    assert math.isclose(value(maps[0] * 0), 1)
    assert math.isclose(value(maps[1]), 2, rel_tol=1e-9)
    with pytest.raises(UsageError, match="no gaze term"):
        gaze.loss(seer(gazer), pictures(1), one, heads, gaze.Targets(points[:1], unknown), "argmax")


def test_blobs_as_sharingan_is_trained_on_them():
    blob = gaze.blobs(torch.tensor([[0.5, 0.25]]), 64)[0]
    for row, column in ((16, 32), (20, 30), (25, 32), (26, 32), (16, 42)):
        near = abs(row - 16) <= 9 and abs(column - 32) <= 9
        expected = math.exp(-((row - 16) ** 2 + (column - 32) ** 2) / 18) if near else 0
        assert math.isclose(blob[row, column], expected, rel_tol=1e-5)
    assert blob.argmax() == 16 * 64 + 32
    edge = gaze.blobs(torch.tensor([[1.0, 0.999], [0.0, 1.0]]), 64)  # the last cell, not one beyond
    assert edge[0].argmax() == 64 * 64 - 1 and edge[1].argmax() == 63 * 64
    assert edge.flatten(1).amax(1).tolist() == [1, 1]


def test_gaze_inputs_are_what_annotation_uses():
    from PIL import Image

    from socialcli.backends.gaze.sharingan import inputs, prepare

    rng = numpy.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=numpy.uint8))
    image = small.resize((600, 400), Image.Resampling.BICUBIC)
    # A small head is enlarged, one larger than 224 pixels is shrunk; the first leaves the picture.
    heads = [(0.8, 0.7, 0.99, 0.98), (0.1, 0.1, 0.6, 0.9)]
    expected = prepare(image, heads)
    pixels = torch.from_numpy(numpy.asarray(image).astype(numpy.float32)).permute(2, 0, 1)
    feed = inputs(pixels[None] / 127.5 - 1, torch.tensor([heads]))
    for value, theirs, off in zip(feed, expected, (0.02, 0.1, 1e-6), strict=True):
        assert value.shape == (1, *theirs.shape)
        assert (value[0] - theirs).abs().mean() < off


def test_people_of_one_picture_are_seen_together_and_in_order():
    groups = []

    def network(image, heads, squares):
        groups.append(heads.shape[:2])
        return torch.nn.functional.normalize(squares[..., :2], dim=-1), torch.zeros(
            *heads.shape[:2], 64, 64
        ), None  # fmt: skip

    owners = torch.tensor([2, 0, 2, 1])
    heads = boxes(
        (0.1, 0.2, 0.3, 0.4), (0.2, 0.1, 0.4, 0.3), (0.5, 0.1, 0.7, 0.3), (0.6, 0.6, 0.8, 0.8)
    )
    seen = gaze.watch(seer(network, 32), pictures(3), owners, heads)
    assert sorted(groups) == [(1, 2), (2, 1)]
    grown = gaze.gaze_geometry.head_squares(heads, 24, 24)[:, :2]
    expected = torch.nn.functional.normalize(grown, dim=-1)
    assert torch.allclose(seen.vector, expected, atol=1e-6)


def test_gaze_with_the_real_architecture():
    torch.manual_seed(0)
    network = sharingan.Sharingan(32, 4, 1, 8, 4, 8, (4, 4, 4, 4)).double().eval()
    network.requires_grad_(False)
    light = torch.nn.functional.interpolate(pictures(2, 12), (48, 48)).requires_grad_()
    owners, heads = torch.tensor([0, 0, 1]), FACES
    targets = gaze.Targets(
        torch.tensor([[0.3, 0.3], [NAN, NAN], [0.8, 0.2]], dtype=torch.float64),
        torch.tensor([[0.6, 0.8], [1.0, 0.0], [NAN, NAN]], dtype=torch.float64),
    )
    for form in gaze.FORMS:
        assert gradcheck(
            lambda x, form=form: gaze.loss(seer(network), x, owners, heads, targets, form),
            (light,),
            fast_mode=True,
            rtol=1e-3,
            atol=1e-4,
        )
    # The vector alone must reach the picture too: its only path is the head crop.
    only = gaze.Targets(torch.full((3, 2), NAN).double(), targets.vector)
    gaze.loss(seer(network), light, owners, heads, only).sum().backward()
    assert light.grad[0].abs().max() > 0 and light.grad[1].abs().max() == 0


# --- pose -----------------------------------------------------------------------------------------


def test_windows_are_those_of_vitposes_own_processor(tmp_path):
    from PIL import Image
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(tiny.vitpose(tmp_path / "pose"))
    rng = numpy.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=numpy.uint8))
    image = small.resize((160, 120), Image.Resampling.BICUBIC)
    rows = [(0.2, 0.1, 0.6, 0.9), (0.5, 0.6, 0.98, 0.9)]
    pixels = [[x0 * 160, y0 * 120, (x1 - x0) * 160, (y1 - y0) * 120] for x0, y0, x1, y1 in rows]
    expected = processor(images=[image], boxes=[pixels], return_tensors="pt")["pixel_values"]
    light = torch.from_numpy(numpy.asarray(image).astype(numpy.float32)).permute(2, 0, 1) / 255
    cut = pose.cut(light[None], torch.tensor([0, 0]), boxes(*rows).float(), (256, 192))
    mean, std = (
        torch.tensor(v)[:, None, None] for v in (processor.image_mean, processor.image_std)
    )
    off = ((cut - mean) / std - expected).abs()
    grey = 1 / 255 / std.min()  # the processor cuts its result down to whole grey levels
    assert off.mean() < grey and off.flatten().sort().values[-off.numel() // 50] < 2 * grey


def test_soft_argmax_finds_peaks_however_high():
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing="ij")
    maps, expected = [], []
    for x, y, height in ((10, 20, 1.0), (40, 50, 0.3), (24.5, 31.5, 0.7)):
        maps.append(height * torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8))
        expected.append((x / 47, y / 63))
    peaks = pose.points_of(torch.stack(maps))
    assert numpy.allclose(peaks, expected, atol=2e-3)
    noise_only = pose.points_of(torch.zeros(1, 64, 48))
    assert torch.allclose(noise_only, torch.full((1, 2), 0.5))


def test_pose_by_hand():
    """A window that is the whole picture: the red spot moves by a known part of it."""
    side = 40
    truth = torch.full((1, 3, side, side), -1.0, dtype=torch.float64)
    moved = truth.clone()
    truth[0, 0, 20, 10] = truth[0, 1, 8, 30] = truth[0, 2, 5, 5] = 1
    moved[0, 0, 20, 16] = moved[0, 1, 8, 30] = moved[0, 2, 30, 5] = 1
    one = torch.tensor([0])
    inner = 0.5 - 0.5 / pose.MARGIN, 0.5 + 0.5 / pose.MARGIN
    box = boxes((inner[0], inner[0], inner[1], inner[1]))
    see = estimator((side, side))
    target = pose.keypoints(see, truth, one, box).points
    assert torch.allclose(target[0, 0], torch.tensor([10, 20]).double() / (side - 1), atol=0.02)
    weights = torch.tensor([[1.0, 1.0, 0.0]])  # the blue one, which moved far, is not asked about
    value = pose.loss(see, moved, one, box, target, weights)
    assert math.isclose(float(value), (6 / side) ** 2 / 2, rel_tol=0.05)


def test_annotated_keypoints_into_the_window():
    box = boxes((0.25, 0.25, 0.75, 0.75))
    corners = torch.tensor([[[0.25, 0.25], [0.75, 0.75], [0.5, 0.5]]], dtype=torch.float64)
    placed = pose.to_window(corners, box, 100, 100, (100, 100))
    low = 0.5 - 0.5 / pose.MARGIN
    expected = torch.tensor([[[low, low], [1 - low, 1 - low], [0.5, 0.5]]]).double()
    assert torch.allclose(placed, expected)


@pytest.mark.parametrize("experts", [1, 3])
def test_pose_with_the_real_architecture(tmp_path, experts):
    from transformers import AutoImageProcessor, VitPoseForPoseEstimation

    folder = tiny.vitpose(tmp_path / "pose", experts)
    network = VitPoseForPoseEstimation.from_pretrained(folder).double().eval()
    network.requires_grad_(False)
    processor = AutoImageProcessor.from_pretrained(folder)
    see = pose.vitpose(network, processor)
    assert see.size == (256, 192)
    window = torch.rand(1, 3, 256, 192, generator=torch.Generator().manual_seed(0)).double()
    light = numpy.moveaxis(window[0].numpy(), 0, -1)
    feed = (light - processor.image_mean) / processor.image_std
    coco = {"dataset_index": torch.tensor([0])} if experts > 1 else {}
    shown = network(torch.from_numpy(feed).movedim(-1, 0)[None], **coco).heatmaps
    assert torch.allclose(see.maps(window), shown, atol=1e-5)
    light = torch.nn.functional.interpolate(pictures(2, 6), (24, 24)).requires_grad_()
    target = torch.full((3, 17, 2), 0.3).double()
    arguments = OWNERS, FACES, target, torch.ones(3, 17)
    assert gradcheck(
        lambda x: pose.loss(see, x, *arguments), (light,), fast_mode=True, rtol=1e-3, atol=1e-5
    )


# --- interaction ----------------------------------------------------------------------------------


def reference(logits, targets, prior, alpha=0.5, gamma=0.2):
    """CMMP's own way to write it, in numpy, for the pairs of one picture."""
    keep = prior > 0
    logits, targets, prior = logits[keep], targets[keep], prior[keep]
    x = numpy.log(prior / (1 + numpy.exp(-logits) - prior) + 1e-8)
    chance = scipy.special.expit(x)
    entropy = -targets * numpy.log(chance) - (1 - targets) * numpy.log(1 - chance)
    weight = abs(1 - targets - alpha) * (abs(targets - chance) + 1e-6) ** gamma
    positives = targets.sum()
    return (weight * entropy).sum() / positives if positives else 0.0


def test_interaction_against_the_reference_formula():
    rng = numpy.random.default_rng(0)
    logits = rng.normal(0, 3, (5, 7))
    targets = (rng.random((5, 7)) < 0.3).astype(float)
    prior = rng.random((5, 7)) * (rng.random((5, 7)) < 0.6)
    prior[0, 0], targets[0, 0] = 1.0, 1.0
    targets[4] = 0  # the last picture has no annotated pair
    owners = numpy.array([0, 0, 1, 1, 2])
    arrays = (torch.from_numpy(v) for v in (logits, targets, prior, owners))
    values = interaction.loss(*arrays, 4)
    expected = [
        reference(logits[owners == n], targets[owners == n], prior[owners == n]) for n in range(3)
    ]
    assert numpy.allclose(values, [*expected, 0], atol=1e-6)
    assert expected[0] > 0 and expected[2] == 0


def test_interaction_is_silent_for_impossible_classes():
    """The paper's remark: no loss when the object cannot be had the verb done to it."""
    targets, one = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    logits = torch.tensor([[-3.0, 2.0]], dtype=torch.float64, requires_grad=True)
    value = interaction.loss(logits, targets, torch.tensor([[0.0, 0.5]]), one, 1)
    value.sum().backward()
    assert value.item() == 0 and logits.grad.abs().max() == 0
    value = interaction.loss(logits, targets, torch.tensor([[0.5, 0.0]]), one, 1)
    value.sum().backward()
    assert value.item() > 0 and logits.grad[0, 0] < 0 and logits.grad[0, 1] == 0


def test_interaction_is_nothing_when_surely_right_and_finite_when_surely_wrong():
    targets, one = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    sure = torch.tensor([[60.0, -60.0]], requires_grad=True)
    assert interaction.loss(sure, targets, torch.ones(1, 2), one, 1).item() < 1e-6
    for prior in (1.0, 0.999999, 1e-4):
        wrong = torch.tensor([[-300.0, 300.0]], requires_grad=True)
        value = interaction.loss(wrong, targets, torch.full((1, 2), prior), one, 1)
        value.sum().backward()
        assert torch.isfinite(value).all() and torch.isfinite(wrong.grad).all()


def test_interaction_gradient_of_the_logits():
    logits = noise(4, 5, scale=2.0).requires_grad_()
    targets = (noise(4, 5, seed=1) > 0.5).double()
    prior = noise(4, 5, seed=2).sigmoid() * (noise(4, 5, seed=3) > -0.5)
    owners = torch.tensor([0, 0, 1, 1])
    assert gradcheck(lambda x: interaction.loss(x, targets, prior, owners, 2), (logits,))


def test_only_pictures_with_pairs_are_shown_to_the_recogniser():
    asked = Recogniser()
    interaction.of_pictures(asked, pictures(), PAIRS, [["a", "b"], ["c"], []], LABELS, PRIORS)
    assert asked.asked == [2]


# ------------------------------------------------------------------------- the protocol of losses


def watched(name):
    estimate = pictures(seed=1).requires_grad_()
    return WATCHING[name](estimate, pictures()), estimate


def latents(function, *more):
    predicted = noise(3, 4, 6, 6).requires_grad_()
    return function(predicted, noise(3, 4, 6, 6, seed=1), *more), predicted


def tokens():
    subject = noise(3, 2, 5, 8).requires_grad_()
    return regularisation.loss(subject, noise(3, 5, 8, seed=1)), subject


def words():
    subject = noise(3, 8).requires_grad_()
    return contrast.loss(subject, noise(2, 8, seed=1)), subject


def relations():
    subject = noise(3, 8).requires_grad_()
    others = noise(3, 4, 8, seed=1), noise(3, 2, 8, seed=2), torch.ones(3, 2, dtype=torch.bool)
    return steering.loss(subject, *others), subject


def maps():
    relation = noise(3, 6, 6).abs().requires_grad_()
    poses = noise(3, 2, 6, 6, seed=1).abs()
    return cross_attention.loss(relation, poses, torch.ones(3, 12, 12)), relation


def segments():
    logits = noise(3, 6, 6).requires_grad_()
    return subject_aware.loss(logits, torch.ones(3, 6, 6), "segment"), logits


def held():
    target = noise(3, 2, 4, 6, 6).abs().requires_grad_()
    return attention_region.loss(target, noise(3, 2, 4, 6, 6, seed=1).abs()), target


def subjects():
    maps = noise(3, 2, 2, 6, 6).sigmoid().requires_grad_()
    masks = (noise(3, 2, 6, 6, seed=1) > 0).double()
    return localisation.loss([maps], masks, torch.ones(3, 2, dtype=torch.bool)), maps


def marks(function):
    logits = noise(3, 2, 6, 6).requires_grad_()
    return function(logits, (noise(3, 2, 6, 6, seed=1) > 0).double()), logits


def drawn(function):
    """Pictures that a decoder made, against what they should be."""
    decoded = pictures(seed=1).requires_grad_()
    return function(decoded, pictures()), decoded


def test_reconstruction_by_hand():
    decoded, truth = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    decoded[0, 0, 0, 0] = 1.0
    pixels = 1 / 16 + 1 / 16
    edges = 0.25 * (1 / 12 + 1 / 12)  # one difference across, one down, of twelve each
    coarse = 0.25 / 4 + 1 / 16
    assert reconstruction.loss(decoded, truth).item() == pytest.approx(pixels + edges + coarse)
    assert reconstruction.loss(truth, truth).item() == 0


def test_response_is_relative():
    truth = pictures()
    assert torch.allclose(response.loss(0.5 * truth, truth), torch.full((3,), 0.5).double())
    assert torch.allclose(response.loss(0 * truth, 7 * truth), torch.ones(3).double())
    assert response.loss(truth, 0 * truth).tolist() == [0, 0, 0]


def test_two_decoders_are_compared_at_two_places():
    """A linear teacher and a student that answers half: half the change, and no gradient to the
    teacher."""
    latents, change = noise(2, 3, 8, 8, seed=3), noise(2, 3, 8, 8, seed=4)
    weight = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    values = response.compare(lambda z: 0.5 * z + 0.1, lambda z: weight * z, latents, change)
    assert torch.allclose(values["response"], torch.full((2,), 0.5), atol=1e-5)
    both = (latents, latents + change)
    expected = sum(reconstruction.loss(0.5 * z + 0.1, z) for z in both) / 2
    assert torch.allclose(values["reconstruction"].double(), expected, atol=1e-5)
    assert not values["reconstruction"].requires_grad


# One call of each file's loss: its values, and the tensor that the model made.
CALLS = {
    **{name: partial(watched, name) for name in WATCHING},
    "denoise": lambda: latents(denoise.loss),
    "masked": lambda: latents(masked.loss, torch.ones(3, 6, 6)),
    "regularisation": tokens,
    "contrast": words,
    "steering": relations,
    "cross_attention": maps,
    "attention_region": held,
    "subject_aware": segments,
    "localisation": subjects,
    "mask_cross_entropy": lambda: marks(mask_cross_entropy.loss),
    "dice": lambda: marks(dice.loss),
    "reconstruction": lambda: drawn(reconstruction.loss),
    "response": lambda: drawn(response.loss),
}
FILES = sorted(p.stem for p in Path(denoise.__file__).parent.glob("[a-z]*.py"))
FILES.remove("per_sample")  # what several of them share


@pytest.mark.parametrize("name", FILES)
def test_every_file_keeps_to_the_protocol(name):
    function: losses.Loss = importlib.import_module(f"socialcli.losses.{name}").loss
    hints = typing.get_type_hints(function)
    text = inspect.getdoc(function) or ""
    assert hints.pop("return") is torch.Tensor and "Returns:" in text
    for argument in inspect.signature(function).parameters:
        assert argument in hints and re.search(rf"\b{argument}\b", text), argument
    values, watched_input = CALLS[name]()
    assert values.shape == ((3,) if name != "contrast" else ())
    assert values.dtype in (torch.float32, torch.float64) and (values >= 0).all()
    values.sum().backward()
    assert torch.isfinite(watched_input.grad).all() and watched_input.grad.any()

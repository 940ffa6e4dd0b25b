"""L_sub, L_bg and InfoNCE of the background attractor: against loops in float64, against finite
differences, and blind to what lies outside a mask."""

from __future__ import annotations

import math

import numpy
import pytest
import torch
from torch.autograd import gradcheck

from socialcli.errors import UsageError
from socialcli.losses import contrast, denoise, masked

NAN = float("nan")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def blob(side: int = 8) -> torch.Tensor:
    """(2, side, side): weights between 0 and 1, a part of each 0."""
    inside = noise(2, side, side, seed=7).sigmoid()
    inside[0, :3] = 0
    inside[1, :, 5:] = 0
    return inside


# --- inside a mask --------------------------------------------------------------------------------


def test_masked_loss_is_equation_4():
    """|| M o eps - M o eps_theta ||^2, latent by latent."""
    model_pred, truth, mask = noise(2, 3, 8, 8, seed=1), noise(2, 3, 8, 8, seed=2), blob()
    for n in range(2):
        total = weight = 0.0
        for c in range(3):
            for y in range(8):
                for x in range(8):
                    m = float(mask[n, y, x])
                    total += (m * float(truth[n, c, y, x]) - m * float(model_pred[n, c, y, x])) ** 2
                    weight += m * m
        over_picture = masked.loss(model_pred, truth, mask, "picture")[n]
        assert float(over_picture) == pytest.approx(total / (3 * 64), rel=1e-12)
        assert float(masked.loss(model_pred, truth, mask)[n]) == pytest.approx(
            total / weight, rel=1e-12
        )


def test_a_full_mask_is_the_plain_loss():
    model_pred, truth = noise(2, 4, 5, 7, seed=1), noise(2, 4, 5, 7, seed=2)
    plain = denoise.loss(model_pred, truth)
    for over in masked.MEANS:
        assert torch.allclose(masked.loss(model_pred, truth, torch.ones(2, 5, 7), over), plain)


@pytest.mark.parametrize("over", masked.MEANS)
def test_what_lies_outside_is_not_seen(over):
    """Neither in the value nor in the gradient, whatever stands there."""
    model_pred, truth, mask = noise(2, 3, 8, 8, seed=1), noise(2, 3, 8, 8, seed=2), blob()
    value = masked.loss(model_pred, truth, mask, over)
    outside = (mask == 0)[:, None].expand_as(model_pred)
    for garbage in (1e6, NAN, math.inf):
        broken = model_pred.clone()
        broken[outside] = garbage
        broken.requires_grad_()
        again = masked.loss(broken, truth, mask, over)
        assert torch.equal(again, value)
        (gradient,) = torch.autograd.grad(again.sum(), broken)
        assert (gradient[outside] == 0).all() and gradient[~outside].abs().min() > 0


def test_masked_gradients_agree_with_finite_differences():
    truth, mask = noise(2, 2, 4, 4, seed=2), blob(4)
    for over in masked.MEANS:
        model_pred = noise(2, 2, 4, 4, seed=1).requires_grad_()
        assert gradcheck(lambda x, o=over: masked.loss(x, truth, mask, o), model_pred)


def test_a_mask_of_nothing_is_silent_and_half_precision_is_widened():
    model_pred, truth = noise(1, 2, 4, 4, seed=1), noise(1, 2, 4, 4, seed=2)
    model_pred.requires_grad_()
    value = masked.loss(model_pred, truth, torch.zeros(1, 4, 4))
    (gradient,) = torch.autograd.grad(value.sum(), model_pred)
    assert value.tolist() == [0] and not gradient.any()
    assert masked.loss(model_pred.half(), truth.half(), torch.ones(1, 4, 4)).dtype == torch.float32


def test_shapes_and_names_that_do_not_fit_are_told():
    model_pred = noise(2, 3, 8, 8)
    with pytest.raises(UsageError, match=r"mask \(B, h, w\), not \(2, 3, 8, 8\)"):
        masked.loss(model_pred, model_pred, torch.ones(2, 4, 4))
    with pytest.raises(UsageError, match="no mean over 'all'"):
        masked.loss(model_pred, model_pred, blob(), "all")
    with pytest.raises(UsageError, match="no way 'cubic' to resize a mask"):
        masked.to_latents(torch.ones(1, 8, 8), (2, 2), "cubic")


# --- masks of latents -----------------------------------------------------------------------------


def test_masks_are_resized_as_asked():
    """Against a loop over the pixels of each latent."""
    picture = (noise(1, 24, 16, seed=3) > 0.2)[0].numpy()
    picture[:8, :8] = True
    picture[16:, 8:] = False
    resized = {
        how: [m[0].numpy() for m in masked.to_latents(torch.from_numpy(picture)[None], (3, 2), how)]
        for how in masked.RESIZES
    }
    for y in range(3):
        for x in range(2):
            block = picture[8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
            expected = {
                "area": (block.mean(), 1 - block.mean()),
                "nearest": (block[4, 4], not block[4, 4]),
                "any": (block.any(), (~block).any()),
                "whole": (block.all(), (~block).all()),
            }
            for how, (inside, outside) in expected.items():
                assert resized[how][0][y, x] == pytest.approx(float(inside), abs=1e-6)
                assert resized[how][1][y, x] == pytest.approx(float(outside), abs=1e-6)
    assert resized["any"][0].sum() > resized["area"][0].sum() > resized["whole"][0].sum() == 1


# --- InfoNCE --------------------------------------------------------------------------------------


def by_hand(v, a, temperature, normalised) -> float:
    """Eq. 5 as it is printed, in float64: one logarithm over the two sums."""
    v, a = numpy.asarray(v, numpy.float64), numpy.asarray(a, numpy.float64)
    if normalised:
        v = v / numpy.sqrt((v**2).sum(1, keepdims=True))
        a = a / numpy.sqrt((a**2).sum(1, keepdims=True))
    positive = negative = 0.0
    for i in range(len(v)):
        for j in range(len(v)):
            if i != j:
                positive += math.exp(float(v[i] @ v[j]) / temperature)
        for k in range(len(a)):
            negative += math.exp(float(v[i] @ a[k]) / temperature)
    return -math.log(positive / (positive + negative))


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize(("n", "m"), [(2, 1), (5, 5), (3, 7)])
def test_infonce_is_equation_5(n, m, normalised):
    v, a = noise(n, 6, seed=1) + 0.3, noise(m, 6, seed=2)
    for temperature in (0.07, 0.5, 3.0) if normalised else (2.0, 9.0):
        expected = by_hand(v, a, temperature, normalised)
        assert float(contrast.loss(v, a, temperature, normalised)) == pytest.approx(
            expected, rel=1e-9
        )


def test_infonce_is_one_logarithm_and_no_mean_of_them():
    """What goes by the same name elsewhere is the mean over anchors of each one's logarithm."""
    v, a = noise(3, 6, seed=1), noise(4, 6, seed=2)
    e, o = (v @ v.T / 2).exp(), (v @ a.T / 2).exp().sum(1)
    positive = e.sum(1) - e.diagonal()
    usual = float(-(positive / (positive + o)).log().mean())
    assert abs(float(contrast.loss(v, a, 2.0, False)) - usual) > 0.05


def test_infonce_falls_as_words_meet_and_as_backgrounds_leave():
    v, a = noise(4, 6, seed=1), noise(4, 6, seed=2)
    value = contrast.loss(v, a, 0.5)
    assert contrast.loss(0.5 * v + 0.5 * v.mean(0), a, 0.5) < value
    assert contrast.loss(v, a - 2 * v.mean(0), 0.5) < value
    assert contrast.loss(v, v, 0.5) > value
    assert contrast.loss(3 * v, 0.1 * a, 0.5) == pytest.approx(float(value))  # lengths do not count
    assert contrast.loss(3 * v, 0.1 * a, 0.5, False) != pytest.approx(float(value))


def test_infonce_gradients_agree_with_finite_differences():
    for normalised in (True, False):
        v, a = noise(3, 4, seed=1).requires_grad_(), noise(2, 4, seed=2).requires_grad_()
        assert gradcheck(lambda v, a, n=normalised: contrast.loss(v, a, 0.7, n), (v, a))


def test_infonce_of_long_vectors_stays_a_number():
    """CLIP's hidden states are some thirty long: exp(900 / 0.07) is none."""
    v, a = 30 * noise(3, 8, seed=1), 30 * noise(3, 8, seed=2)
    v.requires_grad_()
    value = contrast.loss(v, a, 0.07, normalised=False)
    value.backward()
    assert value.isfinite() and v.grad.isfinite().all()
    assert contrast.loss(v.half(), a.half()).dtype == torch.float32


def test_infonce_needs_two_texts_and_one_background():
    with pytest.raises(UsageError, match="two texts at least"):
        contrast.loss(noise(1, 4), noise(2, 4))
    with pytest.raises(UsageError, match="two texts at least"):
        contrast.loss(noise(3, 4), noise(2, 5))


def test_schedules_rise_from_nothing_to_one():
    x = numpy.linspace(0, 1, 101)
    for name in contrast.SCHEDULES:
        y = numpy.array([contrast.schedule(name, float(v)) for v in x])
        if name in ("zero", "one"):
            assert (y == (name == "one")).all()
        else:
            assert y[0] == pytest.approx(0, abs=1e-12) and y[-1] == pytest.approx(1)
            assert (numpy.diff(y) > 0).all()
    early = {name: contrast.schedule(name, 0.1) for name in contrast.SCHEDULES}
    assert early["sigmoid"] < early["cosine"] < early["linear"] < early["exponential"] < 1
    assert contrast.schedule("cosine", 0.5) == pytest.approx(0.5)
    assert contrast.schedule("sigmoid", 0.5) == pytest.approx(0.5)
    assert contrast.schedule("linear", 7.0) == 1
    assert contrast.schedule("linear", -7.0) == 0
    with pytest.raises(UsageError, match="no schedule 'step'"):
        contrast.schedule("step", 0.5)

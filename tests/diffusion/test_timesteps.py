"""Timesteps as they are drawn, gates, weights, and Eq. 1 for every kind of prediction."""

from __future__ import annotations

import json

import numpy
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers import UniPCMultistepScheduler as UniPC

from socialcli.diffusion import schedule, timesteps
from socialcli.diffusion.timesteps import Gate
from socialcli.errors import UsageError

STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


# --- drawing --------------------------------------------------------------------------------------


def test_the_first_half_is_twice_as_likely():
    """On a fine grid of uniform numbers the shares are exact."""
    grid = (torch.arange(300_000, dtype=torch.float64) + 0.5) / 300_000
    counts = torch.bincount(timesteps.piecewise(grid), minlength=1000)
    assert len(counts) == 1000
    assert counts[:500].min() >= 399 and counts[:500].max() <= 401
    assert counts[500:].min() >= 199 and counts[500:].max() <= 201
    assert counts[:500].sum() == 200_000


@pytest.mark.parametrize(
    ("total", "knee", "ratio"), [(1000, 500, 1.0), (1000, 200, 3.0), (50, 0, 2.0), (50, 50, 2.0)]
)
def test_other_shapes_against_numpy(total, knee, ratio):
    grid = (numpy.arange(200_000) + 0.5) / 200_000
    share = numpy.where(numpy.arange(total) < knee, ratio, 1.0)
    expected = numpy.searchsorted(numpy.cumsum(share / share.sum()), grid, side="right")
    drawn = timesteps.piecewise(torch.from_numpy(grid), total, knee, ratio).numpy()
    assert (drawn == expected.clip(0, total - 1)).mean() > 0.999
    assert (numpy.diff(drawn) >= 0).all() and drawn.min() == 0 and drawn.max() == total - 1


def test_every_uniform_number_is_a_timestep():
    edges = torch.tensor([0.0, 1 - 2**-24, 1 - 2**-53], dtype=torch.float64)
    assert timesteps.piecewise(edges).tolist() == [0, 999, 999]
    for knee, ratio in ((-1, 2.0), (1001, 2.0), (500, 0.0)):
        with pytest.raises(UsageError, match="knee"):
            timesteps.piecewise(edges, 1000, knee, ratio)


# --- gates ----------------------------------------------------------------------------------------


def test_a_gate_is_open_at_both_its_ends():
    steps = torch.tensor([0, 199, 200, 201, 999])
    gate = Gate(0, 200, 0.01)
    assert gate.open(steps).tolist() == [True, True, True, False, False]
    assert gate.weights(steps).tolist() == pytest.approx([0.01, 0.01, 0.01, 0, 0])
    late = Gate(200, 500, 1.0)
    assert late.open(steps).tolist() == [False, False, True, True, False]


def test_a_weight_of_zero_keeps_the_gate_closed():
    assert not Gate(0, 999, 0.0).open(torch.tensor([0, 500])).any()


def test_inverse_weights_by_hand():
    """A curve that doubles from one half to the other: weights 2 to 1 with a mean of 1."""
    steps = torch.tensor([0, 499, 500, 999])
    gate = Gate(0, 999, 0.3, (1.0, 2.0))
    assert gate.weights(steps).tolist() == pytest.approx([0.4, 0.4, 0.2, 0.2])
    closed = Gate(0, 499, 0.3, (1.0, 2.0))
    assert closed.weights(steps).tolist() == pytest.approx([0.3, 0.3, 0, 0])
    ends = Gate(0, 250, 1.0, (1.0, 2.0))  # in the middle of the first part, which it spans
    assert ends.weights(steps).tolist() == pytest.approx([1, 0, 0, 0])
    silent = Gate(0, 999, 1.0, (1.0, 0.0)).weights(steps)  # bounded, though 1 / 0 is not
    assert silent.tolist() == pytest.approx([2 / 101, 2 / 101, 200 / 101, 200 / 101])
    assert torch.isfinite(Gate(0, 999, 1.0, (0.0, 0.0)).weights(steps)).all()


def test_gates_as_they_are_written():
    assert timesteps.parse("gaze", "0-200") == (0, 200)
    everywhere, nowhere = timesteps.parse("gaze", "all"), timesteps.parse("gaze", "none")
    steps = torch.arange(1000)
    assert Gate(*everywhere, 1.0).open(steps).all() and not Gate(*nowhere, 1.0).open(steps).any()
    for wrong in ("200", "200-0", "a-b", "-5-10", ""):
        with pytest.raises(UsageError, match="--gate-gaze"):
            timesteps.parse("gaze", wrong)


def test_curves_from_a_file(tmp_path):
    file = tmp_path / "curves.json"
    file.write_text(json.dumps({"gaze": [1, 2], "pose": [0.5], "comment": "x"}))
    assert timesteps.read_curves(str(file)) == {"gaze": (1.0, 2.0), "pose": (0.5,)}
    for wrong in ('{"gaze": []}', '{"gaze": [-1]}', "[]", "no json", '{"x": [1]}', '{"gaze": 3}',
                  '{"gaze": [1], "pose": [-1]}'):  # fmt: skip
        file.write_text(wrong)
        with pytest.raises(UsageError, match=r"--curves .*curves\.json"):
            timesteps.read_curves(str(file))
    with pytest.raises(UsageError, match="--curves"):
        timesteps.read_curves(str(tmp_path / "none.json"))


# --- Eq. 1 ----------------------------------------------------------------------------------------


def draw(seed: int, kind=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(5, 4, 3, 3, generator=generator, dtype=torch.float64).to(kind)


STEPS = torch.tensor([0, 10, 250, 700, 999])


@pytest.mark.parametrize("kind", schedule.TYPES)
@pytest.mark.parametrize("scheduler", [DDPMScheduler, DDIMScheduler, UniPC])
def test_a_perfect_prediction_gives_the_latents_back(kind, scheduler):
    alphas, read = schedule.schedule(scheduler(prediction_type=kind, **STABLE))
    assert read == kind and alphas.shape == (1000,)
    clean, noise = draw(0), draw(1)
    seen = schedule.noisy(clean, noise, STEPS, alphas)
    model_pred = schedule.target(clean, noise, STEPS, alphas, kind)
    estimate = schedule.estimate(seen, model_pred, STEPS, alphas, kind)
    assert (estimate - clean).abs().max() < 1e-9


@pytest.mark.parametrize("kind", schedule.TYPES)
def test_against_diffusers(kind):
    scheduler = DDPMScheduler(prediction_type=kind, clip_sample=False, **STABLE)
    alphas, _ = schedule.schedule(scheduler)
    clean, noise, model_pred = (draw(n, torch.float32) for n in range(3))
    seen = scheduler.add_noise(clean, noise, STEPS)
    assert torch.allclose(schedule.noisy(clean, noise, STEPS, alphas), seen, atol=1e-5)
    if kind == "v_prediction":
        expected = scheduler.get_velocity(clean, noise, STEPS)
        ours = schedule.target(clean, noise, STEPS, alphas, kind)
        assert torch.allclose(ours, expected, atol=1e-5)
    ours = schedule.estimate(seen, model_pred, STEPS, alphas, kind)
    for at, step in enumerate(STEPS):
        theirs = scheduler.step(model_pred[at], int(step), seen[at]).pred_original_sample
        assert torch.allclose(ours[at], theirs, rtol=1e-4, atol=1e-4)


def test_estimates_in_half_precision_are_computed_in_float32():
    alphas, _ = schedule.schedule(DDPMScheduler(**STABLE))
    clean, noise = draw(0, torch.float32), draw(1, torch.float32)
    seen = schedule.noisy(clean, noise, STEPS, alphas).bfloat16()
    estimate = schedule.estimate(seen, noise.bfloat16(), STEPS, alphas, "epsilon")
    assert estimate.dtype == torch.float32 and (estimate[:3] - clean[:3]).abs().max() < 0.1


def test_no_signal_left_is_still_finite():
    alphas, _ = schedule.schedule(DDPMScheduler(rescale_betas_zero_snr=True, **STABLE))
    clean, noise = draw(0), draw(1)
    steps = torch.full((5,), 999)
    seen = schedule.noisy(clean, noise, steps, alphas)
    assert torch.isfinite(schedule.estimate(seen, noise, steps, alphas, "epsilon")).all()
    velocity = schedule.target(clean, noise, steps, alphas, "v_prediction")
    estimate = schedule.estimate(seen, velocity, steps, alphas, "v_prediction")
    assert torch.allclose(estimate, clean, atol=1e-4)


def test_schedules_that_cannot_be_used_are_refused():
    with pytest.raises(UsageError, match="alphas_cumprod"):
        schedule.schedule(FlowMatchEulerDiscreteScheduler())
    scheduler = DDPMScheduler()
    scheduler.register_to_config(prediction_type="flow")
    with pytest.raises(UsageError, match="'flow'"):
        schedule.schedule(scheduler)

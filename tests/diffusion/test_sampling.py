"""The loop from noise to latents, and schedulers by name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from socialcli.diffusion import sampling
from socialcli.diffusion.conditioning import Conditioning
from socialcli.errors import UsageError

SHAPE = (2, 3, 5)


def noise(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


class Ancestral:
    """A scheduler that scales the first noise, halves what it has and adds noise of the keys."""

    init_noise_sigma = 3.0

    def set_timesteps(self, steps, device=None):
        if steps > 5:
            raise ValueError("at most\n  5 steps")
        self.timesteps = torch.arange(steps, 0, -1, device=device)

    def scale_model_input(self, x, t):
        return x

    def step(self, model_pred, t, latents, generator=None, return_dict=True):
        assert not return_dict
        added = torch.stack([torch.randn(SHAPE, generator=g) for g in generator])
        return (latents / 2 + model_pred + added,)


class Plain(Ancestral):
    """One that adds no noise, and takes no generators."""

    def step(self, model_pred, t, latents, return_dict=True):
        return (latents / 2 + model_pred,)


class Rows(torch.nn.Module):
    """A UNet that gives its row's number ten times over, and keeps the rows it saw."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x, t, **arguments):
        self.seen.append((len(x), arguments))
        rows = torch.arange(len(x)).reshape(-1, 1, 1, 1)
        return SimpleNamespace(sample=torch.zeros_like(x) + 10.0 * rows)


def draw(scheduler, given, seeds=(1, 2), steps=2, guidance=1.0, unet=None):
    generators = [sampling.generator(seed) for seed in seeds]
    return sampling.denoise(unet or Rows(), scheduler, generators, SHAPE, given, steps, guidance)


def test_each_picture_has_the_noise_of_its_own_seed():
    torch.manual_seed(3)
    both = sampling.noise([sampling.generator(s) for s in (5, 9)], SHAPE)
    assert both.dtype == torch.float32 and both.device.type == "cpu"
    assert torch.equal(both, torch.stack([noise(5), noise(9)]))


def test_the_first_noise_is_as_wide_as_the_scheduler_wants_it():
    drawn = draw(Plain(), Conditioning({}), steps=1)
    expected = torch.stack([noise(1), noise(2)]) * 3 / 2
    expected[1] += 10
    assert torch.allclose(drawn, expected)


def test_a_condition_is_asked_for_both_halves_under_guidance_only():
    asked = []

    def at(timesteps):
        asked.append(timesteps.tolist())
        return {}

    draw(Plain(), Conditioning(at), steps=2, guidance=1.0)
    draw(Plain(), Conditioning(at), steps=1, guidance=1.5)
    assert asked == [[2, 2], [1, 1], [1, 1, 1, 1]]


def test_noise_on_the_way_goes_on_from_each_pictures_generator():
    drawn = draw(Ancestral(), Conditioning({}), steps=2)
    for number, seed in enumerate((1, 2)):
        own = torch.Generator().manual_seed(seed)
        first, second, third = (torch.randn(SHAPE, generator=own) for _ in range(3))
        expected = ((first * 3) / 2 + 10 * number + second) / 2 + 10 * number + third
        assert torch.allclose(drawn[number], expected)


def test_rows_of_one_picture_begin_alike_and_draw_the_same_noise():
    """Of 1, 3 and 2 rows the first of each is the picture, whatever stands beside it."""
    seen = []

    def guide(step):
        seen.append(step.latents.clone())
        return torch.zeros_like(step.latents) + torch.arange(6.0).reshape(-1, 1, 1, 1)

    given = Conditioning({}, guide=guide, spread=(1, 3, 2))
    drawn = draw(Ancestral(), given, seeds=(1, 2, 3), steps=2)
    owners = [0, 1, 1, 1, 2, 2]
    for row, owner in enumerate(owners):
        assert torch.equal(seen[0][row], noise(owner + 1) * 3)
    later = seen[1] - torch.arange(6.0).reshape(-1, 1, 1, 1)
    for row, owner in enumerate(owners):
        assert torch.allclose(later[row], later[owners.index(owner)], atol=1e-5)
    assert not torch.allclose(later[0], later[1]) and len(drawn) == 3
    for number, row in enumerate((0, 1, 4)):
        own = torch.Generator().manual_seed(number + 1)
        first, second, third = (torch.randn(SHAPE, generator=own) for _ in range(3))
        expected = ((first * 3) / 2 + row + second) / 2 + row + third
        assert torch.allclose(drawn[number], expected, atol=1e-5)


def test_what_follows_a_step_is_what_goes_on():
    numbers = []

    def after(step, latents):
        numbers.append((step.number, step.count, int(step.timestep)))
        return torch.zeros_like(latents) + step.number + 1

    drawn = draw(Plain(), Conditioning({}, after=after), steps=3)
    assert numbers == [(0, 3, 3), (1, 3, 2), (2, 3, 1)] and (drawn == 3).all()


def test_steps_that_a_scheduler_cannot_take_are_refused_in_one_line():
    assert sampling.timesteps(Plain(), 3) == [3.0, 2.0, 1.0]
    with pytest.raises(UsageError, match=r"^Plain cannot take 6 steps: at most 5 steps$"):
        sampling.timesteps(Plain(), 6)


NAMES = {
    "DDIMScheduler", "DDIMParallelScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler",
    "EulerAncestralDiscreteScheduler", "UniPCMultistepScheduler", "PNDMScheduler",
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("DDIMScheduler", "DDIMScheduler"),
        ("ddim", "DDIMScheduler"),  # though another begins so
        ("ddimscheduler", "DDIMScheduler"),
        ("euler", "EulerDiscreteScheduler"),
        ("UniPC", "UniPCMultistepScheduler"),
        ("EULERA", "EulerAncestralDiscreteScheduler"),
        ("ddi", None),  # two begin so
        ("multistep", None),
        ("lcm", None),
    ],
)
def test_a_scheduler_is_named_in_full_or_by_a_beginning_that_fits_one(given, full):
    assert sampling._named(given, NAMES) == full


def test_names_near_a_wrong_one_are_told():
    near = sampling._near("EulerScheduler", NAMES)
    assert near[0] == "EulerDiscreteScheduler" and set(near) < NAMES and len(near) <= 6
    assert sampling._near("multistep", NAMES)[0] == "UniPCMultistepScheduler"
    assert "UniPCMultistepScheduler" in sampling._near("ste", NAMES)
    assert sampling._near("zzzz", NAMES) == sorted(NAMES)
    assert sampling._near("scheduler", NAMES)  # of which nothing is left to compare


def test_another_scheduler_has_the_models_noise_schedule():
    import diffusers

    like = diffusers.DDPMScheduler(beta_start=0.002, beta_end=0.03, prediction_type="v_prediction")
    euler = sampling.scheduler("euler", like)
    assert type(euler) is diffusers.EulerDiscreteScheduler
    assert (euler.config.beta_start, euler.config.beta_end) == (0.002, 0.03)
    assert euler.config.prediction_type == "v_prediction"
    own = sampling.scheduler("DDPMScheduler", like)
    assert type(own) is type(like) and own is not like
    for name, line in (
        ("FlowMatchEulerDiscreteScheduler", "does not fit this model"),
        ("DDPMPipeline", "is not a scheduler of diffusers"),
    ):
        with pytest.raises(UsageError, match=rf"--scheduler {name} {line}\. There are: "):
            sampling.scheduler(name, like)

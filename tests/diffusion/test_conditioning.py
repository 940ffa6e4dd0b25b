"""What a guide is given: the clean latents that a prediction means, for every kind of scheduler."""

from __future__ import annotations

from types import SimpleNamespace

import numpy
import pytest
import torch

from socialcli.diffusion import conditioning, sampling

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


class Knows(torch.nn.Module):
    """A UNet that knows the clean latents and says what the schedule asks for, in float64."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self, clean, kind):
        super().__init__()
        self.clean, self.kind = clean.double(), kind
        betas = numpy.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        self.alphas = numpy.cumprod(1 - betas)

    def forward(self, x, t, scale):
        a = float(self.alphas[round(float(t))])
        noise = (x.double() - a**0.5 * self.clean) / (1 - a) ** 0.5
        velocity = a**0.5 * noise - (1 - a) ** 0.5 * self.clean
        model_pred = {"epsilon": noise, "v_prediction": velocity, "sample": self.clean}[self.kind]
        return SimpleNamespace(sample=(model_pred * scale).to(x.dtype))


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(
    "name", ["DDIMScheduler", "UniPCMultistepScheduler", "EulerDiscreteScheduler"]
)
def test_a_guide_sees_the_clean_latents(name, kind):
    import diffusers

    clean = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    more = {"clip_sample": False} if name == "DDIMScheduler" else {}
    scheduler = getattr(diffusers, name)(**SCHEDULE, **more, prediction_type=kind)
    seen = []

    def guide(step):
        model_pred = step.predict()
        seen.append(step.estimate(model_pred))
        return model_pred

    unet = Knows(clean, kind)
    given = conditioning.Conditioning({"scale": 1.0}, guide=guide)
    last = sampling.denoise(
        unet, scheduler, [sampling.generator(s) for s in (1, 2)], (4, 8, 8), given, 12, 1
    )
    assert len(seen) == 12
    # Where hardly any signal is left, epsilon in float32 tells the latents to a hundredth only.
    for at, estimate in enumerate(seen):
        assert torch.allclose(estimate, clean, atol=2e-2 if at < 2 else 2e-3), at
    assert torch.allclose(last, clean, atol=2e-2)


def test_gradients_reach_the_latents_through_the_estimate():
    from diffusers import DDIMScheduler

    clean = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    pulls = []

    def guide(step):
        latents = step.latents.detach().requires_grad_(True)
        distance = (step.estimate(step.predict(latents), latents) - 1).square().mean()
        (gradient,) = torch.autograd.grad(distance, latents)
        pulls.append(float(gradient.abs().max()))
        return step.predict()

    class Half(Knows):
        def forward(self, x, t, scale):
            return SimpleNamespace(sample=0.5 * x * scale)

    given = conditioning.Conditioning({"scale": 1.0}, guide=guide)
    scheduler = DDIMScheduler(**SCHEDULE)
    sampling.denoise(
        Half(clean, "epsilon"), scheduler, [sampling.generator(1)], (4, 8, 8), given, 3, 1
    )
    assert len(pulls) == 3 and min(pulls) > 0


def test_a_condition_is_asked_at_the_timesteps_of_the_rows():
    """In training each row has its own; in sampling 2N rows share one."""
    given = conditioning.Conditioning(lambda t: {"scale": t.float() / 1000})
    assert given.at(torch.tensor([10, 990]))["scale"].tolist() == pytest.approx([0.01, 0.99])
    assert conditioning.Conditioning({"scale": 2}).at(torch.tensor([1])) == {"scale": 2}

"""ControlNets in the loop: equal to diffusers' own pipeline, silent outside their steps."""

from __future__ import annotations

import pytest
import torch
from tiny import diffusion as tiny

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.diffusion import control, sampling
from socialcli.diffusion.conditioning import of_text
from socialcli.errors import UsageError

STEPS, GUIDANCE = 4, 3.0


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny model and a ControlNet of it that says something."""
    from diffusers import ControlNetModel

    place = tmp_path_factory.mktemp("control")
    model = tiny.stable_diffusion(place / "model")
    network = tiny.controlnet(place / "controlnet")
    assert isinstance(network, ControlNetModel)
    return str(model), str(place / "controlnet")


@pytest.fixture(scope="module")
def loaded(folders):
    model, net = folders
    return (
        backends.load(ModelSpec("diffusion", "stable-diffusion", model)),
        backends.load(ModelSpec("controlnet", "diffusers", net)),
    )


def skeleton(x: float = 0.5) -> list[list[float]]:
    return [[x + 0.02 * (n % 3), 0.2 + 0.04 * n, 2.0] for n in range(17)]


def drawn(loaded, **changed) -> torch.Tensor:
    diffusion, net = loaded
    uncond, cond = diffusion.prompts(["", "a man"])
    conditioning = of_text(GUIDANCE, [uncond], [cond])
    hints = control.hint([skeleton()], (tiny.SIZE, tiny.SIZE))[None]
    conditioning.guide = control.guide([control.Control(net.network, hints, **changed)])
    with torch.no_grad():
        return sampling.denoise(
            diffusion.unet, sampling.scheduler("DDIMScheduler", diffusion.scheduler),
            [sampling.generator(3)], diffusion.latent_shape(tiny.SIZE, tiny.SIZE), conditioning,
            STEPS, GUIDANCE,
        )  # fmt: skip


def test_latents_are_those_of_diffusers_pipeline(folders, loaded):
    from diffusers import ControlNetModel, DDIMScheduler, StableDiffusionControlNetPipeline

    model, net = folders
    pipe = StableDiffusionControlNetPipeline.from_pretrained(
        model, controlnet=ControlNetModel.from_pretrained(net), safety_checker=None
    )
    pipe.scheduler = DDIMScheduler.from_config(loaded[0].scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    hints = control.hint([skeleton()], (tiny.SIZE, tiny.SIZE))[None]
    noise = sampling.noise([sampling.generator(3)], loaded[0].latent_shape(tiny.SIZE, tiny.SIZE))
    theirs = pipe(
        "a man", image=hints, latents=noise, num_inference_steps=STEPS, guidance_scale=GUIDANCE,
        controlnet_conditioning_scale=0.7, control_guidance_start=0.25, output_type="latent",
    ).images  # fmt: skip
    drawn_here = drawn(loaded, scale=0.7, start=0.25)
    assert (drawn_here - theirs).abs().max() < 1e-4
    assert (drawn(loaded, scale=0.7) - theirs).abs().max() > 1e-3  # the start does matter


def test_a_closed_net_changes_nothing(loaded):
    closed = drawn(loaded, start=1.0)
    assert torch.equal(closed, drawn(loaded, scale=3.0, end=0.0))
    assert (drawn(loaded) - closed).abs().max() > 1e-3


def test_nets_are_summed(loaded):
    diffusion, net = loaded
    uncond, cond = diffusion.prompts(["", "a man"])
    hints = control.hint([skeleton()], (tiny.SIZE, tiny.SIZE))[None]
    from socialcli.diffusion.conditioning import Step

    arguments = of_text(GUIDANCE, [uncond], [cond]).at(torch.tensor([500]))
    step = Step(0, 4, torch.tensor(500), torch.ones(1, 4, 8, 8), arguments, diffusion.unet,
                sampling.scheduler("DDIMScheduler", diffusion.scheduler), GUIDANCE)  # fmt: skip
    one = control.Control(net.network, hints)
    with torch.no_grad():
        alone, both = (control.residuals(step, parts) for parts in ([one], [one, one]))
    assert torch.allclose(2 * alone[control.MIDDLE], both[control.MIDDLE], rtol=1e-5)
    assert control.residuals(step, []) == {}


def test_hints_are_skeletons_on_black():
    hint = control.hint([skeleton(0.3)], (48, 32))
    assert hint.shape == (3, 32, 48) and float(hint.min()) == 0 and float(hint.max()) == 1
    assert float(hint[:, :, 30:].max()) == 0


def test_a_net_of_another_model_is_refused_in_one_line(tmp_path, loaded):
    other = tiny.networks(width=16)[2]
    with pytest.raises(UsageError, match="nets/x: a ControlNet of another diffusion model"):
        loaded[1].check(other, "nets/x")
    loaded[1].check(loaded[0].unet, "nets/x")

"""Checkpoints that were trained with another noise were drawn with Stable Diffusion's.

A scheduler of EDM or of flow matching has no betas, and diffusers' defaults were taken in their
place; latents with statistics of their own (Playground v2.5) were decoded without them; a single
file that says that it predicts velocity was asked for noise; DDIM and DDPM cut the clean latents
to [-1, 1] where the model's scheduler had nothing to say of it, as the miniature's has not; and
--scheduler EDMEulerScheduler was taken for any model. All drew noise or wrong colours, silently.
"""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UniPCMultistepScheduler
from safetensors.torch import save_file
from tiny import diffusion as tiny

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.backends.diffusion import stable_diffusion
from socialcli.diffusion import sampling
from socialcli.errors import UsageError

FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
EDM = {
    "_class_name": "EDMDPMSolverMultistepScheduler", "num_train_timesteps": 1000,
    "prediction_type": "epsilon", "sigma_data": 0.5, "sigma_max": 80.0, "sigma_min": 0.002,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.stable_diffusion(tmp_path_factory.mktemp("sd"))


def changed(folder, name, settings):
    """What loading says while a configuration of the folder is another one."""
    file = folder / name
    before = file.read_bytes()
    file.write_text(json.dumps(settings))
    try:
        with pytest.raises(UsageError) as error:
            backends.load(ModelSpec("diffusion", "stable-diffusion", str(folder)))
    finally:
        file.write_bytes(before)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("settings", [FLOW, EDM])
def test_a_scheduler_without_betas_is_refused(folder, settings):
    assert "no betas" in changed(folder, "scheduler/scheduler_config.json", settings)


def test_latents_with_statistics_of_their_own_are_refused(folder):
    settings = json.loads((folder / "vae/config.json").read_text())
    settings |= {"latents_mean": [-1.6, 1.1, 3.2, -0.6], "latents_std": [8.4, 5.9, 6.8, 5.2]}
    assert "latents_mean" in changed(folder, "vae/config.json", settings)


def test_the_noise_that_a_single_file_states():
    said = stable_diffusion.stated_noise
    velocity = {"prediction_type": "v_prediction"}
    assert said(["v_pred"], {}) == velocity
    assert said([], {"modelspec.prediction_type": "v"}) == velocity
    assert said([], {"modelspec.prediction_type": "epsilon"}) == said([], {}) == {}
    zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    assert said(["v_pred", "ztsnr"], {}) == velocity | zero


def test_a_single_file_is_drawn_as_it_states(folder, tmp_path, monkeypatch):
    """diffusers' converter is not what is looked at here."""
    whole = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    monkeypatch.setattr(StableDiffusionPipeline, "from_single_file", lambda *_, **__: whole)
    save_file({"v_pred": torch.zeros(1)}, tmp_path / "velocity.safetensors")
    loaded = single(folder, tmp_path / "velocity.safetensors")
    assert loaded.scheduler.config.prediction_type == "v_prediction"


@pytest.mark.parametrize("marker", ["edm_mean", "edm_vpred.sigma_max"])
def test_a_single_file_of_another_noise_is_refused(folder, tmp_path, marker):
    save_file({marker: torch.zeros(1)}, tmp_path / "edm.safetensors")
    with pytest.raises(UsageError, match="another noise") as error:
        single(folder, tmp_path / "edm.safetensors")
    assert "edm.safetensors" in str(error.value) and "\n" not in str(error.value)


def single(folder, file):
    options = {"config": str(folder)}
    return backends.load(ModelSpec("diffusion", "stable-diffusion", str(file), options=options))


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler"])
def test_clean_latents_are_not_cut(name):
    assert not sampling.scheduler(name, UniPCMultistepScheduler()).config.clip_sample
    stated = UniPCMultistepScheduler.from_config(DDIMScheduler(clip_sample=True).config)
    assert sampling.scheduler(name, stated).config.clip_sample  # as the model says


@pytest.mark.parametrize("name", ["EDMEulerScheduler", "edmeuler"])
def test_a_sampler_of_another_noise_fits_no_model(name):
    with pytest.raises(UsageError, match=r"does not fit this model|is not a scheduler"):
        sampling.scheduler(name, UniPCMultistepScheduler())

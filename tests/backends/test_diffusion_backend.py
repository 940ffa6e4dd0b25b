"""The diffusion and ssr backends: their parts against diffusers' own pipeline, and bad input."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.backends.ssr.ssr_encoder import tower
from socialcli.errors import ModelMissing, UsageError
from socialcli.miniature.world import scene
from socialcli.miniature.zoo import diffusion as zoo
from socialcli.miniature.zoo import vae as zoo_vae
from socialcli.networks import ssr_layouts
from socialcli.networks.ssr_encoder import SSREncoder, image_features


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Stable Diffusion folder with the miniature's shapes; weights are drawn, not learnt."""
    place = tmp_path_factory.mktemp("sd")
    vae = zoo_vae.network()
    vae.register_to_config(scaling_factor=0.5)
    vae.half().save_pretrained(place / "vae")
    zoo.export(zoo.network(), place)
    return place


@pytest.fixture(scope="module")
def base(folder):
    return backends.load(ModelSpec("diffusion", "stable-diffusion", str(folder)))


@pytest.fixture(scope="module")
def pipe(folder):
    return StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, torch_dtype=torch.float32
    )


def test_text_states_are_the_pipelines(base, pipe):
    texts = ["a man kicks a red ball", "", "a dog " * 60]
    with torch.no_grad():
        truth = pipe.encode_prompt(texts, "cpu", 1, False)[0]
        states = base.prompts(texts)
    assert states.shape == (3, 40, 192)
    assert torch.equal(states, truth)


def test_latents_are_scaled_both_ways(base, pipe):
    pixels = torch.rand(2, 3, 96, 96) * 2 - 1
    with torch.no_grad():
        posterior = pipe.vae.encode(pixels).latent_dist
        latents = base.encode(pixels)
        assert torch.allclose(latents, posterior.mean * 0.5, atol=1e-6)
        drawn = base.encode(pixels, torch.Generator().manual_seed(3))
        again = posterior.sample(torch.Generator().manual_seed(3)) * 0.5
        assert torch.allclose(drawn, again, atol=1e-6)
        assert torch.allclose(
            base.decode(latents), pipe.vae.decode(posterior.mean).sample, atol=1e-5
        )
    assert latents.shape[1:] == base.latent_shape(96, 96) == (4, 24, 24)
    assert base.picture_size == 96 and base.factor == 4


def test_a_picture_drawn_part_by_part_is_the_pipelines(base, pipe):
    start = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(0))
    pipe.set_progress_bar_config(disable=True)
    truth = pipe("a cat", latents=start, num_inference_steps=3, guidance_scale=4.0,
                 height=96, width=96, output_type="pt").images  # fmt: skip
    states = base.prompts(["", "a cat"])
    base.scheduler.set_timesteps(3)
    latents = start
    with torch.no_grad():
        for t in base.scheduler.timesteps:
            free, cond = base.unet(torch.cat([latents] * 2), t, states).sample.chunk(2)
            latents = base.scheduler.step(free + 4.0 * (cond - free), t, latents).prev_sample
        drawn = (base.decode(latents) / 2 + 0.5).clamp(0, 1)
    assert torch.allclose(drawn, truth, atol=1e-4)


def test_everything_is_frozen_and_the_decoder_passes_gradients(base):
    assert not any(p.requires_grad for n in base.networks for p in n.parameters())
    assert not any(n.training for n in base.networks)
    latents = torch.randn(1, 4, 24, 24, requires_grad=True)
    base.decode(latents).sum().backward()
    assert latents.grad.abs().max() > 0


def test_what_it_is_goes_into_records(base, folder):
    assert base.model.role == "diffusion" and base.model.model == folder.name


def test_diffusion_bad_input_is_a_line(base, folder, tmp_path):
    def load(model, **options):
        return backends.load(
            ModelSpec("diffusion", "stable-diffusion", str(model), options=options)
        )

    with pytest.raises(ModelMissing, match=r"no such folder.*hf download"):
        load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="multiples of 16"):
        base.latent_shape(100, 96)
    with pytest.raises(UsageError, match="pickle"):
        load(tmp_path / "v1-5.ckpt")
    with pytest.raises(ModelMissing, match="no checkpoint at"):
        load(tmp_path / "v1-5.safetensors")
    (tmp_path / "v1-5.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(ModelMissing, match=r"weights only.*is not here.*hf download"):
        load(tmp_path / "v1-5.safetensors", config="nobody/nothing")
    with pytest.raises(UsageError, match="no Stable Diffusion"):
        load(tmp_path / "v1-5.safetensors", config=str(folder))
    broken = shutil.copytree(folder, tmp_path / "broken")
    shutil.rmtree(broken / "unet")
    with pytest.raises(UsageError, match="UNet2DConditionModel"):
        load(broken)


@pytest.fixture(scope="module")
def subject_files(base, tmp_path_factory):
    """An SSR-Encoder folder and a CLIP vision folder that fit the miniature's shapes."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("ssr")
    config = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=6,
                              num_attention_heads=2, image_size=32, patch_size=8)  # fmt: skip
    CLIPVisionModel(config).save_pretrained(place / "clip")
    CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(place / "clip")
    encoder = SSREncoder.create(base.unet, config, 192, heads=2, dim_head=8)
    ssr_layouts.save(encoder, place / "ssr")
    return place


def ssr(place, name="ssr", clip="clip"):
    return backends.load(
        ModelSpec("ssr", "ssr-encoder", str(place / name), options={"clip": str(place / clip)})
    )


def test_subjects_go_from_a_picture_into_the_unet(base, subject_files):
    loaded = ssr(subject_files)
    picture = scene(0, 0).image
    features = loaded.features([picture, picture])
    assert features.shape == (2, 6 * 17, 16)
    pixels = loaded.processor(images=[picture], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        assert torch.allclose(features[:1], image_features(loaded.vision, pixels), atol=1e-5)
    zeros = image_features(loaded.vision, torch.zeros(1, 3, 32, 32))
    assert torch.equal(loaded.nothing(3), zeros.expand(3, -1, -1))
    loaded.encoder.attach(base.unet)
    tokens = loaded.encoder.subject_tokens(features, base.prompts(["dog", "cup"]))
    given = loaded.encoder.condition(base.prompts(["a", "b"]), [tokens], [0.65])
    with torch.no_grad():
        assert base.unet(torch.randn(2, 4, 24, 24), 9, **given).sample.shape == (2, 4, 24, 24)


def test_ssr_bad_input_is_a_line(subject_files, tmp_path):
    with pytest.raises(ModelMissing, match="needs a folder of weights"):
        backends.load(ModelSpec("ssr", "ssr-encoder"))
    with pytest.raises(ModelMissing, match=r"no SSR-Encoder in .*SSR_Encoder links them"):
        ssr(subject_files, "nowhere")
    wide = CLIPVisionConfig(hidden_size=24, intermediate_size=16, num_hidden_layers=6,
                            num_attention_heads=2, image_size=32, patch_size=8)  # fmt: skip
    CLIPVisionModel(wide).save_pretrained(subject_files / "wide")
    shutil.copy(subject_files / "clip/preprocessor_config.json", subject_files / "wide")
    with pytest.raises(UsageError, match=r"a tower 16 wide, .* is 24 wide"):
        ssr(subject_files, clip="wide")


def test_the_vision_tower_must_be_the_one_of_the_training(base, subject_files, tmp_path):
    """Another one of the same shape would not be noticed otherwise: its features fit."""
    first = tower(ModelSpec("clip", "clip", str(subject_files / "clip")))
    encoder = ssr_layouts.load(subject_files / "ssr")
    assert encoder.seen_through == ""  # as in official files, which say nothing and so take any
    first.join(encoder, "ssr")
    ssr_layouts.save(encoder, tmp_path / "ssr")
    for name in ("clip", "other"):
        shutil.copytree(subject_files / "clip", tmp_path / name)
    vision = CLIPVisionModel.from_pretrained(tmp_path / "clip")
    with torch.no_grad():
        vision.encoder.layers[2].mlp.fc1.weight[0, 0] += 0.01
    vision.save_pretrained(tmp_path / "other")
    assert ssr(tmp_path).encoder.seen_through == first.fingerprint
    with pytest.raises(UsageError) as caught:
        ssr(tmp_path, clip="other")
    message = str(caught.value)
    assert f"{tmp_path}/ssr was trained with another vision tower than {tmp_path}/other" in message
    assert "--clip-model with the folder of that one" in message and "\n" not in message
    ssr(subject_files, clip="../" + str((tmp_path / "other").relative_to(tmp_path.parent)))

    # Beside the encoder it needs no option, and the line names it.
    shutil.copytree(tmp_path / "clip", tmp_path / "ssr/image_encoder")
    alone = backends.load(ModelSpec("ssr", "ssr-encoder", str(tmp_path / "ssr")))
    assert alone.model.options["clip"].startswith("image_encoder (sha256:")
    with pytest.raises(UsageError, match=r"give --clip-model .*ssr/image_encoder"):
        ssr(tmp_path, clip="other")


def test_a_fingerprint_is_the_towers_not_its_files(subject_files, tmp_path):
    place = subject_files / "clip"
    vision = CLIPVisionModel.from_pretrained(place)
    known = ssr_layouts.fingerprint(vision)
    assert len(known) == 16
    shutil.copytree(place, tmp_path / "half")
    CLIPVisionModel.from_pretrained(place).half().save_pretrained(tmp_path / "half")
    for dtype in ("float32", "bfloat16"):  # rounded only once it has been looked at
        seen = tower(ModelSpec("clip", "clip", str(tmp_path / "half"), dtype=dtype))
        assert seen.fingerprint == known
        assert str(seen.network.dtype) == f"torch.{dtype}"
    vision.config.hidden_act = "gelu"
    assert ssr_layouts.fingerprint(vision) != known

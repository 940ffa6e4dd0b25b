"""InstantID and PhotoMaker on a tiny SDXL: their files, what they read, and what they refuse."""

from __future__ import annotations

import json
import math
from pathlib import Path

import drawings
import numpy
import pytest
import torch
from drawings import failure
from PIL import Image, ImageDraw
from tiny import adapters as tiny
from tiny import people
from tiny import sdxl as tiny_xl

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.diffusion import conditioning, sampling
from socialcli.errors import UsageError
from socialcli.networks import photomaker
from socialcli.vision import face_keypoints

STEPS = 4


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Folders and files: xl, pack, instantid/ with its two parts, photomaker-v1.bin and -v2.bin,
    two pictures of faces."""
    from diffusers import ControlNetModel

    place = tmp_path_factory.mktemp("models")
    tiny_xl.stable_diffusion_xl(place / "xl")
    people.insightface_pack(place / "pack")
    unet = tiny_xl.unet()
    (place / "instantid").mkdir()
    torch.save(tiny.parts("instantid", unet), place / "instantid" / "ip-adapter.bin")
    torch.manual_seed(5)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16)).eval()
    with torch.no_grad():
        for block in (*net.controlnet_down_blocks, net.controlnet_mid_block):
            block.weight.normal_(0, 0.3)
        net.controlnet_cond_embedding.conv_out.weight.normal_(0, 0.3)
    net.save_pretrained(place / "instantid" / "ControlNetModel")
    for version in (1, 2):
        torch.save(tiny.photomaker(version, unet), place / f"photomaker-v{version}.bin")
    for name, cell in (("anna", 4), ("berta", 11)):
        image = Image.new("RGB", (640, 640), (60, 90, 12 * cell))
        draw, at = ImageDraw.Draw(image), 32 * cell
        draw.rectangle((at - 32, at - 64, at + 64, at - 1), fill=(20 * cell, 200, 30))
        draw.rectangle((at, at, at + 31, at + 31), fill=(255, 0, 0))
        image.save(place / f"{name}.png")
    return place


def run(models: Path, out: Path, method: str, prompt: str, *names: str, **options) -> dict:
    file = "instantid/ip-adapter.bin" if method == "instantid" else "photomaker-v1.bin"
    given = {
        "model": str(models / "xl"), "steps": STEPS, "prompt": [prompt],
        "adapter_model": str(models / file), "face_model": str(models / "pack"),
        "reference": [str(models / f"{name}.png") for name in names], **options,
    }  # fmt: skip
    return drawings.run(method, out, **given)["00000"]


def pixels(members: dict) -> numpy.ndarray:
    return drawings.pixels(members["png"])


def raw_face(models: Path, name: str):
    """(the largest face, its embedding as the recogniser gives it)."""
    finder = backends.load(ModelSpec("face", "insightface", str(models / "pack")))
    image = Image.open(models / f"{name}.png")
    (largest, *_) = finder.detect([image])[0]
    return largest, torch.from_numpy(finder.embed([image], [[largest]])[0][0])


# --- InstantID ------------------------------------------------------------------------------------


def test_instantid_draws_what_its_printed_loop_draws(models, tmp_path):
    """The loop by hand: the projection's tokens go to the UNet beside the text, and to the
    ControlNet in its place; the embedding is the raw one."""
    from diffusers import ControlNetModel, StableDiffusionXLPipeline

    members = run(models, tmp_path / "out", "instantid", "a woman on a beach", "anna")
    record = json.loads(members["generated.json"])
    pipe = StableDiffusionXLPipeline.from_pretrained(models / "xl")
    parts = torch.load(models / "instantid" / "ip-adapter.bin", weights_only=True)
    pipe.load_ip_adapter(parts, subfolder="", weight_name="", image_encoder_folder=None)
    pipe.set_ip_adapter_scale(0.8)
    net = ControlNetModel.from_pretrained(models / "instantid" / "ControlNetModel")
    seen, row = raw_face(models, "anna")
    assert not math.isclose(float(row.norm()), 1, abs_tol=0.1)
    points = [(x * 32, y * 32) for x, y in seen.landmarks]
    hint = numpy.array(face_keypoints.draw(points, (32, 32))) / 255
    hint = torch.from_numpy(hint).permute(2, 0, 1)[None].float()

    def drawn(row):
        with torch.no_grad():
            text, no_text, pooled, no_pooled = pipe.encode_prompt("a woman on a beach")
            states, pooled = torch.cat([no_text, text]), torch.cat([no_pooled, pooled])
            faces = torch.stack([torch.zeros(512), row])[:, None]
            tokens = pipe.unet.encoder_hid_proj.image_projection_layers[0](faces)
            added = {"text_embeds": pooled,
                     "time_ids": torch.tensor([[32.0, 32, 0, 0, 32, 32]] * 2)}  # fmt: skip
            scheduler = sampling.scheduler("unipc", pipe.scheduler)
            scheduler.set_timesteps(STEPS)
            start = sampling.generator(record["seed"])
            latents = sampling.noise([start], (4, 8, 8)) * scheduler.init_noise_sigma
            for t in scheduler.timesteps:
                both = scheduler.scale_model_input(torch.cat([latents] * 2), t)
                down, middle = net(
                    both, t, encoder_hidden_states=tokens, controlnet_cond=torch.cat([hint] * 2),
                    conditioning_scale=0.8, added_cond_kwargs=added, return_dict=False,
                )  # fmt: skip
                free, cond = pipe.unet(
                    both, t, encoder_hidden_states=states, down_block_additional_residuals=down,
                    mid_block_additional_residual=middle,
                    added_cond_kwargs={**added, "image_embeds": [faces[:, None]]},
                ).sample.chunk(2)  # fmt: skip
                latents = scheduler.step(free + 5 * (cond - free), t, latents).prev_sample
            image = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
        return ((image[0].clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy().astype(int)

    assert abs(pixels(members) - drawn(row)).max() <= 1
    assert abs(pixels(members) - drawn(row / row.norm())).max() > 2  # grey identity, no error
    assert record["models"]["adapter"]["backend"] == "instantid"
    assert {"controlnet", "face"} <= set(record["models"])


def test_another_picture_says_where_the_face_is(models, tmp_path):
    own, other = (
        run(models, tmp_path / name, "instantid", "a woman", "anna", control_scale=5.0, **more)
        for name, more in (("a", {}), ("b", {"keypoints": str(models / "berta.png")}))
    )
    own = pixels(own)
    assert (own != pixels(other)).any()


def test_face_keypoints_are_those_of_the_authors_drawing():
    """Centres of limbs in six tenths of the colour of their outer end, dots of radius 10 over
    them; a wide picture's face keeps its shape."""
    points = [(60, 60), (140, 60), (100, 100), (70, 140), (130, 140)]
    drawn = numpy.array(face_keypoints.draw(points, (200, 200)))
    assert tuple(drawn[80, 80]) == (153, 0, 0) and tuple(drawn[80, 120]) == (0, 153, 0)
    assert tuple(drawn[120, 85]) == (153, 153, 0) and tuple(drawn[120, 115]) == (153, 0, 153)
    assert [tuple(drawn[y, x]) for x, y in points] == list(face_keypoints.COLOURS)
    assert (drawn == (255, 0, 0)).all(-1).sum() == 317  # pixels of OpenCV's circle
    assert tuple(drawn[60, 51]) == (255, 0, 0) and tuple(drawn[60, 48]) == (0, 0, 0)
    fitted = face_keypoints.fitted([(0.5, 0.5), (1, 0)], (200, 100), (64, 64))
    assert fitted == [(32, 32), (64, 16)]


def test_instantid_refuses_several_people_and_other_files(models, tmp_path):
    with pytest.raises(UsageError, match=r"draws one person.*--method ip-adapter with --region"):
        run(models, tmp_path / "no", "instantid", "two women", "anna", "berta")
    with pytest.raises(UsageError, match=r"PhotoMaker v1: take --method photomaker"):
        run(models, tmp_path / "no", "instantid", "x", "anna",
            adapter_model=str(models / "photomaker-v1.bin"),
            controlnet_model=str(models / "instantid" / "ControlNetModel"))  # fmt: skip


# --- PhotoMaker -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_photomaker_draws_what_its_printed_loop_draws(models, tmp_path, version):
    """Two pictures of a person; the first step of four sees the prompt alone."""
    from diffusers import StableDiffusionXLPipeline
    from transformers import CLIPImageProcessorPil

    file = models / f"photomaker-v{version}.bin"
    members = run(
        models, tmp_path / "out", "photomaker", "a photo of a woman img on a beach", "anna",
        "berta", adapter_model=str(file),
    )  # fmt: skip
    record = json.loads(members["generated.json"])
    assert record["plain_prompt"] == "a photo of a woman on a beach"
    pipe = StableDiffusionXLPipeline.from_pretrained(models / "xl")
    parts = torch.load(file, weights_only=True)
    pipe.load_lora_weights(parts["lora_weights"])
    encoder = photomaker.load(parts["id_encoder"])
    images = [Image.open(models / f"{name}.png") for name in ("anna", "berta")]
    size = {"shortest_edge": tiny.PIXELS}
    shown = CLIPImageProcessorPil(
        size=size, crop_size={"height": tiny.PIXELS, "width": tiny.PIXELS}
    )(images, return_tensors="pt")["pixel_values"]
    rows = torch.stack([raw_face(models, name)[1] for name in ("anna", "berta")])
    plain, count = "a photo of a woman on a beach", 2 * version
    with torch.no_grad():
        text, no_text, pooled, no_pooled = pipe.encode_prompt(plain)
        sides = []
        for tokenizer, network in (
            (pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2)
        ):  # fmt: skip
            ids = tokenizer(plain).input_ids
            at = tokenizer.convert_ids_to_tokens(ids).index("woman</w>")
            ids = [*ids[:at], *[ids[at]] * count, *ids[at + 1 :]]
            ids += [tokenizer.pad_token_id] * (tiny_xl.TOKENS - len(ids))
            sides.append(network(torch.tensor([ids]), output_hidden_states=True))
        states = torch.cat([side.hidden_states[-2][0] for side in sides], dim=-1)
        results = encoder.results(shown, rows if version == 2 else None)
        assert results.shape == (count, tiny_xl.WIDTH)
        person = states.clone()
        person[at : at + count] = encoder.fuse_module(states[at : at + count], results)
        then = person[None], sides[1].text_embeds
        scheduler = sampling.scheduler("unipc", pipe.scheduler)
        scheduler.set_timesteps(STEPS)
        start = sampling.generator(record["seed"])
        latents = sampling.noise([start], (4, 8, 8)) * scheduler.init_noise_sigma
        for number, t in enumerate(scheduler.timesteps):
            now = (text, pooled) if number == 0 else then
            added = {"text_embeds": torch.cat([no_pooled, now[1]]),
                     "time_ids": torch.tensor([[32.0, 32, 0, 0, 32, 32]] * 2)}  # fmt: skip
            both = scheduler.scale_model_input(torch.cat([latents] * 2), t)
            free, cond = pipe.unet(
                both, t, torch.cat([no_text, now[0]]), added_cond_kwargs=added
            ).sample.chunk(2)
            latents = scheduler.step(free + 5 * (cond - free), t, latents).prev_sample
        image = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
    expected = ((image[0].clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy().astype(int)
    assert abs(pixels(members) - expected).max() <= 1
    assert record["models"]["adapter"]["backend"] == f"photomaker-v{version}"
    late = run(
        models, tmp_path / "late", "photomaker", "a photo of a woman img on a beach", "anna",
        "berta", adapter_model=str(file), merge_after=1.0,
    )  # fmt: skip
    assert abs(pixels(late) - expected).max() > 2


def test_its_encoder_is_the_printed_one(models):
    """Version 1's results are CLIP's two projections, by its own classes."""
    parts = torch.load(models / "photomaker-v1.bin", weights_only=True)["id_encoder"]
    encoder = photomaker.load(parts)
    shown = torch.randn(2, 3, tiny.PIXELS, tiny.PIXELS, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        results = encoder.results(shown, None)
        direct = encoder.clip(shown).image_embeds
        assert torch.allclose(results[:, : direct.shape[1]], direct, atol=1e-6)
        text = torch.randn(2, tiny_xl.WIDTH, generator=torch.Generator().manual_seed(1))
        fused = encoder.fuse_module(text, results)
    assert torch.allclose(fused, _fused(parts, text, results), atol=1e-5)


def _fused(w: dict, text, person):
    """The fuse module in float64, line by line."""
    w = {n: t.double() for n, t in w.items()}
    f = torch.nn.functional

    def mlp(x, name):
        prefix = f"fuse_module.{name}"
        norm = w[f"{prefix}.layernorm.weight"], w[f"{prefix}.layernorm.bias"]
        x = f.layer_norm(x, x.shape[-1:], *norm)
        x = f.gelu(f.linear(x, w[f"{prefix}.fc1.weight"], w[f"{prefix}.fc1.bias"]))
        return f.linear(x, w[f"{prefix}.fc2.weight"], w[f"{prefix}.fc2.bias"])

    text, person = text.double(), person.double()
    x = mlp(torch.cat([text, person], -1), "mlp1") + text
    x = mlp(x, "mlp2") + x
    norm = w["fuse_module.layer_norm.weight"], w["fuse_module.layer_norm.bias"]
    return f.layer_norm(x, x.shape[-1:], *norm).float()


@pytest.mark.parametrize("prompt", ["a woman on a beach", "a woman img and a man img", "img"])
def test_photomaker_wants_one_person(models, tmp_path, prompt):
    with pytest.raises(UsageError, match=r"one person a picture.*--method ip-adapter"):
        run(models, tmp_path / "no", "photomaker", prompt, "anna")


def test_photomaker_refuses_what_does_not_fit(models, tmp_path):
    many = ["anna"] * 14
    why = failure(
        tmp_path / "many", lambda out: run(models, out, "photomaker", "a woman img", *many)
    )
    assert "name fewer references" in why
    with pytest.raises(UsageError, match=r"ip-adapter.bin: InstantID.*--method instantid"):
        run(models, tmp_path / "no", "photomaker", "a woman img", "anna",
            adapter_model=str(models / "instantid" / "ip-adapter.bin"))  # fmt: skip


def test_texts_with_a_pooled_state_follow_the_guidance():
    one = conditioning.PooledText(torch.ones(2, 3), torch.ones(4))
    arguments = conditioning.of_text(1, [], [one]).at(torch.zeros(1))
    assert arguments["encoder_hidden_states"].shape == (1, 2, 3)
    assert arguments["added_cond_kwargs"]["text_embeds"].shape == (1, 4)

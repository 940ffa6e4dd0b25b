"""InstructPix2Pix: what diffusers' pipeline draws, of files and of shards; other models refused."""

from __future__ import annotations

import io
import json
import shutil

import drawings
import numpy
import pytest
import torch
from drawings import pixels, record
from PIL import Image, ImageOps
from tiny import diffusion as tiny

from socialcli import records, shards
from socialcli.errors import UsageError
from socialcli.generation.attention import ARRAY

STEPS = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.instruct_pix2pix(tmp_path_factory.mktemp("pix2pix"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two pictures in files, which are no squares, and as shards; the second one has a caption."""
    place = tmp_path_factory.mktemp("sources")
    (place / "shards").mkdir()
    with (place / "shards/000000.tar").open("wb") as file:
        writer = shards.Writer(file)
        for number in range(2):
            extent = (-2 + number, -1, 1, 1)
            picture = Image.effect_mandelbrot((50, 40), extent, 20).convert("RGB")
            picture.save(place / f"{number}.png")
            members = {"png": (place / f"{number}.png").read_bytes()}
            if number:
                members["caption.json"] = records.dump(records.Caption("a red dog"))
            writer.added(f"p{number}", members)
        writer.close()
    return place


def run(model, out, *inputs, method="instruct-pix2pix", **options):
    given = {"model": str(model), "steps": STEPS, **options}
    return drawings.run(method, out, *inputs, most_failed=1.0, **given)


def pipelines(model, seed, prompt, picture, **more) -> numpy.ndarray:
    """The picture of diffusers' own pipeline, from the noise of a seed."""
    from diffusers import StableDiffusionInstructPix2PixPipeline, UniPCMultistepScheduler

    pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(model, safety_checker=None)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    latents = torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(seed))[None]
    image = ImageOps.fit(Image.open(picture), (32, 32), Image.Resampling.LANCZOS)
    drawn = pipe(prompt, image=image, num_inference_steps=STEPS, latents=latents, **more).images[0]
    return numpy.asarray(drawn).astype(int)


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({}, {}),  # the authors' scales on both sides
        (
            {"guidance": 3.0, "image_guidance": 2.5, "negative": "a cat"},
            {"guidance_scale": 3.0, "image_guidance_scale": 2.5, "negative_prompt": "a cat"},
        ),
        ({"guidance": 1.0}, {"guidance_scale": 1.0}),
    ],
)
def test_it_draws_what_a_diffusers_pipeline_draws(model, pictures, tmp_path, options, theirs):
    source = str(pictures / "0.png")
    by_key = run(model, tmp_path, prompt=["make him ride a dog"], reference=[source], **options)
    members = by_key["00000"]
    expected = pipelines(model, record(members).seed, "make him ride a dog", source, **theirs)
    assert numpy.abs(pixels(members["png"]) - expected).max() <= 1
    scale = options.get("image_guidance", 1.5)
    assert record(members).references == [records.Shown("0.png", "", scale)]
    other = pipelines(model, record(members).seed, "a cat", pictures / "1.png", **theirs)
    assert numpy.abs(other - expected).max() > 5


def test_pictures_of_shards_are_changed_as_a_sentence_or_their_captions_say(
    model, pictures, tmp_path
):
    drawn = run(model, tmp_path / "a", pictures / "shards", instruction="make it red")
    assert list(drawn) == ["p0", "p1"]
    for number, key in enumerate(drawn):
        generated = record(drawn[key])
        assert (generated.prompt, generated.source_key) == ("make it red", key)
        expected = pipelines(model, generated.seed, "make it red", pictures / f"{number}.png")
        assert numpy.abs(pixels(drawn[key]["png"]) - expected).max() <= 1
    captions = run(model, tmp_path / "b", pictures / "shards")
    assert list(captions) == ["p1"] and record(captions["p1"]).prompt == "a red dog"
    # A prompt file: which picture, and how much of it is kept.
    row = {"prompt": "a red dog", "key": "p1", "reference": "p1", "scale": 2.0}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    places = [str(pictures / "shards")]
    rows = run(model, tmp_path / "c", tmp_path / "rows.jsonl", references=places)
    assert record(rows["p1"]).references == [records.Shown("p1", "", 2.0)]
    assert numpy.abs(pixels(rows["p1"]["png"]) - pixels(captions["p1"]["png"])).max() > 0


def test_maps_are_of_the_rows_that_read_the_sentence(model, pictures, tmp_path):
    """Of the three rows a picture has in the UNet the last one."""
    source, sheet = [str(pictures / "0.png")], str(tmp_path / "maps.png")
    maps = [
        numpy.load(io.BytesIO(run(
            model, tmp_path / f"{number}", prompt=["a red dog"], reference=source,
            negative=negative, attention_maps=sheet, steps=1,
        )["00000"][ARRAY]))[0]
        for number, negative in enumerate(["", "two men and a cat"])
    ]  # fmt: skip
    assert maps[0].shape == (3, 8, 8) and numpy.array_equal(*maps)  # one step: from the same noise


def test_another_model_is_refused_with_the_name_of_the_right_one(model, pictures, tmp_path):
    plain = tiny.stable_diffusion(tmp_path / "sd")
    asked = {"prompt": ["a dog"], "reference": [str(pictures / "0.png")]}
    wants = "no InstructPix2Pix for --method instruct-pix2pix: it wants 4 channels and not 8"
    with pytest.raises(UsageError, match=f"{wants}.*--method text.*hf download timbrooks/"):
        run(plain, tmp_path / "o", **asked)
    with pytest.raises(UsageError, match="InstructPix2Pix is drawn by --method instruct-pix2pix"):
        run(model, tmp_path / "o", prompt=["a dog"], method="text")
    with pytest.raises(UsageError, match=r"instruct-pix2pix is drawn by --method instruct-pix2pix"):
        run(model, tmp_path / "o", prompt=["a dog"], method="text", backend="instruct-pix2pix")
    with pytest.raises(UsageError, match="cannot draw with it; leave it instruct-pix2pix"):
        run(model, tmp_path / "o", backend="stable-diffusion", **asked)
    inpainting = shutil.copytree(model, tmp_path / "inpainting")
    config = inpainting / "unet/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "in_channels": 9}))
    with pytest.raises(UsageError, match="9 channels and not 8"):
        run(inpainting, tmp_path / "o", **asked)
    run(model, tmp_path / "two", prompt=["a dog"], reference=asked["reference"] * 2)
    [failed] = (tmp_path / "two").glob("*.errors.jsonl")
    assert "2 pictures to be changed: instruct-pix2pix changes one" in failed.read_text()

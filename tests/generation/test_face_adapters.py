"""IP-Adapters of all kinds: told by their weights, shown what each reads, drawn as by diffusers."""

from __future__ import annotations

import json
from pathlib import Path

import drawings
import numpy
import pytest
import torch
from drawings import failure
from PIL import Image, ImageDraw
from tiny import adapters as tiny
from tiny import diffusion as tiny_sd
from tiny import people
from tiny import sdxl as tiny_xl

from socialcli import backends
from socialcli.backends import ModelSpec
from socialcli.errors import UsageError
from socialcli.generation import faces
from socialcli.networks import adapter_files

STEPS = 3
KINDS = ("plain", "plus", "full-face", "faceid", "faceid-plus")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Folders and files: sd, vision, pack, KIND.bin, two pictures of faces and one of none."""
    place = tmp_path_factory.mktemp("models")
    tiny_sd.stable_diffusion(place / "sd")
    tiny.vision(place / "vision")
    people.insightface_pack(place / "pack")
    unet = tiny_sd.networks()[2]
    for kind in (*KINDS, "instantid"):
        torch.save(tiny.parts(kind, unet), place / f"{kind}.bin")
    face(place / "anna.png", 4, "orange")
    face(place / "berta.png", 9, "blue")
    Image.new("RGB", (640, 640), "grey").save(place / "nobody.png")
    return place


def face(file: Path, cell: int, hair: str) -> None:
    """A picture whose cell (cell, cell) of 32 pixels the tiny detector takes for a face."""
    image = Image.new("RGB", (640, 640), (90, 110, 10 * cell))
    draw, at = ImageDraw.Draw(image), 32 * cell
    draw.rectangle((at - 32, at - 64, at + 64, at - 1), fill=hair)
    draw.rectangle((at, at, at + 31, at + 31), fill=(255, 0, 0))
    image.save(file)


def run(models: Path, out: Path, kind: str, **options) -> dict:
    given = {
        "model": str(models / "sd"), "steps": STEPS, "prompt": ["a dog"],
        "adapter_model": str(models / f"{kind}.bin"), "face_model": str(models / "pack"),
        "image_encoder_model": str(models / "vision"), "scale": [0.7],
        "reference": [str(models / "anna.png")], **options,
    }  # fmt: skip
    return drawings.run("ip-adapter", out, **given)["00000"]


def pixels(members: dict) -> numpy.ndarray:
    return drawings.pixels(members["png"])


def theirs(models: Path, kind: str, base: str = "sd", cls: str = "StableDiffusionPipeline"):
    import diffusers

    unused = {"safety_checker": None} if base == "sd" else {}
    pipe = getattr(diffusers, cls).from_pretrained(models / base, **unused)
    pipe.scheduler = diffusers.UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    parts = torch.load(models / f"{kind}.bin", weights_only=True)
    pipe.load_ip_adapter(parts, subfolder="", weight_name="", image_encoder_folder=None)
    return pipe


def drawn(pipe, members: dict, embeds, **more) -> numpy.ndarray:
    seed = int(json.loads(members["generated.json"])["seed"])
    image = pipe(
        "a dog", num_inference_steps=STEPS, guidance_scale=5.0, output_type="np",
        generator=torch.Generator().manual_seed(seed), ip_adapter_image_embeds=[embeds], **more,
    ).images[0]  # fmt: skip
    return (image * 255).round().astype(int)


def looked_at(models: Path, *names: str):
    """(unit embeddings (n, 512), aligned crops) by the pack itself."""
    finder = backends.load(ModelSpec("face", "insightface", str(models / "pack")))
    rows, crops = [], []
    for name in names:
        image = Image.open(models / name)
        largest = finder.detect([image])[0][:1]
        (row,) = finder.embed([image], [largest])[0]
        rows.append(torch.from_numpy(row / numpy.linalg.norm(row)))
        crops.append(faces.aligned(image, largest[0]))
    return torch.stack(rows), crops


def clip(models: Path, images, states: bool):
    """Zeros' and pictures' states or embeddings, as diffusers' pipelines make them."""
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    tower = CLIPVisionModelWithProjection.from_pretrained(models / "vision").eval()
    shown = CLIPImageProcessorPil.from_pretrained(models / "vision")(images, return_tensors="pt")
    with torch.no_grad():
        if states:
            both = [torch.zeros_like(shown.pixel_values), shown.pixel_values]
            return [tower(p, output_hidden_states=True).hidden_states[-2] for p in both]
        embeds = tower(shown.pixel_values).image_embeds
        return [torch.zeros_like(embeds), embeds]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_what_diffusers_draws_with_it(models, tmp_path, kind):
    members = run(models, tmp_path / "out", kind, adapter_version="plusv2")
    name = f"ip-adapter-{kind}" if kind.startswith("faceid") else "ip-adapter"
    record = json.loads(members["generated.json"])["models"]["adapter"]
    assert record["backend"] == name and record["revision"].startswith("sha256:")
    pipe = theirs(models, kind)
    pipe.set_ip_adapter_scale(0.7)
    whole = Image.open(models / "anna.png")
    if kind.startswith("faceid"):
        row, crops = looked_at(models, "anna.png")
        pair = torch.stack([torch.zeros_like(row), row])
        if kind == "faceid-plus":
            layer = pipe.unet.encoder_hid_proj.image_projection_layers[0]
            layer.clip_embeds = torch.stack(clip(models, crops, True))
            layer.shortcut = True
    else:
        pair = torch.stack(clip(models, [whole], kind != "plain"))
    expected = drawn(pipe, members, pair)
    assert abs(pixels(members) - expected).max() <= 1
    assert abs(drawn(pipe, members, pair.flip(0)) - expected).max() > 4
    if kind == "faceid-plus":
        older = pixels(run(models, tmp_path / "older", kind, adapter_version="plus"))
        layer.shortcut = False
        assert abs(older - drawn(pipe, members, pair)).max() <= 1 < abs(older - expected).max()


def test_two_people_each_in_a_region_with_a_scale_each(models, tmp_path):
    from diffusers.image_processor import IPAdapterMaskProcessor

    masks = []
    for number, box in enumerate(((0, 0, 15, 31), (16, 0, 31, 31))):
        mask = Image.new("L", (32, 32))
        ImageDraw.Draw(mask).rectangle(box, fill=255)
        mask.save(tmp_path / f"{number}.png")
        masks.append(mask)
    both = [str(models / "anna.png"), str(models / "berta.png")]
    regions = [str(tmp_path / f"{n}.png") for n in range(2)]
    members = run(
        models, tmp_path / "out", "faceid", reference=both, region=regions, scale=[0.9, 0.4]
    )
    pipe = theirs(models, "faceid")
    pipe.set_ip_adapter_scale([[0.9, 0.4]])
    rows, _ = looked_at(models, "anna.png", "berta.png")
    pair = torch.stack([torch.zeros_like(rows), rows])
    read = IPAdapterMaskProcessor().preprocess(masks, height=32, width=32)
    read = [read.reshape(1, 2, 32, 32)]
    more = {"cross_attention_kwargs": {"ip_adapter_masks": read}}
    expected = drawn(pipe, members, pair, **more)
    assert abs(pixels(members) - expected).max() <= 1
    swapped = drawn(pipe, members, pair.flip(1), **more)
    assert abs(swapped - expected).max() > 4
    with pytest.raises(UsageError, match="2 times and --reference 1 times"):
        run(models, tmp_path / "no", "faceid", region=regions)
    why = failure(
        tmp_path / "alike",
        lambda out: run(models, out, "faceid", reference=both, scale=[0.9, 0.4]),
    )
    assert "weighs all references of a picture alike" in why
    Image.new("L", (32, 32)).save(tmp_path / "0.png")
    with pytest.raises(UsageError, match="nothing in it is white"):
        run(models, tmp_path / "no", "faceid", reference=both, region=regions)


def test_it_draws_on_sdxl_too(models, tmp_path):
    base = tiny_xl.stable_diffusion_xl(models / "xl")
    for kind in ("plus", "faceid"):
        torch.save(tiny.parts(kind, tiny_xl.unet()), models / f"xl-{kind}.bin")
    members = run(models, tmp_path / "a", "xl-plus", model=str(base), backend="sdxl")
    pipe = theirs(models, "xl-plus", "xl", "StableDiffusionXLPipeline")
    pipe.set_ip_adapter_scale(0.7)
    pair = torch.stack(clip(models, [Image.open(models / "anna.png")], True))
    assert abs(pixels(members) - drawn(pipe, members, pair)).max() <= 1
    face_too = run(models, tmp_path / "b", "xl-faceid", model=str(base), backend="sdxl")
    assert abs(pixels(face_too) - pixels(members)).max() > 4


def test_what_clip_is_shown_of_a_face(models, tmp_path):
    """A square about it, or the whole picture; other pictures, and no face is a failed sample."""
    whole = pixels(run(models, tmp_path / "whole", "plus"))
    box = pixels(run(models, tmp_path / "box", "plus", face_crop="box"))
    assert abs(whole - box).max() > 2
    finder = backends.load(ModelSpec("face", "insightface", str(models / "pack")))
    image = Image.open(models / "anna.png")
    crop = faces.about(image, finder.detect([image])[0][0])
    assert crop.width == crop.height and crop.width < 200
    middle = crop.getpixel((crop.width // 2, crop.height // 2))
    assert middle[0] == 255 and middle[1] == 0
    nobody = [str(models / "nobody.png")]
    why = failure(
        tmp_path / "nobody",
        lambda out: run(models, out, "plus", reference=nobody, face_crop="box"),
    )
    assert "no face is seen in the reference nobody.png" in why


def test_wrong_embeddings_and_files_are_refused_by_name(models, tmp_path):
    seen = faces.Seen(None, numpy.ones(512, numpy.float32))  # type: ignore[arg-type]
    unit = faces.embedding(seen, "unit", 512, "FaceID", "buffalo_l")
    assert abs(numpy.linalg.norm(unit) - 1) < 1e-6
    assert (faces.embedding(seen, "raw", 512, "InstantID", "antelopev2") == 1).all()
    with pytest.raises(UsageError, match=r"512 numbers, the face model gives 4.*buffalo_l"):
        faces.embedding(faces.Seen(None, numpy.ones(4)), "unit", 512, "FaceID", "buffalo_l")
    normed = faces.Seen(None, unit)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"InstantID reads raw.*--face-model antelopev2"):
        faces.embedding(normed, "raw", 512, "InstantID", "antelopev2")
    with pytest.raises(
        UsageError, match=r"instantid.bin: InstantID, which reads raw face.*--method"
    ):
        run(models, tmp_path / "no", "instantid")
    with pytest.raises(UsageError, match=r"does not say which version.*--adapter-version"):
        (tmp_path / "face.bin").write_bytes((models / "faceid-plus.bin").read_bytes())
        run(models, tmp_path / "no", "", adapter_model=str(tmp_path / "face.bin"))
    torch.save({"a": {"b": torch.ones(1)}}, tmp_path / "other.bin")
    with pytest.raises(UsageError, match="not an IP-Adapter"):
        run(models, tmp_path / "no", "", adapter_model=str(tmp_path / "other.bin"))
    with pytest.raises(UsageError, match="must both find faces and embed them"):
        people.insightface_pack(tmp_path / "blind", recogniser=False)
        run(models, tmp_path / "no", "faceid", face_model=str(tmp_path / "blind"))


@pytest.mark.parametrize(
    ("name", "asked", "second"),
    [("ip-adapter-faceid-plusv2_sd15.bin", "auto", True), ("x-faceid-plus_sd15.bin", "auto", False),
     ("x.bin", "plusv2", True), ("ip-adapter-faceid-plusv2_sdxl.bin", "plus", False)],
)  # fmt: skip
def test_the_version_of_a_faceid_plus(name, asked, second):
    assert adapter_files.second_version(Path(name), asked) is second

"""Stable Diffusion XL: what it reads and draws is what diffusers' own pipeline reads and draws."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import conftest
import numpy
import pytest
import torch
from parts import part
from PIL import Image
from tiny import diffusion as tiny
from tiny import sdxl as tiny_xl

from socialcli import backends, records
from socialcli.backends import ModelSpec
from socialcli.cli import profiles
from socialcli.cli.commands import generate
from socialcli.diffusion import conditioning
from socialcli.errors import UsageError
from socialcli.generation import drawing
from socialcli.networks import sgm
from socialcli.pipeline.run import RunOptions

PROMPT = "a man kicks a red ball"
STEPS = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_xl.stable_diffusion_xl(tmp_path_factory.mktemp("xl") / "model")


@pytest.fixture(scope="module")
def base(model):
    return load(model)


@pytest.fixture(scope="module")
def pipe(model):
    return theirs(model)


def load(model: Path, dtype: str = "float32", **options):
    return backends.load(ModelSpec("diffusion", "sdxl", str(model), dtype=dtype, options=options))


def theirs(model: Path, cls: str = "StableDiffusionXLPipeline", **parts):
    import diffusers

    pipe = getattr(diffusers, cls).from_pretrained(model, **parts)
    pipe.scheduler = diffusers.UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(model: Path, out: Path, *inputs, method: str = "text", **options) -> dict:
    config = part("methods.generate", method).Config
    given = {"backend": "sdxl", "model": str(model), "steps": STEPS, "device": "cpu", **options}
    values = profiles.values(None, "generate", config, given, method)
    generate.run(method, values, [str(i) for i in inputs], str(out), RunOptions(quiet=True))
    return conftest.members(out)


def pixels(members: dict) -> numpy.ndarray:
    return numpy.asarray(Image.open(io.BytesIO(members["png"]))).astype(int)


def seed(members: dict) -> int:
    return int(json.loads(members["generated.json"])["seed"])


def drawn(pipe, seed: int, prompt: str = PROMPT, **more) -> numpy.ndarray:
    given = {"num_inference_steps": STEPS, "guidance_scale": 5.0, "output_type": "np", **more}
    image = pipe(prompt, generator=torch.Generator().manual_seed(seed), **given).images[0]
    return (image * 255).round().astype(int)


def test_texts_are_read_as_the_pipeline_reads_them(base, pipe):
    with torch.no_grad():
        expected = pipe.encode_prompt(PROMPT, negative_prompt="a dog")
        nothing = pipe.encode_prompt(PROMPT)
        negative, prompt = conditioning.encode(base, ["a dog", PROMPT])
        empty, _ = conditioning.both(base, PROMPT)
    for ours, (states, pooled) in (
        (prompt, expected[0::2]), (negative, expected[1::2]), (empty, nothing[1::2])
    ):  # fmt: skip
        assert torch.allclose(ours.states, states[0], atol=1e-6)
        assert torch.allclose(ours.pooled, pooled[0], atol=1e-6)
    assert empty.states.abs().max() == 0 < negative.states.abs().max()
    assert prompt.states.shape == (16, tiny_xl.WIDTH) and prompt.pooled.shape == (tiny_xl.POOLED,)


def test_pictures_are_the_pipelines(model, pipe, tmp_path, run_cli):
    """By the command line, with and without a negative prompt, and of another size."""
    run_cli("generate", "--backend", "sdxl", "--model", model, "--prompt", PROMPT, "--steps", STEPS,
            "--device", "cpu", "-o", tmp_path / "cli")  # fmt: skip
    (plain,) = conftest.members(tmp_path / "cli").values()
    assert abs(pixels(plain) - drawn(pipe, seed(plain))).max() <= 1
    assert json.loads(plain["generated.json"])["model"]["backend"] == "sdxl"
    (other,) = run(model, tmp_path / "o", prompt=[PROMPT], negative="a dog", size="48x32").values()
    expected = drawn(pipe, seed(other), negative_prompt="a dog", width=48, height=32)
    assert abs(pixels(other) - expected).max() <= 1
    whole = drawn(pipe, seed(other), negative_prompt="a dog", width=48, height=32,
                  original_size=(64, 96))  # fmt: skip
    assert abs(expected - whole).max() > 1  # sizes are read


def test_a_model_whose_empty_text_is_no_zeros(model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "model")
    index = copy / "model_index.json"
    body = json.loads(index.read_text())
    index.write_text(json.dumps({**body, "force_zeros_for_empty_prompt": False}))
    (members,) = run(copy, tmp_path / "out", prompt=[PROMPT]).values()
    assert abs(pixels(members) - drawn(theirs(copy), seed(members))).max() <= 1


def test_long_prompts_are_cut_or_read_in_windows(base):
    long = "a man kicks a red ball and a dog and a cat and a woman and a bird and a horse"
    cut, whole = drawing.Studio(base), drawing.Studio(base, long_prompts="chunks")
    _, first = cut.texts("", long)
    negative, states = whole.texts("a dog", long)
    assert cut.unread and not whole.unread
    assert len(negative) == len(states) == 2 * len(first)
    assert torch.equal(states.states[: len(first)], first.states)
    assert torch.equal(states.pooled, first.pooled)
    (alone,) = conditioning.encode(base, ["a dog"])
    assert torch.equal(negative.states[: len(first)], alone.states)
    zeros, _ = whole.texts("", long)
    assert zeros.states.abs().max() == 0 and len(zeros) == len(states)


def test_the_autoencoder_keeps_the_precision_that_it_needs(model, tmp_path):
    half = load(model, dtype="float16")
    assert half.vae.dtype == torch.float32 and half.unet.dtype == torch.float16
    assert all(encoder.network.dtype == torch.float16 for encoder in half.encoders)
    repaired = tmp_path / "repaired"
    shutil.copytree(model / "vae", repaired)
    config = json.loads((repaired / "config.json").read_text())
    (repaired / "config.json").write_text(json.dumps({**config, "force_upcast": False}))
    mended = load(model, dtype="float16", vae=str(repaired))
    assert mended.vae.dtype == torch.float16 and mended.model.options["vae"].startswith(
        "repaired (sha256:"
    )


def test_another_autoencoder_draws_and_is_part_of_a_run(model, tmp_path):
    other = tiny_xl.pipeline(seed=7).vae
    other.save_pretrained(tmp_path / "other")
    (plain,) = run(model, tmp_path / "plain", prompt=[PROMPT]).values()
    (members,) = run(model, tmp_path / "o", prompt=[PROMPT], vae=str(tmp_path / "other")).values()
    pipe = theirs(model, vae=other)
    assert abs(pixels(members) - drawn(pipe, seed(members))).max() <= 1
    assert abs(pixels(members) - pixels(plain)).max() > 8
    with pytest.raises(UsageError, match=r"made by another run .*autoencoder"):
        run(model, tmp_path / "plain", prompt=[PROMPT], vae=str(tmp_path / "other"))


def test_models_of_the_other_family_are_one_line(model, tmp_path):
    plain = tiny.stable_diffusion(tmp_path / "sd")
    with pytest.raises(UsageError, match=r"no Stable Diffusion XL.*--backend stable-diffusion"):
        load(plain)
    with pytest.raises(UsageError, match=r"Stable Diffusion XL: --backend sdxl"):
        backends.load(ModelSpec("diffusion", "stable-diffusion", str(model)))
    refiner = shutil.copytree(model, tmp_path / "refiner")
    config = refiner / "unet" / "config.json"
    body = json.loads(config.read_text())
    config.write_text(json.dumps({**body, "cross_attention_dim": 1280}))
    with pytest.raises(UsageError, match="refiner"):
        load(refiner)


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("ssr", {"reference": ["x.png"], "query": ["dog"]}),
        ("multidiffusion", {}),
        ("composite", {}),
        ("text", {"custom_diffusion": ["x.bin"]}),
    ],
)
def test_methods_of_one_text_encoder_refuse_it_before_anything_is_loaded(tmp_path, method, given):
    with pytest.raises(UsageError, match=r"one text encoder.*--backend sdxl has 2"):
        run(Path("nowhere"), tmp_path, method=method, prompt=[PROMPT], **given)


def test_a_controlnet_reads_sizes_and_pooled_text_too(model, tmp_path):
    from diffusers import ControlNetModel

    torch.manual_seed(5)
    net = ControlNetModel.from_unet(
        tiny_xl.unet(), conditioning_embedding_out_channels=(8, 8, 16)
    ).eval()
    with torch.no_grad():
        for block in (*net.controlnet_down_blocks, net.controlnet_mid_block):
            block.weight.normal_(0, 0.3)
    net.save_pretrained(tmp_path / "net")
    hint = tmp_path / "hint.png"
    Image.effect_noise((32, 32), 90).convert("RGB").save(hint)
    (members,) = run(
        model, tmp_path / "out", method="controlnet", prompt=[PROMPT], control=[str(hint)],
        controlnet_model=[str(tmp_path / "net")],
    ).values()  # fmt: skip
    pipe = theirs(model, "StableDiffusionXLControlNetPipeline", controlnet=net)
    expected = drawn(pipe, seed(members), image=Image.open(hint))
    assert abs(pixels(members) - expected).max() <= 1
    without = drawn(theirs(model), seed(members))
    assert abs(without - expected).max() > 4
    plain = ControlNetModel.from_unet(
        tiny.networks()[2], conditioning_embedding_out_channels=(8, 8, 16)
    )
    plain.save_pretrained(tmp_path / "plain")
    with pytest.raises(UsageError, match="another diffusion model"):
        run(model, tmp_path / "no", method="controlnet", prompt=[PROMPT], control=[str(hint)],
            controlnet_model=[str(tmp_path / "plain")])  # fmt: skip


def test_attention_maps_of_its_layers(model, tmp_path):
    (members,) = run(
        model, tmp_path / "out", prompt=[PROMPT], attention_maps=str(tmp_path / "sheet.png")
    ).values()
    maps = numpy.load(io.BytesIO(members["attention.npy"]))
    assert maps.shape == (6, 6, 8, 8) and numpy.isfinite(maps[0]).all()
    assert records.load(records.Generated, members["generated.json"]).method == "text"


def test_names_of_the_original_code_are_those_that_diffusers_reads():
    """Each layer of the true SDXL's UNet, named as kohya's tools name it and read by diffusers."""
    from diffusers import UNet2DConditionModel
    from diffusers.loaders import lora_conversion_utils as conversion

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            layers_per_block=2, block_out_channels=(320, 640, 1280), cross_attention_dim=2048,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(5, 10, 20), transformer_layers_per_block=(1, 2, 10),
            use_linear_projection=True, addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        )  # fmt: skip
    paths = [n for n, m in unet.named_modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)]
    names = sgm.names(unet, paths)
    assert set(names) == set(paths) and len(set(names.values())) == len(paths)
    inside = [path for path in paths if "_block" in path]
    state = {
        f"lora_unet_{names[path].replace('.', '_')}.lora_down.weight": torch.full((1,), float(n))
        for n, path in enumerate(inside)
    }
    mapped = conversion._maybe_map_sgm_blocks_to_diffusers(state, unet.config)
    ours = {f"lora_unet_{path.replace('.', '_')}": float(n) for n, path in enumerate(inside)}
    renamed = {
        "input_blocks": "down_blocks", "output_blocks": "up_blocks", "middle_block": "mid_block",
        "in_layers_2": "conv1", "out_layers_3": "conv2", "emb_layers_1": "time_emb_proj",
        "skip_connection": "conv_shortcut",
    }  # fmt: skip
    by_name = {}  # what its next step renames is renamed here
    for name, value in mapped.items():
        for theirs, diffusers_name in renamed.items():
            name = name.replace(theirs, diffusers_name)
        by_name[name.removesuffix(".lora_down.weight")] = float(value)
    known = {name: value for name, value in by_name.items() if "samplers" not in name}
    assert len(known) > 500
    assert all(ours[name] == value for name, value in known.items())

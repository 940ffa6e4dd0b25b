"""Stable Diffusion XL ended in a TypeError while it drew, or in a traceback while a single file was
loaded, where one line is promised; other models whose UNets want more than text did the same. A
folder that holds ``*.fp16.safetensors`` alone did not load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from socialcli import backends
from socialcli.backends import ModelSpec, variants
from socialcli.errors import UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Stable Diffusion folder with the miniature's shapes; weights are drawn, not learnt."""
    from socialcli.miniature.zoo import diffusion as zoo
    from socialcli.miniature.zoo import vae as zoo_vae

    place = tmp_path_factory.mktemp("sd")
    vae = zoo_vae.network()
    vae.register_to_config(scaling_factor=0.5)
    vae.half().save_pretrained(place / "vae")
    zoo.export(zoo.network(), place)
    return place


def load(model: Path, **options):
    return backends.load(ModelSpec("diffusion", "stable-diffusion", str(model), options=options))


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text and "hf download" in text
    return text


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"addition_embed_type": "text_time"}, "Stable Diffusion XL"),
        ({"in_channels": 9}, "9 channels where latents have 4"),
        ({"in_channels": 8}, "for inpainting, editing or depth"),
        ({"class_embed_type": "projection"}, "a noise level"),
        ({"num_class_embeds": 1000}, "a noise level"),
        ({"encoder_hid_dim_type": "image_proj"}, "another encoder"),
    ],
)
def test_a_folder_of_another_family_is_one_line(folder, tmp_path, changed, says) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    config = other / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **changed}))
    with pytest.raises(UsageError) as error:
        load(other)
    assert says in one_line(error)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({"model.diffusion_model.label_emb.0.0.weight": (8, 8),
          "conditioner.embedders.1.model.ln_final.weight": (8,)}, "Stable Diffusion XL"),
        ({"model.diffusion_model.joint_blocks.0.x.weight": (8, 8)}, "Stable Diffusion 3"),
        ({"double_blocks.0.img_attn.proj.weight": (8, 8)}, "Flux"),
        ({"lora_unet_down_blocks_0.lora_up.weight": (8, 8)}, "LoRA"),
        ({"model.diffusion_model.input_blocks.0.0.weight": (8, 9, 3, 3)}, "9 channels"),
    ],
)  # fmt: skip
def test_a_file_of_another_family_is_one_line(folder, tmp_path, weights, says) -> None:
    file = tmp_path / "other.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in weights.items()}, file)
    with pytest.raises(UsageError) as error:
        load(file, config=str(folder))
    assert says in one_line(error)


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"PK\x03\x04 a zip file"])
def test_a_file_of_something_else_is_one_line(folder, tmp_path, data) -> None:
    file = tmp_path / "other.safetensors"
    file.write_bytes(data)
    with pytest.raises(UsageError, match="not a safetensors file") as error:
        load(file, config=str(folder))
    assert "\n" not in str(error.value)


def test_half_precision_copies_alone_are_found(folder, tmp_path) -> None:
    half = shutil.copytree(folder, tmp_path / "half")
    for part in ("unet", "vae", "text_encoder"):
        [file] = (half / part).glob("*.safetensors")
        values = {name: value.half() for name, value in load_file(file).items()}
        save_file(values, file.with_suffix(".fp16.safetensors"), {"format": "pt"})
        file.unlink()
    loaded, plain = load(half), load(folder)
    for halved, true in zip(loaded.networks, plain.networks, strict=True):
        expected = true.state_dict()
        for name, value in halved.state_dict().items():
            assert torch.equal(value.float(), expected[name].half().float()), name


@pytest.mark.parametrize(
    ("files", "variant"),
    [
        ([], None),
        (["config.json", "model.safetensors", "model.fp16.safetensors"], None),
        (["model.fp16.safetensors"], "fp16"),
        (["diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bin"], None),
        (["diffusion_pytorch_model.non_ema.safetensors"], "non_ema"),
        (["diffusion_pytorch_model.bf16.safetensors", "diffusion_pytorch_model.a.bin"], "bf16"),
        (["model-00001-of-00002.safetensors", "model.safetensors.index.json"], None),
        (["model.fp16-00001-of-00002.safetensors", "model.safetensors.index.fp16.json"], "fp16"),
    ],
)
def test_which_variant_is_there(tmp_path, files, variant) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"")
    assert variants.variant(tmp_path) == variant


def test_a_variant_that_is_asked_for_is_taken_or_refused(folder, tmp_path) -> None:
    """Of weights in both forms; the copies are negative, so that they can be told apart."""
    both = shutil.copytree(folder, tmp_path / "both")
    for part in ("unet", "vae", "text_encoder"):
        [file] = (both / part).glob("*.safetensors")
        values = {name: -value for name, value in load_file(file).items()}
        save_file(values, file.with_suffix(".fp16.safetensors"), {"format": "pt"})
    true = load(folder)
    for asked, sign in ((None, 1), ("plain", 1), ("fp16", -1)):
        loaded = load(both, **variants.options(asked))
        weights = [network.state_dict() for network in loaded.networks]
        for own, plain in zip(weights, [n.state_dict() for n in true.networks], strict=True):
            name = next(name for name, value in plain.items() if value.is_floating_point())
            assert torch.equal(own[name], sign * plain[name]), (asked, name)
        assert loaded.model.options.get("variant") == asked
    with pytest.raises(UsageError, match=r"--variant bf16: .*unet holds weights of fp16, plain"):
        load(both, variant="bf16")

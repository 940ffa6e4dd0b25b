"""DreamBooth: what trains, how often it may be stopped, and who can load what comes out."""

from __future__ import annotations

import dataclasses
import io
import json
import random
from pathlib import Path

import numpy
import pytest
import subjects as data
from conftest import members
from parts import part
from PIL import Image
from tiny import diffusion as tiny

from socialcli import shards
from socialcli.errors import UsageError
from socialcli.methods.train import _augment, _subjects
from socialcli.randomness import Draw
from socialcli.shards import index as indexing

method = part("methods.train", "dreambooth")
SMALL = ("--device", "cpu", "--class-steps", "1", "--class-count", "2", "--seed", "3")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> str:
    place = tmp_path_factory.mktemp("data") / "a.tar"
    shards.write(place, data.samples())
    return str(place)


def train(output: Path, pictures: str, model: str, **changed) -> Path:
    from socialcli.training import loop

    small = {
        "model": model, "device": "cpu", "dtype": "float32", "steps": 4, "class_count": 2,
        "class_steps": 1, "quiet": True, "learning_rate": 0.01,
    }  # fmt: skip
    config = method.Config(**{**small, **changed})
    loop.run("train", "dreambooth", method, dataclasses.asdict(config), [pictures], str(output))
    return output


@pytest.fixture(scope="module")
def adapters(tmp_path_factory, pictures, model) -> Path:
    """A LoRA of UNet and text encoder, whose alpha is not its rank."""
    return train(
        tmp_path_factory.mktemp("lora"), pictures, model, adapter="lora", rank=3, alpha=7.5,
        train_text_encoder=True, export="kohya", augment=0.5, masked_loss=True, batch_size=2,
    )  # fmt: skip


def state(model: str, pictures: str, tmp_path: Path, **changed):
    import torch

    from socialcli.training.place import Clock, Place

    cpu = torch.device("cpu")
    config = method.Config(
        model=model, device="cpu", dtype="float32", class_count=2, class_steps=1, rank=2,
        **{"alpha": 2.0, **changed},
    )  # fmt: skip
    index = method.select(config, indexing.build([pictures], tmp_path / "cache"))
    place = Place(cpu, torch.float32, Clock(cpu), index=index, folder=tmp_path)
    return method.load(config, place)


# --- files ----------------------------------------------------------------------------------------


def drawn(out: Path, model: str, **more) -> tuple[numpy.ndarray, dict]:
    """`generate`, without a process of its own."""
    from socialcli.cli import profiles
    from socialcli.cli.commands import generate
    from socialcli.pipeline.run import RunOptions

    given = {"model": model, "steps": 3, "device": "cpu", "prompt": ["a photo of a sks dog"]}
    config = part("methods.generate", "text").Config
    values = profiles.values(None, "generate", config, {**given, **more}, "text")
    generate.run("text", values, [], str(out), RunOptions(quiet=True))
    (sample,) = members(out).values()
    picture = numpy.asarray(Image.open(io.BytesIO(sample["png"]))).astype(int)
    return picture, json.loads(sample["generated.json"])


def theirs(model: str, seed: int, load) -> numpy.ndarray:
    """The same picture by diffusers' own pipeline."""
    import torch
    from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler

    pipe = StableDiffusionPipeline.from_pretrained(model, safety_checker=None)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    load(pipe)
    image = pipe(
        "a photo of a sks dog", num_inference_steps=3, guidance_scale=5.0, output_type="np",
        generator=torch.Generator().manual_seed(seed),
    ).images[0]  # fmt: skip
    return (image * 255).round().astype(int)


def test_diffusers_draws_the_same_picture_with_it(tmp_path, adapters, model):
    """In both layouts, at full and at half weight; and it changes the picture."""
    kohya = adapters / "kohya" / "sks-ktn.safetensors"
    plain, record = drawn(tmp_path / "plain", model)
    whole, record = drawn(tmp_path / "whole", model, lora=[str(adapters)])
    half, _ = drawn(tmp_path / "half", model, lora=[f"{kohya}:0.5"])
    seed = record["seed"]
    assert abs(whole - plain).max() > 8 and abs(whole - half).max() > 4
    assert record["models"]["lora"]["options"] == {"scales": [1.0]}
    assert record["plain_prompt"] == "a photo of a dog"
    assert abs(whole - theirs(model, seed, lambda p: p.load_lora_weights(adapters))).max() <= 1

    def at_half(pipe):
        pipe.load_lora_weights(kohya, adapter_name="x")
        pipe.set_adapters(["x"], [0.5])

    assert abs(half - theirs(model, seed, at_half)).max() <= 1


def test_both_layouts_hold_the_same_weights(adapters, model):
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file

    from socialcli.networks import lora_files

    _, encoder, unet, _ = tiny.networks()
    networks = {"unet": unet, "text_encoder": encoder}
    kohya = adapters / "kohya" / "sks-ktn.safetensors"
    one, notes = lora_files.read(str(adapters), networks)
    two, _ = lora_files.read(str(kohya), networks)
    assert set(one) == set(two) and {place[0] for place in one} == set(networks)
    for place, layer in one.items():
        assert torch.equal(layer.down, two[place].down) and torch.equal(layer.up, two[place].up)
        assert layer.alpha == two[place].alpha == 7.5 and layer.rank == 3
    assert json.loads(notes["subjects"])[0] == {"name": "rex", "identifier": "sks", "class": "dog"}
    names = set(load_file(kohya))
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight" in names
    inside = "down_blocks_0_attentions_0_transformer_blocks_0"
    assert f"lora_unet_{inside}_attn2_to_out_0.alpha" in names
    with safe_open(kohya, "pt") as opened:
        header = opened.metadata()
    assert (header["ss_network_dim"], header["ss_network_alpha"]) == ("3", "7.5")
    assert json.loads(header["ss_tag_frequency"]) == {"img": {"sks dog": 3, "ktn cat": 3}}


def test_what_diffusers_saves_is_read(tmp_path, adapters, model):
    """Its own writer, with and without its header, and the keys of peft."""
    import torch
    from diffusers import StableDiffusionPipeline
    from diffusers.training_utils import _collate_lora_metadata
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    from socialcli.networks import lora_files

    pipe = StableDiffusionPipeline.from_pretrained(model, safety_checker=None)
    pipe.load_lora_weights(adapters, adapter_name="default")
    unet = get_peft_model_state_dict(pipe.unet, adapter_name="default")
    networks = {"unet": pipe.unet, "text_encoder": pipe.text_encoder}
    _, encoder, bare, _ = tiny.networks()
    networks = {"unet": bare, "text_encoder": encoder}
    read, _ = lora_files.read(str(adapters), networks)
    layers = {place: layer for place, layer in read.items() if place[0] == "unet"}
    metadata = _collate_lora_metadata({"unet": pipe.unet})
    for name, more, alpha in (("with", metadata, 7.5), ("without", {}, 3.0)):
        pipe.save_lora_weights(tmp_path / name, unet_lora_layers=unet, **more)
        again, _ = lora_files.read(str(tmp_path / name), networks)
        assert set(again) == set(layers)
        assert all(layer.alpha == alpha for layer in again.values())
        assert all(torch.equal(again[p].up, layers[p].up) for p in layers)
    file = tmp_path / "peft.safetensors"
    save_file({f"unet.{name}": tensor for name, tensor in unet.items()}, file)
    again, _ = lora_files.read(str(file), networks)
    assert all(torch.equal(again[p].down, layers[p].down) for p in layers)


def test_the_whole_model_is_one_for_generate_and_diffusers(tmp_path, pictures, model):
    import torch
    from diffusers import StableDiffusionPipeline

    train(
        tmp_path / "out", pictures, model, steps=2, learning_rate=0.001, prior_weight=0.0,
        identifier=["tom=pll", "zzz"],
    )  # fmt: skip
    assert not (tmp_path / "out" / "class-pictures").exists()
    before, after = (
        StableDiffusionPipeline.from_pretrained(m, safety_checker=None)
        for m in (model, str(tmp_path / "out"))
    )
    pairs = zip(before.unet.parameters(), after.unet.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)
    old, new = before.text_encoder.state_dict(), after.text_encoder.state_dict()
    assert all(torch.equal(old[name], new[name]) for name in old)
    _, record = drawn(tmp_path / "drawn", str(tmp_path / "out"))
    assert "plain_prompt" not in record  # it has learnt pll and zzz, not sks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v[:, :1] for k, v in t.items()}, "this model's layer"),
        (lambda t: dict(list(t.items())[:1]), "is missing"),
        (lambda t: {f"unet.nowhere.{k}": v for k, v in t.items()}, "belongs to no layer"),
        (lambda t: {k.replace("lora.down", "hada_w1_a"): v for k, v in t.items()}, "LoHa"),
        (lambda t: {k: v * float("nan") for k, v in t.items()}, "not finite"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, adapters, change, message):
    from safetensors.torch import load_file, save_file

    from socialcli.networks import lora_files

    _, encoder, unet, _ = tiny.networks()
    tensors = change(load_file(adapters / lora_files.FILE))
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "x.safetensors")
    networks = {"unet": unet, "text_encoder": encoder}
    with pytest.raises(UsageError, match=message):
        lora_files.read(str(tmp_path / "x.safetensors"), networks)


# --- what trains ----------------------------------------------------------------------------------


def test_a_step_is_that_of_the_formulas(tmp_path, pictures, model):
    """Loss and gradient of one adapter against W + alpha / r up down in the layer's own weight."""
    import torch
    import torch.nn.functional as F
    from diffusers import DDPMScheduler

    loaded = state(model, pictures, tmp_path, adapter="lora", alpha=6.0, prior_weight=0.5)
    with torch.no_grad():
        for name, parameter in loaded.lora.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if "up" in name else 0.5))
    index = loaded.place.index
    from socialcli.randomness import Variant

    examples = [method.prepare(loaded, index.read(n), Variant(0, str(n), 0)) for n in (0, 4)]
    prepared = method.features(loaded, examples)
    batch = method.collate(loaded, prepared)
    draw = Draw(0, 0, [0, 1], ["a", "b"])
    values = method.losses(loaded, batch, draw)
    total = values["denoise"].mean() + 0.5 * values["prior"].mean()
    total.backward()

    _, encoder, unet, _ = tiny.networks()
    words = tiny.tokenizer()
    path = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    place = ("unet", path)
    down = loaded.lora.layers()[place].down.requires_grad_()
    for (_, where), layer in loaded.lora.layers().items():
        linear = unet.get_submodule(where)
        change = (layer.up @ (down if where == path else layer.down)) * (6.0 / 2)
        weight = linear.weight.detach() + change
        del linear.weight
        linear.weight = weight
    texts = ["a photo of a sks dog", "a photo of a ktn cat", "a photo of a dog", "a photo of a cat"]
    ids = words(texts, padding="max_length", max_length=tiny.TOKENS, return_tensors="pt").input_ids
    rows = {name: [] for name in ("mean", "std")}
    for at, (word, features) in enumerate(zip(("dog", "cat"), prepared, strict=True)):
        number = draw.random(at, "class picture").randrange(2)
        mean, std = loaded.prior.moments(word, number)
        rows["mean"] += [features["mean"], mean]
        rows["std"] += [features["deviation"], std]
    order = [0, 2, 1, 3]
    mean, std = (torch.stack([rows[k][n] for n in order]) for k in ("mean", "std"))
    names = ("", "class ")
    noise = torch.cat([draw.normal(f"{n}noise", 4, 8, 8) for n in names])
    spread = torch.cat([draw.normal(f"{n}posterior", 4, 8, 8) for n in names])
    when = torch.cat([draw.integers(f"{n}timestep", 1000) for n in names])
    scheduler = DDPMScheduler.from_pretrained(model, subfolder="scheduler")
    noisy = scheduler.add_noise(mean + std * spread, noise, when)
    model_pred = unet(noisy, when, encoder(ids).last_hidden_state).sample
    wanted = F.mse_loss(model_pred[:2], noise[:2]) + 0.5 * F.mse_loss(model_pred[2:], noise[2:])
    wanted.backward()
    assert float(total) == pytest.approx(float(wanted), rel=1e-5)
    residual = loaded.lora.residuals[f"unet_{path}".replace(".", "_")]
    assert torch.allclose(residual.down.grad, down.grad, atol=1e-6)
    assert down.grad.abs().max() > 1e-5
    trained = [n for n, p in loaded.diffusion.unet.named_parameters() if p.requires_grad]
    assert not trained


def test_masked_loss_counts_the_subject_only():
    import torch

    from socialcli.losses import denoise

    model_pred, target = torch.randn(2, 4, 6, 6), torch.zeros(2, 4, 6, 6)
    mask = torch.zeros(2, 1, 6, 6)
    mask[0, 0, :2, :3] = 1
    values = denoise.loss(model_pred, target, mask)
    assert torch.allclose(values[0], model_pred[0, :, :2, :3].square().mean()) and values[1] == 0
    assert torch.allclose(
        denoise.loss(model_pred, target, mask * 0 + 3), denoise.loss(model_pred, target)
    )


def test_a_run_stopped_anywhere_ends_with_the_same_files(tmp_path, pictures, model):
    """Once after a step, once while class pictures were drawn."""
    options = {"adapter": "lora", "augment": 0.5, "batch_size": 2, "micro_batch": 2}
    whole = train(tmp_path / "whole", pictures, model, **options)
    parts = train(tmp_path / "parts", pictures, model, **{**options, "steps": 2})
    missing = sorted((parts / "class-pictures").rglob("*.png"))[1]
    kept = missing.read_bytes()
    missing.unlink()
    train(parts, pictures, model, **options)
    assert missing.read_bytes() == kept
    name = "pytorch_lora_weights.safetensors"
    assert (whole / name).read_bytes() == (parts / name).read_bytes()
    assert json.loads((whole / "run.json").read_text())["config"]["learning_rate"] == 0.01


def test_rows_may_weigh_an_adapter_apart(adapters):
    """A segment's row has it, another row of the same batch has not."""
    import torch

    from socialcli.networks import lora, lora_files

    _, encoder, unet, _ = tiny.networks()
    x, t, text = torch.randn(2, 4, 8, 8), torch.tensor(5), torch.randn(2, 16, tiny.WIDTH)
    with torch.no_grad():
        plain = unet(x, t, text).sample
        networks = {"unet": unet, "text_encoder": encoder}
        layers, _ = lora_files.read(str(adapters), networks)
        adapter = lora.Lora(networks, layers)
        whole = unet(x, t, text).sample
        adapter.weigh(torch.tensor([1.0, 0.0]))
        each = unet(x, t, text).sample
        adapter.remove()
        after = unet(x, t, text).sample
    assert torch.allclose(each[0], whole[0], atol=1e-6) and not torch.allclose(each[0], plain[0])
    assert torch.allclose(each[1], plain[1], atol=1e-6) and torch.equal(after, plain)


# --- subjects and their pictures ------------------------------------------------------------------


def test_a_subject_is_placed_as_the_paper_says():
    """Sizes and places of many draws, and that nothing but the subject covers the background."""
    image = Image.new("RGB", (40, 40), (255, 0, 0))
    mask = numpy.zeros((40, 40), bool)
    mask[10:20, 5:35] = True  # 30 x 10
    behind = _augment.backgrounds("world", 5, 64)
    longest, lefts = [], []
    for seed in range(300):
        pixels, share = _augment.place(image, mask, 64, random.Random(seed), behind, 0.5)
        rows, columns = numpy.nonzero(share)
        wide, high = numpy.ptp(columns) + 1, numpy.ptp(rows) + 1
        longest.append(max(wide, high) / 64)
        lefts.append(columns.min())
        backgrounds = [behind.picture(n)[share == 0] for n in range(5)]
        assert any((pixels[share == 0] == b).all() for b in backgrounds)
        assert (pixels[share == 1] == (255, 0, 0)).all()
    assert min(longest) >= 0.38 and max(longest) <= 0.52
    assert 0.42 < numpy.mean(longest) < 0.48
    assert min(lefts) <= 3 and max(lefts) >= 30


def test_the_records_say_where_a_subject_of_the_world_is():
    from socialcli import records
    from socialcli.miniature.world import scene
    from socialcli.miniature.world.ground_truth import members as written
    from socialcli.shards import Sample

    picture = next(s for s in (scene(0, n, 48) for n in range(30)) if s.things and s.people)
    sample = Sample("a", written(picture))
    person, thing = picture.people[0], picture.things[0]
    for name, mask in ((person.who.name, person.mask), (thing.look.name, thing.mask)):
        shown = _subjects.mask(sample, _subjects.Subject(name, "whatever"))
        assert (shown == mask).all()
    assert sample.record(records.Meta)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"identifier": ["sks"]}, r"2 subjects \(rex, tom\) but 1 identifiers"),
        ({"identifier": ["sks", "SKS"]}, "have one identifier"),
        ({"identifier": ["max=sks", "b"]}, "the subjects are rex, tom"),
        ({"subject": ["max"]}, "--subject max: no sample shows it"),
        ({"template": ["a photo"]}, "--template 'a photo': write {}"),
        ({"export": "kohya"}, "--export kohya writes adapters"),
        ({"backgrounds": "/nowhere", "augment": 1.0}, "/nowhere: no such folder"),
        ({"class_pictures": "PICTURES"}, "and there are 2 classes: dog, cat"),
        ({"adapter": "lora", "lora_targets": "to_x"}, "no layer of the UNet2DConditionModel"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, pictures, model, changed, message):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    changed = {k: str(tmp_path) if v == "PICTURES" else v for k, v in changed.items()}
    with pytest.raises(UsageError, match=message) as error:
        train(tmp_path / "out", pictures, model, **changed)
    assert "\n" not in str(error.value)


def test_augmentation_without_masks_names_the_stage(tmp_path, run_cli, model):
    bare = [(key, {k: v for k, v in m.items() if k != "masks.json"}) for key, m in data.samples(1)]
    shards.write(tmp_path / "a.tar", bare)
    done = run_cli(
        "train", "--method", "dreambooth", tmp_path / "a.tar", "-o", tmp_path / "out", "--model",
        model, *SMALL, "--augment", 1, code=2,
    )  # fmt: skip
    assert b"run `socialcli segment` first" in done.stderr

"""What is learned on the two text encoders of Stable Diffusion XL, and who can load it."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import conftest
import numpy
import pytest
import subjects as data
import torch
from parts import part
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import sdxl as tiny

from socialcli import backends, records, shards
from socialcli.backends import ModelSpec
from socialcli.cli import profiles
from socialcli.cli.commands import generate
from socialcli.diffusion import conditioning, word_files
from socialcli.diffusion.lexicon import Lexicon
from socialcli.errors import UsageError
from socialcli.networks import lora, lora_files
from socialcli.pipeline.run import RunOptions
from socialcli.randomness import Draw
from socialcli.training import loop

PROMPT = "a photo of a sks dog"
STEPS = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny.stable_diffusion_xl(tmp_path_factory.mktemp("xl")))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> str:
    place = tmp_path_factory.mktemp("data") / "a.tar"
    samples = [
        (key, {**members, "caption.json": records.dump(records.Caption("a dog holds a ball"))})
        for key, members in data.samples()
    ]
    shards.write(place, samples)
    return str(place)


def learn(command: str, name: str, output: Path, inputs: str, model: str, **changed) -> Path:
    method = part(f"methods.{command}", name)
    values = {
        f.name: f.default if f.default is not dataclasses.MISSING else f.default_factory()
        for f in dataclasses.fields(method.Config)
    }
    small = {"backend": "sdxl", "model": model, "device": "cpu", "dtype": "float32", "steps": 3,
             "quiet": True}  # fmt: skip
    loop.run(command, name, method, {**values, **small, **changed}, [inputs], str(output))
    return output


def drawn(out: Path, model: str, prompt: str = PROMPT, **more) -> tuple[numpy.ndarray, int]:
    """Pixels and seed of `generate`, without a process of its own."""
    config = part("methods.generate", "text").Config
    given = {"backend": "sdxl", "model": model, "steps": STEPS, "device": "cpu",
             "prompt": [prompt], **more}  # fmt: skip
    values = profiles.values(None, "generate", config, given, "text")
    generate.run("text", values, [], str(out), RunOptions(quiet=True))
    (sample,) = conftest.members(out).values()
    picture = numpy.asarray(Image.open(io.BytesIO(sample["png"]))).astype(int)
    return picture, int(json.loads(sample["generated.json"])["seed"])


def pipeline(model: str):
    from diffusers import StableDiffusionXLPipeline, UniPCMultistepScheduler

    pipe = StableDiffusionXLPipeline.from_pretrained(model)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def theirs(pipe, seed: int, prompt: str = PROMPT) -> numpy.ndarray:
    image = pipe(
        prompt, num_inference_steps=STEPS, guidance_scale=5.0, output_type="np",
        generator=torch.Generator().manual_seed(seed),
    ).images[0]  # fmt: skip
    return (image * 255).round().astype(int)


# --- LoRA -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapters(tmp_path_factory, pictures, model) -> Path:
    return learn(
        "train", "dreambooth", tmp_path_factory.mktemp("lora"), pictures, model, adapter="lora",
        rank=3, alpha=7.5, train_text_encoder=True, export=["kohya"], learning_rate=0.02,
        class_count=2, class_steps=1, batch_size=2, steps=4,
    )  # fmt: skip


def test_a_lora_of_all_three_networks_draws_in_diffusers_too(tmp_path, adapters, model):
    kohya = adapters / "kohya" / "sks-ktn.safetensors"
    whole, seed = drawn(tmp_path / "whole", model, lora=[str(adapters)])
    again, _ = drawn(tmp_path / "again", model, lora=[str(kohya)])
    plain, _ = drawn(tmp_path / "plain", model)
    assert abs(whole - plain).max() > 4 and (whole == again).all()
    for file in (adapters, kohya):
        pipe = pipeline(model)
        pipe.load_lora_weights(file)
        assert abs(whole - theirs(pipe, seed)).max() <= 1, file
    layers, _ = lora_files.read(str(adapters), lora.networks_of(load(model)))
    assert {place for place, _ in layers} == {"unet", "text_encoder", "text_encoder_2"}
    names = set(load_file(kohya))
    inside = "transformer_blocks_0_attn2_to_k.alpha"
    assert f"lora_unet_input_blocks_4_1_{inside}" in names
    assert {name.split("_")[1] for name in names} == {"unet", "te1", "te2"}
    with safe_open(kohya, "pt") as opened:
        assert opened.metadata()["ss_base_model_version"] == "sdxl_base_v1-0"


def load(model: str):
    return backends.load(ModelSpec("diffusion", "sdxl", model))


# --- fine-tuning ----------------------------------------------------------------------------------


def test_fine_tuning_is_told_where_in_its_picture_the_square_lies(tmp_path, pictures, model):
    from diffusers import StableDiffusionXLPipeline

    out = learn("train", "text-to-image", tmp_path / "out", pictures, model, learning_rate=1e-3)
    before, after = (StableDiffusionXLPipeline.from_pretrained(m) for m in (model, str(out)))
    moved = [
        not torch.equal(a, b)
        for a, b in zip(before.unet.parameters(), after.unet.parameters(), strict=True)
    ]
    assert sum(moved) > len(moved) / 2
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            before.text_encoder_2.parameters(), after.text_encoder_2.parameters(), strict=True
        )
    )


def test_its_loss_is_that_of_the_printed_formula(tmp_path, pictures, model):
    """With the pooled text and the sizes of a picture of 48 x 40 whose middle is shown."""
    from socialcli.randomness import Variant
    from socialcli.shards import index as indexing
    from socialcli.training.place import Clock, Place

    method = part("methods.train", "text-to-image")
    config = method.Config(
        backend="sdxl", model=model, device="cpu", caption_drop=0.0, crop="centre"
    )
    cpu, index = torch.device("cpu"), indexing.build([pictures], tmp_path / "cache")
    state = method.load(config, Place(cpu, torch.float32, Clock(cpu), index=index))
    example = method.prepare(state, index.read(0), Variant(3, "x", 0))
    assert example["time_ids"].tolist() == [40, 48, 0, 3, 32, 32]
    with torch.no_grad():
        (features,) = method.features(state, [example])
        batch = {name: value[None] for name, value in features.items()}
        draw = Draw(0, 5, [0], ["k"], 10)
        value = method.losses(state, batch, draw)["denoise"]
        states, pooled = state.diffusion.encoded(["a dog holds a ball"])
        shape = features["mean"].shape
        latents = batch["mean"] + batch["deviation"] * draw.normal("posterior", *shape)
        noise, t = draw.normal("noise", *shape), draw.integers("timestep", 1000)
        a = state.alphas_cumprod[t].float()[:, None, None, None]
        noisy = a.sqrt() * latents + (1 - a).sqrt() * noise

        def model_pred(time_ids):
            added = {"text_embeds": pooled, "time_ids": torch.tensor([time_ids])}
            return state.diffusion.unet(noisy, t, states, added_cond_kwargs=added).sample

        loss = (model_pred([40.0, 48, 0, 3, 32, 32]) - noise).square().mean()
        other = (model_pred([32.0, 32, 0, 0, 32, 32]) - noise).square().mean()
    assert torch.allclose(value, loss, rtol=1e-5) and abs(loss - other) > 1e-5


# --- learned words --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def words(tmp_path_factory, pictures, model) -> Path:
    return learn(
        "invert", "textual-inversion", tmp_path_factory.mktemp("words"), pictures, model, vectors=2,
        learning_rate=0.5, initial_word=["dog"],
    )  # fmt: skip


def test_a_word_has_vectors_for_both_encoders_and_diffusers_draws_it(tmp_path, words, model):
    first, _ = word_files.read(str(words))
    assert first.word.width == tiny.WIDTH and first.word.slots == 2 and first.plain == "dog"
    parts = load_file(words / "tokens" / "rex.safetensors")
    assert {n: tuple(t.shape) for n, t in parts.items()} == {"clip_l": (2, 24), "clip_g": (2, 40)}
    pipe, prompt = pipeline(model), "a photo of a <rex>"
    plain = [e.get_input_embeddings().weight for e in (pipe.text_encoder, pipe.text_encoder_2)]
    dog = pipe.tokenizer.convert_tokens_to_ids("dog</w>")
    for vectors, table in zip(parts.values(), (plain[1], plain[0]), strict=True):
        assert abs(vectors - table[dog]).max() > 0.1  # both have learned
    pipe.load_textual_inversion(parts["clip_l"], token="<rex>", text_encoder=pipe.text_encoder,
                                tokenizer=pipe.tokenizer)  # fmt: skip
    pipe.load_textual_inversion(parts["clip_g"], token="<rex>", text_encoder=pipe.text_encoder_2,
                                tokenizer=pipe.tokenizer_2)  # fmt: skip
    for number, given in enumerate((words, words / "tokens" / "rex.safetensors")):
        picture, seed = drawn(tmp_path / str(number), model, prompt, words=[str(given)])
        assert abs(picture - theirs(pipe, seed, prompt)).max() <= 1
    _pair_of_files(tmp_path, parts, picture, model, prompt)


def _pair_of_files(tmp_path, parts, picture, model, prompt):
    """The two files of diffusers' own example are the same word; half of it is refused."""
    pair = tmp_path / "pair"
    pair.mkdir()
    save_file({"<rex>": parts["clip_l"]}, pair / "learned_embeds.safetensors")
    save_file({"<rex>": parts["clip_g"]}, pair / "learned_embeds_2.safetensors")
    again, _ = drawn(tmp_path / "again", model, prompt, words=[str(pair)])
    assert (again == picture).all()
    half = tmp_path / "half.safetensors"
    save_file({"clip_l": parts["clip_l"]}, half)
    with pytest.raises(UsageError, match="has clip_l and clip_g, this one clip_l"):
        drawn(tmp_path / "no", model, prompt, words=[str(half)])
    (pair / "learned_embeds_2.safetensors").unlink()
    with pytest.raises(UsageError, match="vectors 24 wide, this model's text encoder has 64"):
        drawn(tmp_path / "no", model, prompt, words=[str(pair)])


def test_the_pooled_state_is_that_of_the_end_mark(model, words):
    """Also where the encoder's configuration says, as SDXL's does, that the end is the highest id:
    names of learned words have higher ones."""
    states = []
    for legacy in (False, True):
        diffusion = load(model)
        if legacy:
            for module in diffusion.text_encoder_2.modules():
                if hasattr(module, "eos_token_id"):
                    module.eos_token_id = 2
            diffusion.text_encoder_2.config.eos_token_id = 2
        lexicon = Lexicon(diffusion, [one.word for one in word_files.read(str(words))])
        with torch.no_grad():
            states.append(lexicon.state("a photo of a <rex>", []))
    assert torch.equal(states[0].pooled, states[1].pooled)
    assert torch.equal(states[0].states, states[1].states)


# --- identity -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def identity(tmp_path_factory, model) -> Path:
    place = tmp_path_factory.mktemp("one") / "a.tar"
    shards.write(place, [data.sample("rex", 0)])
    return learn(
        "invert", "identity", tmp_path_factory.mktemp("identity"), str(place), model, pairs=2,
        batch_size=2, micro_batch=2, category="dog", steps=4, token="<anna>", attention_size=8,
    )  # fmt: skip


def test_an_identity_has_a_block_and_pairs_for_each_encoder(identity, model):
    (one,) = word_files.read(str(identity))
    table = one.word.stages.detach()
    assert table.shape == (2, 2, 1, tiny.WIDTH)
    diffusion = load(model)
    starts = conditioning_rows(diffusion, "dog")
    for part_of, start in zip(table.split(tiny.WIDTHS, -1), starts, strict=True):
        assert torch.allclose(part_of.norm(dim=-1), start.norm().expand(2, 2, 1), rtol=1e-4)
        assert (part_of - start).abs().max() > 1e-4
        assert (part_of[0] - part_of[1]).abs().max() > 1e-5


def conditioning_rows(diffusion, word: str):
    for encoder in diffusion.encoders:
        ids = encoder.tokenizer(word, add_special_tokens=False).input_ids
        yield encoder.network.get_input_embeddings().weight[ids[0]].detach()


def test_keys_values_and_the_pooled_state_are_those_of_the_stage(identity, model):
    """Against the encoders called by hand with the vectors in their tables."""
    diffusion = load(model)
    (one,) = word_files.read(str(identity))
    expected = {}
    for stage in range(2):
        for which in range(2):
            vectors = one.word.stages[stage, which, 0].detach().split(tiny.WIDTHS)
            plain = load(model)
            for encoder, vector in zip(plain.encoders, vectors, strict=True):
                cat = encoder.tokenizer.convert_tokens_to_ids("cat</w>")
                with torch.no_grad():
                    encoder.network.get_input_embeddings().weight[cat] = vector
            with torch.no_grad():
                (expected[stage, which],) = conditioning.encode(plain, ["a photo of a cat"])
    lexicon = Lexicon(diffusion, [one.word])
    with torch.no_grad():
        states = lexicon.encode(["a photo of a <anna>"] * 2, torch.tensor([900, 100]))
    for row, stage in enumerate((0, 1)):  # the noisiest is the first
        key, value = expected[stage, 0], expected[stage, 1]
        assert torch.allclose(states.keys(3)[row], key.states, atol=1e-5)
        assert torch.allclose(states.values(3)[row], value.states, atol=1e-5)
        assert torch.allclose(states.middle_pooled[row], key.pooled, atol=1e-5)


def test_pictures_with_it(tmp_path, identity, model):
    word, _ = drawn(tmp_path / "a", model, "a photo of a <anna>", words=[str(identity)])
    dog, _ = drawn(tmp_path / "b", model, "a photo of a dog")
    assert abs(word - dog).max() > 0
    mixed, _ = drawn(
        tmp_path / "c", model, "a photo of a <anna>", words=[str(identity)], stages=["<anna>=1"],
    )  # fmt: skip
    assert abs(word - mixed).max() > 0


def test_methods_of_one_encoder_refuse_it(tmp_path, pictures, model):
    with pytest.raises(UsageError, match=r"invert --method neti is for models with one text"):
        learn("invert", "neti", tmp_path, pictures, model)
    for method, more in (("custom-diffusion", {}), ("feedback", {"ssr_model": "new"})):
        line = rf"train --method {method} is for models with one text encoder \(--backend stable"
        with pytest.raises(UsageError, match=line):
            learn("train", method, tmp_path, pictures, model, **more)

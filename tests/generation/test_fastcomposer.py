"""FastComposer: its authors' file, and pictures against a loop written out here."""

from __future__ import annotations

import dataclasses
import shutil

import drawings
import numpy
import pytest
import scenes
import torch
from drawings import pixels, record
from PIL import Image
from tiny import diffusion as tiny
from tiny import fastcomposer as tiny_composer
from torch.nn import functional

from socialcli import records, shards
from socialcli.errors import SampleFailed, UsageError
from socialcli.generation import marked_words

STEPS = 4
PROMPT = "a man and a dog"
MARKED = "a man <|image|> and a dog <|image|>"
WINDOW = tiny.TOKENS - 2


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """fast.bin; sd: a Stable Diffusion; hub: a cache that has its configuration; two pictures."""
    place = tmp_path_factory.mktemp("models")
    tiny.stable_diffusion(place / "sd")
    tiny_composer.checkpoint(place / "fast.bin")
    default = "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    shutil.copytree(place / "sd", place / "hub" / default / "snapshots" / "0")
    for number, size in enumerate(((50, 40), (31, 60))):
        extent = (-2 + number, -1, 1, 1)
        Image.effect_mandelbrot(size, extent, 20).convert("RGB").save(place / f"{number}.png")
    return place


@pytest.fixture(autouse=True)
def hub(models, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(models / "hub"))


def run(model, out, *inputs, method="fastcomposer", **options):
    given = {"model": str(model), "steps": STEPS, **options}
    return drawings.run(method, out, *inputs, most_failed=1.0, **given)


def seen(tower, file):
    """(D,): black on both shorter sides, resized, normalised, projected."""
    picture = Image.open(file)
    longest = max(picture.size)
    padded = numpy.zeros((longest, longest, 3), dtype=numpy.float32)
    left, top = (longest - picture.width) // 2, (longest - picture.height) // 2
    # What cannot be halved stays off on the right or below, and the picture is no square then.
    right, bottom = left + picture.width + left, top + picture.height + top
    padded[top : top + picture.height, left : left + picture.width] = numpy.array(picture)
    x = torch.from_numpy(padded[: max(bottom, 0), : max(right, 0)]).permute(2, 0, 1)[None]
    x = functional.interpolate(x, (32, 32), mode="bilinear", antialias=True).round() / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    return tower((x - mean) / deviation).image_embeds[0]


def fused(state, word, picture):
    """The two networks of the postfuse module, one after the other."""

    def mlp(name, x):
        x = functional.layer_norm(
            x, x.shape, state[f"{name}.layernorm.weight"], state[f"{name}.layernorm.bias"]
        )
        x = functional.gelu(state[f"{name}.fc1.weight"] @ x + state[f"{name}.fc1.bias"])
        return state[f"{name}.fc2.weight"] @ x + state[f"{name}.fc2.bias"]

    first = mlp("mlp1", torch.cat([word, picture])) + word
    second = mlp("mlp2", first) + first
    weight, bias = state["layer_norm.weight"], state["layer_norm.bias"]
    return functional.layer_norm(second, second.shape, weight, bias)


def expected(models, seed, delay_steps, guidance=5.0):
    """The picture of a man like 0.png and a dog like 1.png; the words alone in the first steps."""
    from diffusers import UniPCMultistepScheduler

    vae, text_encoder, unet, _ = tiny.networks()
    tower, postfuse = tiny_composer.own_networks()
    scheduler = UniPCMultistepScheduler.from_pretrained(models / "sd/scheduler")
    ids = tiny.tokenizer()(["", PROMPT], padding="max_length", max_length=tiny.TOKENS,
                           return_tensors="pt").input_ids  # fmt: skip
    latents = torch.randn((4, 8, 8), generator=torch.Generator().manual_seed(seed))[None]
    with torch.no_grad():
        empty, text = text_encoder(ids).last_hidden_state
        with_pictures = text.clone()
        for file, column in (("0.png", 2), ("1.png", 5)):  # behind the mark of the beginning
            with_pictures[column] = fused(
                postfuse.state_dict(), text[column], seen(tower, models / file)
            )
        scheduler.set_timesteps(STEPS)
        for number, t in enumerate(scheduler.timesteps):
            free = unet(latents, t, empty[None]).sample
            bound = unet(latents, t, (text if number < delay_steps else with_pictures)[None]).sample
            latents = scheduler.step(free + guidance * (bound - free), t, latents).prev_sample
        drawn = vae.decode(latents / vae.config.scaling_factor).sample[0]
    return ((drawn.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy()


def test_subjects_are_fused_into_their_words_after_some_steps(models, tmp_path):
    asked = {"reference": [str(models / "0.png"), str(models / "1.png")]}
    members = run(models / "fast.bin", tmp_path / "a", prompt=[MARKED], **asked)["00000"]
    generated = record(members)
    # 0.3 of 4 steps: those numbered 0 and 1 read the words alone.
    drawn = expected(models, generated.seed, 2)
    assert numpy.abs(pixels(members["png"]) - drawn).max() <= 1
    assert (generated.prompt, generated.plain_prompt) == (MARKED, PROMPT)
    assert [one.key for one in generated.references] == ["0.png", "1.png"]
    at_once = run(models / "fast.bin", tmp_path / "b", prompt=[PROMPT], query=["man", "dog"],
                  delay=0.0, **asked)["00000"]  # fmt: skip
    whole = expected(models, record(at_once).seed, 1)  # as the authors', the first one always
    assert numpy.abs(pixels(at_once["png"]) - whole).max() <= 1
    assert numpy.abs(whole - drawn).max() > 2
    never = run(models / "fast.bin", tmp_path / "c", prompt=[PROMPT], query=["man", "dog"],
                delay=1.0, **asked)["00000"]  # fmt: skip
    text = run(models / "sd", tmp_path / "d", prompt=[PROMPT], method="text")["00000"]
    assert numpy.array_equal(pixels(never["png"]), pixels(text["png"]))


def test_subjects_of_shards_are_cut_out_by_their_masks(models, tmp_path):
    with (tmp_path / "000000.tar").open("wb") as file:
        writer = shards.Writer(file)
        writer.added("a", scenes.members())
        writer.close()
    entities = scenes.all_records()["entities.json"]
    assert [entity.head for entity in entities.entities] == ["woman", "dog", "man"]
    # The man is called otherwise in this caption, so his head noun is no word of it.
    caption = records.Caption("A woman in red holds a small dog near him.")
    start = caption.text.index("him")
    entities.entities[2] = dataclasses.replace(
        entities.entities[2], text="him", start=start, end=start + 3
    )
    changed = {"caption.json": caption, "entities.json": entities}
    shards.write(tmp_path / "him.tar", [("a", scenes.members(changed=changed))])
    both = {"per_subject": True, "query": ["nouns"]}
    by_key = run(models / "fast.bin", tmp_path / "a", tmp_path / "him.tar", **both)
    assert by_key == {}
    [failed] = (tmp_path / "a").glob("*.errors.jsonl")
    assert "'man' is not in the prompt: a reference belongs to a word of it" in failed.read_text()
    one = {"per_subject": False, "query": ["woman"], "delay": 0.0}
    whole = run(models / "fast.bin", tmp_path / "b", tmp_path / "000000.tar", **one)["a"]
    cut = run(models / "fast.bin", tmp_path / "c", tmp_path / "000000.tar", cut_out=True, **one)
    assert numpy.abs(pixels(whole["png"]) - pixels(cut["a"]["png"])).max() > 0


def test_marks_and_queries_say_which_word():
    class Model:
        window, tokenizer = WINDOW, tiny.tokenizer()

    def columns(prompt, queries, **more):
        plain, marks = marked_words.without_marks(prompt)
        return marked_words.columns(Model, plain, marks, queries, **more)

    assert marked_words.without_marks("a man <|image|>and a dog<|image|>.") == (
        "a man and a dog.", [5, 15]
    )  # fmt: skip
    assert columns("a man <|image|> and a man<|image|>", ["", ""]) == [2, 5]
    assert columns("a man and a Man", ["man", "man"]) == [2, 5]
    assert columns("a woman, a man", ["a man"]) == [5]
    with pytest.raises(SampleFailed, match="'man' is not once more in the prompt"):
        columns("a man", ["man", "man"])
    with pytest.raises(SampleFailed, match="'man' is not in the prompt"):
        columns("a woman", ["man"])
    with pytest.raises(SampleFailed, match=r"2 words marked with .* and 1 references"):
        columns("a man <|image|> and a dog <|image|>", ["man"])
    with pytest.raises(SampleFailed, match="which word of the prompt"):
        columns("a man", [" "])
    long = "a red ball and " * 4 + "a man"
    with pytest.raises(SampleFailed, match=f"'man' is not among the {WINDOW} tokens"):
        columns(long, ["man"])
    assert columns(long, ["man"], whole=True) == [tiny.TOKENS + 17 - WINDOW + 1]


def test_another_file_is_refused_with_the_name_of_the_right_one(models, tmp_path):
    asked = {"prompt": [PROMPT], "reference": [str(models / "0.png")], "query": ["man"]}
    with pytest.raises(UsageError, match=r"a Stable Diffusion without fastcomposer\.safetensors"):
        run(models / "sd", tmp_path / "o", **asked)
    state = torch.load(models / "fast.bin", weights_only=True)
    plain = {n: t for n, t in state.items() if not n.startswith(("postfuse", "image_encoder"))}
    torch.save(plain, tmp_path / "other.bin")
    with pytest.raises(UsageError, match=r"no image_encoder, postfuse_module\. The right one"):
        run(tmp_path / "other.bin", tmp_path / "o", **asked)
    wide = dict(state)
    wide["image_encoder.visual_projection.weight"] = torch.zeros(40, 64)
    torch.save(wide, tmp_path / "other.bin")
    with pytest.raises(
        UsageError, match="32 wide, CLIP's projection 40 and the postfuse network 32"
    ):
        run(tmp_path / "other.bin", tmp_path / "o", **asked)
    run(models / "fast.bin", tmp_path / "w", scale=[0.5], **asked)
    [failed] = (tmp_path / "w").glob("*.errors.jsonl")
    assert "fastcomposer gives references no weight" in failed.read_text()

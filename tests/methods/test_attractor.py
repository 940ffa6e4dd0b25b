"""The background attractor: its texts, its masks, its four losses, and what its files give."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import random
from pathlib import Path

import numpy
import pytest
import torch
from parts import part
from safetensors.torch import load_file
from tiny import diffusion as tiny

from socialcli import backends, records, shards
from socialcli.errors import UsageError
from socialcli.methods.invert import _masks
from socialcli.methods.invert import attractor as module
from socialcli.randomness import Draw, Variant
from socialcli.shards import index as indexing
from socialcli.training import examples, loop
from socialcli.vision import masks as rle

method = part("methods.invert", "attractor")
SMALL = {"device": "cpu", "dtype": "float32", "quiet": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("model")))


def sample(key: str, number: int, subject: str, word: str, mask: bool = True):
    """A square that moves with the number, before a colour of its own, with its mask."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (32, 32), (60 * number % 255, 220 - 40 * number, 120))
    left = 4 + 5 * number
    ImageDraw.Draw(image).rectangle((left, 8, left + 11, 23), fill=(220, 40, 30))
    out = io.BytesIO()
    image.save(out, "PNG")
    pixels = numpy.zeros((32, 32), bool)
    pixels[8:24, left : left + 12] = True
    meta = {"schema": 1, "width": 32, "height": 32, "extra": {"subject": subject, "class": word}}
    members = {"png": out.getvalue(), "meta.json": json.dumps(meta).encode()}
    if mask:
        boxes = [records.Box(1, (0.1, 0.2, 0.5, 0.9), word), records.Box(2, (0, 0, 1, 1), "man")]
        every = [records.Mask(n, rle.encode(p), n) for n, p in ((1, pixels), (2, ~pixels))]
        members["boxes.json"] = records.dump(records.Boxes(32, 32, boxes))
        members["masks.json"] = records.dump(records.Masks(32, 32, every))
    return key, members


@pytest.fixture(scope="module")
def subjects(tmp_path_factory) -> str:
    place = tmp_path_factory.mktemp("data") / "a.tar"
    samples = [sample(f"spot/{n}", n, "spot", "dog") for n in range(3)]
    shards.write(place, [*samples, *(sample(f"cup/{n}", n, "cup", "cup") for n in range(2))])
    return str(place)


def invert(output: Path, inputs: str, model: str, **changed):
    values = {
        f.name: f.default if f.default is not dataclasses.MISSING else f.default_factory()
        for f in dataclasses.fields(method.Config)
    }
    values |= {**SMALL, "model": model, "steps": 3, "batch_size": 3, "micro_batch": 3, **changed}
    loop.run("invert", "attractor", method, values, [inputs], str(output))
    return load_file(output / "learned_embeds.safetensors")


def state(model: str, inputs: str, tmp_path: Path, **changed):
    from socialcli.training.place import Clock, Place

    cpu = torch.device("cpu")
    settings = method.Config(**{**SMALL, "model": model, **changed})
    index = method.select(settings, indexing.build([inputs], tmp_path / "cache"))
    return method.load(settings, Place(cpu, torch.float32, Clock(cpu), index=index))


def batch_of(loaded, numbers: list[int], variant: int = 0):
    """A batch of these samples of the index, as the loop makes it."""
    index = loaded.place.index
    prepared = [
        method.prepare(loaded, index.read(n), Variant(0, str(n), variant, 2)) for n in numbers
    ]
    return examples.collate(method.features(loaded, prepared), "cpu")


@pytest.fixture(scope="module")
def loaded(model, subjects, tmp_path_factory):
    return state(model, subjects, tmp_path_factory.mktemp("state"), contrast="one")


def draw(count: int, step: int = 4) -> Draw:
    return Draw(0, step, list(range(count)), ["k"] * count, 10)


# --- texts and words ------------------------------------------------------------------------------


def test_three_kinds_of_texts(loaded):
    """Subject; the super-category in the attractor; both."""
    batch = batch_of(loaded, [0, 4])
    assert loaded.place.index.entries[0].key == "spot/0"
    subject, background, joint = (
        method.texts(loaded, batch, draw(2))[n : n + 2] for n in (0, 2, 4)
    )
    assert "<spot>" in subject[0] and "<spot-a" not in subject[0]
    assert " dog" in background[0] and background[0].endswith(" in the <spot-a-1>")
    assert "<spot> in the <spot-a-1>" in joint[0] and "dog" not in joint[0]
    assert "<cup>" in subject[1] and background[1].endswith("cup in the <cup-a-2>")
    assert [word.token for word in loaded.words] == [
        "<cup>", "<spot>", "<cup-a-1>", "<cup-a-2>", "<spot-a-1>", "<spot-a-2>", "<spot-a-3>",
    ]  # fmt: skip


def test_only_the_words_of_the_batch_train(loaded):
    for parameter in loaded.words.parameters():
        parameter.grad = None
    losses = method.losses(loaded, batch_of(loaded, [1]), draw(1))
    sum(value.sum() for name, value in losses.items() if name != "contrast").backward()
    trained = {w.token for w in loaded.words if w.new.grad is not None and w.new.grad.any()}
    assert trained == {"<spot>", "<spot-a-2>"}
    model_parts = (loaded.diffusion.unet, loaded.diffusion.vae, loaded.diffusion.text_encoder)
    frozen = [p for piece in model_parts for p in piece.parameters() if p.requires_grad]
    assert not frozen


# --- losses ---------------------------------------------------------------------------------------


def test_losses_are_equations_2_and_4(loaded):
    """With diffusers' own scheduler and UNet, and the masks' pixels counted by hand."""
    from diffusers import DDPMScheduler

    batch, drawn = batch_of(loaded, [0, 2, 4]), draw(3)
    losses = method.losses(loaded, batch, drawn)
    texts = method.texts(loaded, batch, drawn)
    posterior = batch["mean"] + batch["deviation"] * drawn.normal("posterior", 4, 8, 8)
    noise, steps = drawn.normal("noise", 4, 8, 8), drawn.integers("timestep", 1000)
    scheduler = DDPMScheduler.from_config(loaded.diffusion.scheduler.config)
    noisy = scheduler.add_noise(posterior, noise, steps)
    with torch.no_grad():
        for number, name in enumerate(("subject", "background", "joint")):
            some = texts[3 * number : 3 * number + 3]
            states = loaded.lexicon.encode(some, steps).keys(0)
            model_pred = loaded.diffusion.unet(noisy, steps, states).sample
            for row in range(3):
                error = (model_pred[row] - noise[row]).square().sum(0)
                left = 4 + 5 * (row * 2 if row < 2 else 1)  # of samples spot/0, spot/2, cup/1
                pixels = numpy.zeros((32, 32))
                pixels[8:24, left : left + 12] = 1
                share = torch.tensor(pixels.reshape(8, 4, 8, 4).mean((1, 3)), dtype=torch.float32)
                weight = {"subject": share, "background": 1 - share, "joint": torch.ones(8, 8)}
                square = weight[name].square()
                expected = (square * error).sum() / (4 * square.sum())
                assert float(losses[name][row]) == pytest.approx(float(expected), rel=1e-4)


def test_masks_turn_with_their_pictures(loaded):
    plain, mirrored = batch_of(loaded, [0]), batch_of(loaded, [0], variant=1)
    assert torch.equal(mirrored["inside"], plain["inside"].flip(2))
    assert not torch.equal(mirrored["inside"], plain["inside"])
    assert torch.allclose(plain["inside"] + plain["outside"], torch.ones(1, 8, 8))


def test_contrast_is_equation_5_of_contextual_embeddings(loaded):
    """The text encoder alone, on texts in which the words' vectors stand; summed by hand."""
    losses = method.losses(loaded, batch_of(loaded, [0, 1, 4]), draw(3))["contrast"]
    assert losses[0] == losses[1] != losses[2]  # of one subject, of another
    from socialcli.randomness import seeded

    rng = random.Random(seeded(0, "contrast", 4, "<spot>"))
    tokens = sorted(rng.sample([f"<spot-a-{n}>" for n in (1, 2, 3)], 3))
    texts = [f"{rng.choice(loaded.templates).replace('{}', '<spot>')} in the {t}" for t in tokens]
    tokenizer, encoder = loaded.diffusion.tokenizer, loaded.diffusion.text_encoder
    vectors = {word.token: word.new[0].detach() for word in loaded.words}
    subject, background = [], []
    table = encoder.get_input_embeddings()
    for text, token in zip(texts, tokens, strict=True):
        ids = tokenizer(text, padding="max_length", return_tensors="pt").input_ids
        names = tokenizer.convert_ids_to_tokens(ids[0].tolist())
        plain = table.weight[ids.clamp(max=len(table.weight) - 1)].detach()
        for place, name in enumerate(names):
            if name in vectors:
                plain[0, place] = vectors[name]
        hook = table.register_forward_hook(lambda *_, given=plain: given)
        with torch.no_grad():
            states = encoder(0 * ids).last_hidden_state[0].double().numpy()
        hook.remove()
        subject.append(states[names.index("<spot>")])
        background.append(states[names.index(token)])
    v, a = (
        numpy.stack(x) / numpy.linalg.norm(x, axis=1, keepdims=True) for x in (subject, background)
    )
    temperature = loaded.config.temperature
    positive = sum(
        math.exp(v[i] @ v[j] / temperature) for i in range(3) for j in range(3) if i != j
    )
    negative = sum(math.exp(v[i] @ a[k] / temperature) for i in range(3) for k in range(3))
    assert float(losses[0]) == pytest.approx(-math.log(positive / (positive + negative)), rel=1e-4)


def test_contrast_follows_its_schedule(loaded):
    batch = batch_of(loaded, [0])
    changed = dataclasses.replace(
        loaded, config=dataclasses.replace(loaded.config, contrast="linear")
    )
    last = method.losses(changed, batch, draw(1, step=9))["contrast"]
    middle = method.losses(changed, batch, draw(1, step=3))["contrast"]
    whole = [method.losses(loaded, batch, draw(1, step=s))["contrast"] for s in (9, 3)]
    assert torch.allclose(last, whole[0]) and torch.allclose(3 * middle, whole[1])
    assert "contrast" not in method.losses(changed, batch, draw(1, step=0))
    nothing = dataclasses.replace(
        loaded, config=dataclasses.replace(loaded.config, contrast="zero")
    )
    assert "contrast" not in method.losses(nothing, batch, draw(1))


@pytest.mark.parametrize("name", ["subject", "background", "joint", "contrast"])
def test_each_loss_falls_when_the_words_follow_it(loaded, name):
    """On one batch with one noise, by the words alone."""
    before = [word.new.detach().clone() for word in loaded.words]
    optimiser = torch.optim.Adam(loaded.words.parameters(), lr=0.05)
    warm = dataclasses.replace(loaded, config=dataclasses.replace(loaded.config, temperature=1.0))
    batch, values = batch_of(loaded, [0, 1]), []
    for _ in range(6):
        optimiser.zero_grad()
        value = method.losses(warm, batch, draw(2))[name].sum()
        value.backward()
        optimiser.step()
        values.append(float(value))
    with torch.no_grad():
        for word, old in zip(loaded.words, before, strict=True):
            word.new.copy_(old)
    assert values[-1] < values[0] - (0.1 if name == "contrast" else 1e-4)


# --- runs -----------------------------------------------------------------------------------------


def test_gone_on_with_it_ends_with_the_same_bits(tmp_path, subjects, model):
    invert(tmp_path / "halves", subjects, model, steps=2, contrast="one")
    halves = invert(tmp_path / "halves", subjects, model, steps=4, contrast="one")
    whole = invert(tmp_path / "whole", subjects, model, steps=4, contrast="one")
    assert halves.keys() == whole.keys()
    assert all(torch.equal(halves[token], whole[token]) for token in whole)


def test_micro_batches_do_not_change_the_words(tmp_path, subjects, model):
    more = {"batch_size": 4, "optimiser": "sgd", "learning_rate": 1.0, "contrast": "one"}
    one = invert(tmp_path / "one", subjects, model, micro_batch=4, **more)
    two = invert(tmp_path / "two", subjects, model, micro_batch=1, **more)
    for token in one:
        assert torch.allclose(one[token], two[token], atol=1e-5), token


def test_two_processes_learn_the_words_of_one(tmp_path, subjects, model, torchrun):
    same = [
        "invert", subjects, "--method", "attractor", "--model", model, "--steps", "3",
        "--batch-size", "3", "--micro-batch", "1", "--optimiser", "sgd", "--learning-rate", "1",
        "--contrast", "one", "--dtype", "float32", "--device", "cpu", "--quiet",
    ]  # fmt: skip
    torchrun(*same, "-o", tmp_path / "two")
    two = load_file(tmp_path / "two" / "learned_embeds.safetensors")
    one = invert(
        tmp_path / "one", subjects, model, micro_batch=1, optimiser="sgd", learning_rate=1.0,
        contrast="one",
    )  # fmt: skip
    started = state(model, subjects, tmp_path)
    for word in started.words:
        assert torch.allclose(one[word.token], two[word.token], atol=1e-5)
    assert not torch.allclose(one["<spot>"], started.lexicon.words["<spot>"].new, atol=1e-4)


def test_the_attractors_are_words_too(tmp_path, subjects, model, run_cli):
    """`generate` draws a picture's background with its word (Figure 9)."""
    from safetensors import safe_open

    words = invert(
        tmp_path / "words", subjects, model, concept=["<s>=spot/*"], validate_every=3,
        sampling_steps=2,
    )  # fmt: skip
    assert sorted(words) == ["<a-1>", "<a-2>", "<a-3>", "<s>"]
    assert (tmp_path / "words" / "pictures" / "step-000003.png").exists()
    with safe_open(tmp_path / "words" / "learned_embeds.safetensors", "pt") as file:
        header = file.metadata()
    assert json.loads(header[module.NOTE])["<a-3>"] == "spot/2"
    assert json.loads(header["initial_words"]) == {
        "<a-1>": "background", "<a-2>": "background", "<a-3>": "background", "<s>": "dog",
    }  # fmt: skip
    run_cli(
        "generate", "--method", "text", "--words", tmp_path / "words", "--model", model,
        "--prompt", "A photo of <a-3>.", "--prompt", "a <s> in the <a-1>", "--steps", 2,
        "-o", tmp_path / "drawn",
    )  # fmt: skip
    drawn = list(shards.read(shards.expand([str(tmp_path / "drawn")])[0]))
    plain = [json.loads(one.members["generated.json"])["plain_prompt"] for one in drawn]
    assert plain == ["A photo of background.", "a dog in the background"]


def test_the_subjects_word_may_be_netis(tmp_path, subjects, model):
    """Every loss, the contrast too, moves its network; its file is that of NeTI's words."""
    from socialcli.diffusion import word_files

    loaded = state(model, subjects, tmp_path, over="neti", contrast="one", concept=["<s>=spot/*"])
    losses = method.losses(loaded, batch_of(loaded, [0, 2]), draw(2))
    network = list(loaded.words[0].parameters())
    for name in ("subject", "joint", "contrast"):
        gradients = torch.autograd.grad(
            losses[name].sum(), network, retain_graph=True, allow_unused=True
        )
        assert any(g is not None and g.any() for g in gradients), name
    background = torch.autograd.grad(losses["background"].sum(), network, allow_unused=True)
    assert all(g is None or not g.any() for g in background)
    invert(tmp_path / "out", subjects, model, over="neti", steps=1, concept=["<s>=spot/*"])
    learned = {one.token: one for one in word_files.read(str(tmp_path / "out"))}
    assert learned["<s>"].word.kind == "neti" and learned["<a-2>"].word.kind == "textual-inversion"
    assert learned["<s>"].plain == "dog" and learned["<a-2>"].plain == "background"


# --- what cannot be -------------------------------------------------------------------------------


def test_no_mask_is_told_before_a_model_loads(tmp_path, model, monkeypatch):
    monkeypatch.setattr(backends, "load", lambda spec: pytest.fail("a model was loaded"))
    shards.write(tmp_path / "bare.tar", [sample("spot/0", 0, "spot", "dog", mask=False)])
    with pytest.raises(UsageError, match=r"have no masks\.json: run `socialcli segment` first"):
        invert(tmp_path / "a", str(tmp_path / "bare.tar"), model)
    shards.write(tmp_path / "other.tar", [sample("spot/0", 0, "spot", "cow")])
    with pytest.raises(
        UsageError,
        match=r"<spot>: none of its 1 pictures has a mask of the subject \(first spot/0: "
        r"masks\.json: none of 2 masks is of 'dog' \(cow, man\)\)",
    ):
        invert(tmp_path / "b", str(tmp_path / "other.tar"), model, initial_word=["dog"])


def test_a_picture_without_a_mask_is_left_out_and_told(tmp_path, model, capsys):
    bad = sample("spot/1", 1, "spot", "cow")
    some = [sample("spot/0", 0, "spot", "dog"), bad, sample("spot/2", 2, "spot", "dog")]
    shards.write(tmp_path / "a.tar", some)
    words = invert(
        tmp_path / "out", str(tmp_path / "a.tar"), model, steps=1, initial_word=["dog"], quiet=False
    )
    assert sorted(words) == ["<a-1>", "<a-2>", "<spot>"]
    assert (
        "1 samples are left out; the first is spot/1: masks.json: none" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"templates": "captions"}, "--templates captions: attractor's texts name a subject"),
        ({"attractor_token": "<a>"}, r"two words would be <a>; it needs \{number\}"),
        ({"attractor_token": "<a-{number}>"}, "two words would be <a-1>"),
        ({"attractor_token": "a {name} {number}"}, "one word without spaces"),
        ({"attractor_word": " "}, "--attractor-word is empty"),
        ({"concept": ["<x>=spot/*", "<y>=spot/0"]}, "spot/0 is of two concepts"),
        ({"contrast": "step"}, "--contrast 'step'. There are: zero, one, linear"),
        ({"temperature": 0.0}, "--temperature 0"),
    ],
)
def test_options_that_make_no_sense_are_told(
    tmp_path, subjects, model, changed, message, monkeypatch
):
    monkeypatch.setattr(backends, "load", lambda spec: pytest.fail("a model was loaded"))
    with pytest.raises(UsageError, match=message):
        invert(tmp_path, subjects, model, **changed)


def test_templates_too_long_for_a_place_are_told(tmp_path, subjects, model):
    (tmp_path / "long.txt").write_text("a photo of a dog and a dog and a dog and a {}\n")
    with pytest.raises(
        UsageError, match=r"'a photo of a dog and a dog .* longer than the 14 tokens"
    ):
        invert(tmp_path, subjects, model, templates=str(tmp_path / "long.txt"))


def test_attractors_of_too_many_vectors_are_told(tmp_path, subjects, model):
    with pytest.raises(UsageError, match=r"a photo of a .* is 16 tokens, longer .* fewer vectors"):
        invert(tmp_path, subjects, model, attractor_vectors=9)


def test_the_subjects_mask_is_found_by_any_of_its_names():
    def sampled(names: list[str], **more: bytes) -> shards.Sample:
        pixels = [numpy.zeros((4, 4), bool) for _ in names]
        for n, one in enumerate(pixels):
            one[n] = True
        every = [records.Mask(n + 1, rle.encode(p), n + 1, n + 1) for n, p in enumerate(pixels)]
        boxes = [records.Box(n + 1, (0, 0, 1, 1), name) for n, name in enumerate(names)]
        members = {
            "masks.json": records.dump(records.Masks(4, 4, every)),
            "boxes.json": records.dump(records.Boxes(4, 4, boxes)),
        }
        return shards.Sample("k", {**members, **more})

    mask = _masks.of_subject(sampled(["man", "brown Dog", "dogma"]), "dog")
    assert mask.sum(1).tolist() == [0, 4, 0, 0]
    two = _masks.of_subject(sampled(["dog", "cat", "dog"]), "dog")
    assert two.sum(1).tolist() == [4, 0, 4, 0]
    assert _masks.of_subject(sampled(["whatever"]), "dog").sum() == 4  # there is no other
    entity = records.Entity(2, "a spaniel", "spaniel", "dog", 0, 9, "animal")
    named = {"entities.json": records.dump(records.Entities([entity]))}
    assert _masks.of_subject(sampled(["", ""], **named), "dog").sum(1).tolist() == [0, 4, 0, 0]
